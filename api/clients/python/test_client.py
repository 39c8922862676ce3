"""Python's gql: queries and mutations over HTTP, subscriptions over a WebSocket."""

import asyncio
import os
import unittest
import uuid

from gql import Client, gql
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.exceptions import TransportQueryError
from gql.transport.websockets import WebsocketsTransport

ENDPOINT = os.environ["ORION_URL"] + "/graphql"

LOGIN = gql("mutation ($input: LoginInput!) { login(input: $input) { accessToken } }")
DETECT = gql(
    "mutation ($input: DetectTrendInput!) {"
    " detectTrend(input: $input) { position trend { topic } errors { code } } }"
)
TRENDS = gql("query ($topic: String!) { trends(filter: { topic: $topic }) { totalCount } }")
CHANGES = gql(
    "subscription ($after: Position) {"
    " trendChanged(after: $after) { position trend { topic } } }"
)


def with_variables(document, **variables):
    document.variable_values = variables
    return document


class Tests(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        credentials = {
            "email": os.environ["ORION_ADMIN_EMAIL"],
            "password": os.environ["ORION_ADMIN_PASSWORD"],
        }
        async with Client(transport=AIOHTTPTransport(url=ENDPOINT)) as session:
            answer = await session.execute(with_variables(LOGIN, input=credentials))
        self.authorization = "Bearer " + answer["login"]["accessToken"]
        transport = AIOHTTPTransport(url=ENDPOINT, headers={"authorization": self.authorization})
        # It fetches the schema, and checks every document by it before it is sent.
        self.client = Client(transport=transport, fetch_schema_from_transport=True)

    async def detect(self, session, topic):
        answer = await session.execute(with_variables(DETECT, input={"topic": topic, "source": "rss"}))
        self.assertEqual(answer["detectTrend"]["errors"], [])
        return answer["detectTrend"]["position"]

    async def test_a_mutation_then_a_query_that_sees_it(self):
        topic = f"gql {uuid.uuid4()}"
        async with self.client as session:
            await self.detect(session, topic)
            answer = await session.execute(with_variables(TRENDS, topic=topic))
        self.assertEqual(answer["trends"]["totalCount"], 1)

    async def test_a_subscription_is_resumed_after_a_position(self):
        one, two = (f"gql {uuid.uuid4()}" for _ in range(2))
        url = ENDPOINT.replace("http", "ws", 1)
        transport = WebsocketsTransport(
            url=url,
            init_payload={"authorization": self.authorization},
            subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL],
        )
        async with self.client as session:
            position = await self.detect(session, one)
            async with Client(transport=transport) as socket:
                changes = socket.subscribe(with_variables(CHANGES, after=position))
                first = asyncio.ensure_future(anext(aiter(changes)))
                await self.detect(session, two)
                change = await asyncio.wait_for(first, 20)
                await changes.aclose()
        self.assertEqual(change["trendChanged"]["trend"]["topic"], two)

    async def test_a_refused_request_is_read(self):
        transport = AIOHTTPTransport(url=ENDPOINT, headers={"authorization": self.authorization})
        async with Client(transport=transport) as session:
            with self.assertRaises(TransportQueryError) as refused:
                await session.execute(gql("{ nothing }"))
        self.assertEqual(refused.exception.errors[0]["extensions"]["code"], "BAD_USER_INPUT")


if __name__ == "__main__":
    unittest.main()
