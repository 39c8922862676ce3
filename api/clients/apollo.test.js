// Apollo's client: queries and mutations over HTTP, subscriptions over a WebSocket.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ApolloClient, ApolloLink, gql, HttpLink, InMemoryCache } from '@apollo/client';
import { CombinedGraphQLErrors } from '@apollo/client/errors';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { OperationTypeNode } from 'graphql';
import { createClient } from 'graphql-ws';
import { firstValueFrom } from 'rxjs';
import WebSocket from 'ws';
import { admin, CHANGES, DETECT, detect, endpoint, socketEndpoint, topic, TRENDS } from './orion.js';

let token;
let client;
let socket;
before(async () => {
  token = await admin();
  const authorization = `Bearer ${token}`;
  socket = createClient({
    url: socketEndpoint,
    webSocketImpl: WebSocket,
    connectionParams: { authorization },
  });
  client = new ApolloClient({
    cache: new InMemoryCache(),
    link: ApolloLink.split(
      ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
      new GraphQLWsLink(socket),
      new HttpLink({ uri: endpoint, headers: { authorization } }),
    ),
  });
});
after(async () => {
  client.stop();
  await socket.dispose();
});

test('a mutation, then a query that sees it', async () => {
  const name = topic('apollo');
  const detected = await client.mutate({
    mutation: gql(DETECT),
    variables: { input: { topic: name, source: 'rss' } },
  });
  assert.equal(detected.data.detectTrend.trend.topic, name);
  const found = await client.query({ query: gql(TRENDS), variables: { topic: name } });
  assert.equal(found.data.trends.totalCount, 1);
  assert.equal(found.data.trends.nodes[0].__typename, 'Trend');
});

test('a subscription', async () => {
  const [first, second] = ['one', 'two'].map(topic);
  const position = await detect(token, first);
  const changes = client.subscribe({ query: gql(CHANGES), variables: { after: position } });
  const change = firstValueFrom(changes);
  await detect(token, second);
  assert.equal((await change).data.trendChanged.trend.topic, second);
});

test('a refused request is read, and is no failure of the network', async () => {
  const nothing = client.query({ query: gql('query Nothing { nothing }') });
  await assert.rejects(nothing, (error) => {
    assert.ok(CombinedGraphQLErrors.is(error), String(error));
    assert.equal(error.errors[0].extensions.code, 'BAD_USER_INPUT');
    return true;
  });
});
