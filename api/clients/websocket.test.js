// The client of graphql-transport-ws.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { admin, CHANGES, detect, socketEndpoint, take, topic, topics } from './orion.js';

let token;
let client;
before(async () => {
  token = await admin();
  client = createClient({
    url: socketEndpoint,
    webSocketImpl: WebSocket,
    connectionParams: () => ({ authorization: `Bearer ${token}` }),
    retryAttempts: 0,
  });
});
after(() => client.dispose());

test('a query has one answer', async () => {
  const results = await take(2, client.iterate({ query: '{ me { role } }' }));
  assert.deepEqual(results.map((result) => result.data), [{ me: { role: 'ADMIN' } }]);
});

test('a subscription is resumed after a position', async () => {
  const [first, second, third] = ['one', 'two', 'three'].map(topic);
  const position = await detect(token, first);
  await detect(token, second);
  const changes = (after) => client.iterate({ query: CHANGES, variables: { after } });
  const seen = await take(1, changes(position));
  const live = take(1, changes(seen[0].data.trendChanged.position));
  await detect(token, third);
  assert.deepEqual(topics([...seen, ...(await live)]), [second, third]);
});

test('the acknowledgement tells where to resume', async () => {
  let acknowledged;
  const stop = client.on('connected', (_, payload) => {
    acknowledged = payload;
  });
  await take(1, client.iterate({ query: '{ position }' }));
  stop();
  assert.match(acknowledged.position, /^\d+$/);
});

test('a refused operation is read', async () => {
  // By the protocol it is an `error`, which rejects; a `next` with errors would do for most clients.
  const read = async () => (await take(1, client.iterate({ query: '{ nothing }' })))[0].errors;
  const errors = await read().catch((errors) => errors);
  assert.equal(errors[0].extensions.code, 'BAD_USER_INPUT');
});
