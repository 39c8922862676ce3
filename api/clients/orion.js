// The server under test, and who uses it.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';

const url = process.env.ORION_URL;
assert.ok(url, 'ORION_URL says where the server is');

export const endpoint = `${url}/graphql`;
export const socketEndpoint = endpoint.replace(/^http/, 'ws');

/** Sends a request; gives the data, of which nothing failed. */
export async function ask(token, query, variables = {}) {
  const response = await fetch(endpoint, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/graphql-response+json',
      ...(token && { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify({ query, variables }),
  });
  const answer = await response.json();
  assert.equal(answer.errors, undefined, JSON.stringify(answer.errors));
  return answer.data;
}

/** The first admin, signed in. */
export async function admin() {
  const input = { email: process.env.ORION_ADMIN_EMAIL, password: process.env.ORION_ADMIN_PASSWORD };
  const login = `mutation ($input: LoginInput!) { login(input: $input) { accessToken } }`;
  return (await ask(null, login, { input })).login.accessToken;
}

export const DETECT = `mutation Detect($input: DetectTrendInput!) {
  detectTrend(input: $input) { position trend { id topic } errors { code field } }
}`;

export const TRENDS = `query Trends($topic: String!) {
  trends(filter: { topic: $topic }) { totalCount nodes { id topic } }
}`;

export const CHANGES = `subscription Changes($after: Position) {
  trendChanged(after: $after) { position trend { topic } }
}`;

/** A topic that nobody else has. */
export function topic(name) {
  return `${name} ${randomUUID()}`;
}

/** Detects a trend; gives the position of the event. */
export async function detect(token, topic) {
  const data = await ask(token, DETECT, { input: { topic, source: 'rss' } });
  assert.deepEqual(data.detectTrend.errors, []);
  return data.detectTrend.position;
}

/** The first items of what can be iterated over; then it is left. */
export async function take(count, iterable) {
  const items = [];
  for await (const item of iterable) {
    items.push(item);
    if (items.length === count) break;
  }
  return items;
}

/** The topics of changes, none of which failed. */
export function topics(results) {
  return results.map((result) => {
    assert.equal(result.errors, undefined, JSON.stringify(result.errors));
    return result.data.trendChanged.trend.topic;
  });
}
