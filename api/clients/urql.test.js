// urql's client: queries and mutations over HTTP, subscriptions over a WebSocket or as events.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Client, fetchExchange, subscriptionExchange } from '@urql/core';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { admin, CHANGES, DETECT, detect, endpoint, socketEndpoint, topic, TRENDS } from './orion.js';

let token;
let socket;
before(async () => {
  token = await admin();
  socket = createClient({
    url: socketEndpoint,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${token}` },
  });
});
after(() => socket.dispose());

function client(options) {
  const fetchOptions = { headers: { authorization: `Bearer ${token}` } };
  return new Client({ url: endpoint, fetchOptions, exchanges: [fetchExchange], ...options });
}

/** The first result of a source. */
function first(source) {
  return new Promise((resolve) => {
    const { unsubscribe } = source.subscribe((result) => {
      queueMicrotask(() => unsubscribe());
      resolve(result);
    });
  });
}

for (const preferGetMethod of [false, 'force']) {
  test(`a mutation, then a query that sees it, ${preferGetMethod ? 'GET' : 'POST'}`, async () => {
    const name = topic('urql');
    const urql = client({ preferGetMethod });
    const detected = await urql.mutation(DETECT, { input: { topic: name, source: 'rss' } });
    assert.equal(detected.error, undefined);
    const found = await urql.query(TRENDS, { topic: name });
    assert.equal(found.data.trends.totalCount, 1);
  });
}

test('a subscription over a WebSocket', async () => {
  const [earlier, later] = ['one', 'two'].map(topic);
  const position = await detect(token, earlier);
  const forwardSubscription = (request) => ({
    subscribe: (sink) => ({ unsubscribe: socket.subscribe(request, sink) }),
  });
  const exchanges = [fetchExchange, subscriptionExchange({ forwardSubscription })];
  const urql = client({ exchanges });
  const change = first(urql.subscription(CHANGES, { after: position }));
  await detect(token, later);
  assert.equal((await change).data.trendChanged.trend.topic, later);
});

test('a subscription as events', async () => {
  const [earlier, later] = ['one', 'two'].map(topic);
  const position = await detect(token, earlier);
  const urql = client({ fetchSubscriptions: true });
  const change = first(urql.subscription(CHANGES, { after: position }));
  await detect(token, later);
  assert.equal((await change).data.trendChanged.trend.topic, later);
});

test('a refused request is read', async () => {
  const { error } = await client().query('{ nothing }', {});
  assert.equal(error.graphQLErrors[0].extensions.code, 'BAD_USER_INPUT');
});
