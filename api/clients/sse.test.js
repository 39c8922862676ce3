// The client of server-sent events, each operation on a connection of its own.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { createClient } from 'graphql-sse';
import { admin, CHANGES, DETECT, detect, endpoint, take, topic, topics } from './orion.js';

let token;
before(async () => {
  token = await admin();
});

const client = (headers = { authorization: `Bearer ${token}` }) =>
  createClient({ url: endpoint, headers, retryAttempts: 0 });

test('a query and a mutation have one answer each', async () => {
  const [query] = await take(2, client().iterate({ query: '{ me { role } }' }));
  assert.deepEqual(query.data, { me: { role: 'ADMIN' } });
  const input = { topic: topic('sse'), source: 'rss' };
  const [mutation] = await take(2, client().iterate({ query: DETECT, variables: { input } }));
  assert.equal(mutation.data.detectTrend.trend.topic, input.topic);
});

test('a subscription is resumed after a position', async () => {
  const [first, second, third] = ['one', 'two', 'three'].map(topic);
  const position = await detect(token, first);
  await detect(token, second);
  const results = client().iterate({ query: CHANGES, variables: { after: position } });
  const seen = await take(1, results);
  const live = take(1, client().iterate({
    query: CHANGES,
    variables: { after: seen[0].data.trendChanged.position },
  }));
  await detect(token, third);
  assert.deepEqual(topics([...seen, ...(await live)]), [second, third]);
});

test('what is wrong with a document is told in the stream', async () => {
  const [result] = await take(2, client().iterate({ query: '{ nothing }' }));
  assert.equal(result.errors[0].extensions.code, 'BAD_USER_INPUT');
  assert.ok(!('data' in result));
});

test('a bad token is refused before the stream', async () => {
  const refused = client({ authorization: 'Bearer nonsense' });
  await assert.rejects(take(1, refused.iterate({ query: CHANGES })), (error) => {
    assert.equal(error.response.status, 401);
    return true;
  });
});
