//! GraphQL over server-sent events, in the mode of distinct connections.

use orion_store::testing::database;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::client::{Client, http, position};
use crate::eventually::{SOON, eventually};
use crate::server::{Server, Settings};

const TRENDS: &str = "subscription ($after: Position) { trendChanged(after: $after) {
    position trend { topic } } }";

/// An open stream.
struct Events {
    response: Response,
    received: String,
}

/// What came on a stream.
#[derive(Debug, PartialEq)]
enum Event {
    Next(Value),
    Complete,
}

impl Client {
    async fn send_for_events(&self, body: &Value) -> Response {
        let request = http().post(format!("{}/graphql", self.url)).json(body);
        let request = request.header("accept", "text/event-stream");
        let request = self.token.iter().fold(request, RequestBuilder::bearer_auth);
        request.send().await.unwrap()
    }

    async fn events(&self, query: &str, variables: Value) -> Events {
        let body = json!({ "query": query, "variables": variables });
        Events::of(self.send_for_events(&body).await)
    }
}

impl Events {
    fn of(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        let headers = response.headers();
        assert_eq!(headers["content-type"], "text/event-stream");
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["x-accel-buffering"], "no");
        assert!(!headers.contains_key("content-encoding"));
        Self { response, received: String::new() }
    }

    /// The next event; nothing when the stream has ended.
    async fn event(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.received.split_once("\n\n") {
                let fields: Vec<_> =
                    event.lines().map(|line| line.split_once(':').unwrap()).collect();
                let field =
                    |name| fields.iter().find(|field| field.0 == name).map(|field| field.1.trim());
                let event = match (field("event"), field("data")) {
                    (Some("next"), Some(data)) => {
                        Some(Event::Next(serde_json::from_str(data).unwrap()))
                    }
                    (Some("complete"), Some("")) => Some(Event::Complete),
                    // A comment, which says only that the stream is alive.
                    (None, None) => None,
                    other => panic!("{other:?}"),
                };
                self.received = rest.to_string();
                if event.is_some() {
                    return event;
                }
                continue;
            }
            let chunk = timeout(SOON, self.response.chunk()).await.expect("an event");
            self.received.push_str(std::str::from_utf8(&chunk.ok()??).unwrap());
        }
    }

    async fn next(&mut self) -> Value {
        match self.event().await {
            Some(Event::Next(answer)) => answer,
            other => panic!("{other:?} and not an answer"),
        }
    }

    /// The next change: its position, and the topic of its trend.
    async fn change(&mut self) -> (i64, String) {
        let answer = self.next().await;
        let change = &answer["data"]["trendChanged"];
        (position(&change["position"]), change["trend"]["topic"].as_str().unwrap().to_owned())
    }

    async fn ends(mut self) {
        assert_eq!(self.event().await, Some(Event::Complete));
        assert_eq!(self.event().await, None);
    }
}

#[tokio::test]
async fn a_subscription_is_a_stream_and_is_resumed_after_its_last_event() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.editor("ada").await;
    for topic in ["one", "two"] {
        ada.detect_trend(topic).await;
    }
    let mut events = ada.events(TRENDS, json!({ "after": "0" })).await;
    let (one, topic) = events.change().await;
    assert_eq!(topic, "one");
    assert_eq!(events.change().await.1, "two");
    ada.detect_trend("three").await;
    assert_eq!(events.change().await.1, "three");
    drop(events);

    let mut resumed = ada.events(TRENDS, json!({ "after": one.to_string() })).await;
    for topic in ["two", "three"] {
        assert_eq!(resumed.change().await.1, topic);
    }

    // As a browser's `EventSource` asks, and as a client that takes streams, but likes them least.
    let parameters = [("query", TRENDS), ("variables", "{\"after\":\"0\"}")];
    let url = reqwest::Url::parse_with_params(&format!("{}/graphql", server.url()), parameters);
    let by_address = http().get(url.unwrap()).header("accept", "text/event-stream");
    let body = json!({ "query": TRENDS, "variables": { "after": "0" } });
    let least = http().post(format!("{}/graphql", server.url())).json(&body);
    let least = least.header("accept", "application/json, text/event-stream;q=0.1");
    for request in [by_address, least] {
        let response = request.bearer_auth(ada.token.as_deref().unwrap()).send().await.unwrap();
        assert_eq!(Events::of(response).change().await.1, "one");
    }
}

#[tokio::test]
async fn a_query_and_a_mutation_are_streams_of_one() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.editor("ada").await;
    let detect = "mutation { detectTrend(input: { topic: \"t\", source: \"s\" }) { projected } }";
    for (query, expected) in [
        ("{ me { name } }", json!({ "me": { "name": "ada" } })),
        (detect, json!({ "detectTrend": { "projected": true } })),
    ] {
        let mut events = ada.events(query, json!({})).await;
        let answer = events.next().await;
        assert_eq!(answer["data"], expected);
        assert!(position(&answer["extensions"]["position"]) > 0);
        events.ends().await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_an_operation_is_told_in_the_stream() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.editor("ada").await;
    for (query, variables, code) in [
        ("{", json!({}), "BAD_USER_INPUT"),
        ("{ nothing }", json!({}), "BAD_USER_INPUT"),
        ("subscription { trendChanged { nothing } }", json!({}), "BAD_USER_INPUT"),
        (
            "subscription ($id: ID!) { contentChanged(id: $id) { position } }",
            json!({}),
            "BAD_USER_INPUT",
        ),
        (TRENDS, json!({ "after": "x" }), "BAD_USER_INPUT"),
        (TRENDS, json!({ "after": "1000000" }), "POSITION_AHEAD"),
        ("subscription { events { position } }", json!({}), "FORBIDDEN"),
    ] {
        let mut events = ada.events(query, variables).await;
        let answer = events.next().await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], code, "{query}: {answer}");
        assert!(answer.get("data").is_none(), "{query}: {answer}");
        events.ends().await;
    }
    // What is wrong with the request is told before there is one.
    for (client, body, status) in [
        (ada.with_token("nonsense"), json!({ "query": TRENDS }), 401),
        (ada.clone(), json!({ "query": 7 }), 400),
    ] {
        let answer = client.send_for_events(&body).await;
        assert_eq!(answer.status(), status);
        let body: Value = answer.json().await.unwrap();
        assert!(body["errors"][0]["extensions"]["code"].is_string(), "{body}");
    }
    let detect = "mutation{detectTrend(input:{topic:\"t\",source:\"s\"}){position}}";
    let url =
        reqwest::Url::parse_with_params(&format!("{}/graphql", server.url()), [("query", detect)]);
    let request = http().get(url.unwrap()).header("accept", "text/event-stream");
    let answer = request.bearer_auth(ada.token.as_deref().unwrap()).send().await.unwrap();
    assert_eq!(answer.status(), 405);
    let trends = ada.query("{ trends { totalCount } }", json!({})).await;
    assert_eq!(trends["trends"]["totalCount"], 0);
}

#[tokio::test]
async fn a_stream_ends_with_the_server_and_is_not_complete() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.editor("ada").await;
    ada.detect_trend("one").await;
    let mut events = ada.events(TRENDS, json!({ "after": "0" })).await;
    let (one, _) = events.change().await;
    // The test fails if the stream keeps the server from its end.
    let (ended, stopped) = server.terminate().await;
    assert!(ended.status.success(), "{ended:?}");
    assert!(!ended.stderr.contains("cut off"), "{}", ended.stderr);
    assert_eq!(events.event().await, None);

    let server = stopped.start_again().await;
    let ada = ada.at(server.url());
    ada.detect_trend("two").await;
    let mut events = ada.events(TRENDS, json!({ "after": one.to_string() })).await;
    assert_eq!(events.change().await.1, "two");
}

/// The last word of a stream, with its code.
async fn ends_with(mut events: Events, code: &str) {
    let answer = events.next().await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], code, "{answer}");
    assert!(answer.get("data").is_none(), "{answer}");
    events.ends().await;
}

#[tokio::test]
async fn every_stream_ends_with_the_rights_of_its_owner() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let (root, ada) = (server.admin().await, server.editor("ada").await);
    let me = ada.query("{ me { id } }", json!({})).await["me"]["id"].clone();
    root.mutate("changeRole", json!({ "userId": me, "role": "ADMIN" }), "").await.done();
    let mut streams = Vec::new();
    for field in [
        "events { position }",
        "contentChanged { position }",
        "trendChanged { position }",
        "pipelineRunChanged { position }",
        "publishRecorded { position }",
        "notificationReceived { id }",
    ] {
        streams.push(ada.events(&format!("subscription {{ {field} }}"), json!({})).await);
    }
    // Another's stream of the same goes on.
    let mut others = root.events(TRENDS, json!({ "after": null })).await;
    root.mutate("changeRole", json!({ "userId": me, "role": "VIEWER" }), "").await.done();
    for mut events in streams {
        // What came before is hers to see.
        loop {
            let answer = events.next().await;
            if let Some(errors) = answer.get("errors") {
                assert_eq!(errors[0]["extensions"]["code"], "FORBIDDEN", "{answer}");
                break;
            }
            assert_ne!(answer["data"], json!(null));
        }
        events.ends().await;
    }
    root.detect_trend("afterwards").await;
    assert_eq!(others.change().await.1, "afterwards");
}

#[tokio::test]
async fn a_stream_ends_with_its_access_token() {
    let database = database().await;
    let settings = Settings::on(&database.url).with("ORION_ACCESS_TOKEN_TTL", "2s");
    let server = Server::with(settings).await;
    let (vera, _) = server.anonymous().register("vera").await;
    let events = vera.events(TRENDS, json!({})).await;
    ends_with(events, "UNAUTHENTICATED").await;
    let again = vera.send_for_events(&json!({ "query": TRENDS })).await;
    assert_eq!(again.status(), 401);
}

#[tokio::test]
async fn an_account_has_so_many_streams_and_no_more() {
    const STREAMS_MAX: usize = 100;
    let database = database().await;
    let settings = Settings::on(&database.url).with("ORION_RATE_LIMITS", "on");
    let server = Server::with(settings).await;
    let (vera, otto) = (server.viewer("vera").await, server.viewer("otto").await);
    let mut streams = Vec::new();
    for _ in 0..STREAMS_MAX {
        streams.push(vera.events(TRENDS, json!({})).await);
    }
    let body = json!({ "query": TRENDS });
    let refused = vera.send_for_events(&body).await;
    assert_eq!(refused.status(), 429);
    let answer: Value = refused.json().await.unwrap();
    assert_eq!(answer["errors"][0]["extensions"]["code"], "TOO_MANY_STREAMS");
    assert_eq!(otto.send_for_events(&body).await.status(), 200, "another has its own");
    // One that ends makes room.
    streams.pop();
    eventually("there is room again", async || {
        (vera.send_for_events(&body).await.status() == 200).then_some(())
    })
    .await;
}
