//! One trace from the client's request to the log and on to the tables, as a collector sees it.

use opentelemetry_proto::tonic::trace::v1::Span;
use orion_store::testing::database;
use serde_json::{Value, json};

use crate::client::http;
use crate::collector::{Collector, attribute};
use crate::log::Records;
use crate::server::{DataDir, Server, Settings};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A word that only the variables have.
const SECRET: &str = "a topic that nobody else may see";

/// Names itself, so that the name is seen in the span.
const DETECT: &str =
    "mutation Detect($input: DetectTrendInput!) { detectTrend(input: $input) { position } }";

fn of_the_trace(span: &Span) -> bool {
    hex::encode(&span.trace_id) == TRACE
}

fn child_of(parent: &Span) -> impl Fn(&Span) -> bool {
    |span| of_the_trace(span) && span.parent_span_id == parent.span_id
}

async fn detect(server: &Server, token: &str, query: &str) -> Value {
    let input = json!({ "topic": SECRET, "source": "s" });
    let request = http()
        .post(format!("{}/graphql?secret={SECRET}", server.url()))
        .header("traceparent", format!("00-{TRACE}-{PARENT}-01"))
        .header("x-request-id", "my-own-1")
        .bearer_auth(token)
        .json(&json!({ "query": query, "variables": { "input": input } }));
    request.send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn a_trace_goes_from_the_request_to_the_log_and_the_tables() {
    let (database, collector) = (database().await, Collector::start().await);
    let settings = Settings::on(&database.url)
        .with("ORION_OTLP_ENDPOINT", collector.url.as_str())
        .with("OTEL_BSP_SCHEDULE_DELAY", "50");
    let server = Server::with(settings).await;
    let ada = server.editor("ada").await;
    let token = ada.token.clone().unwrap();
    let answer = detect(&server, &token, DETECT).await;
    let position = &answer["data"]["detectTrend"]["position"];

    let request = collector.span("POST /graphql", of_the_trace).await;
    assert_eq!(hex::encode(&request.parent_span_id), PARENT);
    assert_eq!(attribute(&request, "http.response.status_code").as_deref(), Some("200"));
    assert_eq!(attribute(&request, "request_id").as_deref(), Some("my-own-1"));
    let operation = collector.span("operation", child_of(&request)).await;
    assert_eq!(attribute(&operation, "graphql.operation.type").as_deref(), Some("mutation"));
    assert_eq!(attribute(&operation, "graphql.operation.name").as_deref(), Some("Detect"));
    let hash = attribute(&operation, "graphql.document.hash").unwrap();
    assert_eq!(hash.len(), 16, "{hash}");
    let command = collector.span("command", child_of(&operation)).await;
    let append = collector.span("append", child_of(&command)).await;

    // Many commits are one batch, and many events: these are traces of their own, with links.
    let links_to = |target: &Span| {
        let id = target.span_id.clone();
        move |span: &Span| span.links.iter().any(|link| link.span_id == id && !of_the_trace(span))
    };
    collector.span("append batch", links_to(&append)).await;
    let project = collector.span("project", links_to(&operation)).await;
    assert!(project.links.iter().any(|link| hex::encode(&link.trace_id) == TRACE));

    let records = Records::of(&database.url).await;
    let traceparent: String =
        sqlx::query_scalar("SELECT metadata ->> 'traceparent' FROM events WHERE position = $1")
            .bind(position.as_str().unwrap().parse::<i64>().unwrap())
            .fetch_one(&records.pool)
            .await
            .unwrap();
    assert_eq!(traceparent, format!("00-{TRACE}-{}-01", hex::encode(&operation.span_id)));

    assert!(collector.has_heard("Detect"));
    for secret in [SECRET, token.as_str(), "detectTrend(input"] {
        assert!(!collector.has_heard(secret), "{secret}");
    }
}

#[tokio::test]
async fn spans_that_wait_are_handed_over_at_the_end() {
    let (database, collector) = (database().await, Collector::start().await);
    let settings = Settings::on(&database.url)
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str())
        .with("OTEL_BSP_SCHEDULE_DELAY", "3600000");
    let server = Server::with(settings).await;
    detect(&server, "", DETECT).await;
    assert!(collector.now("POST /graphql", of_the_trace).is_none());
    let (ended, _stopped) = server.terminate().await;
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(collector.now("POST /graphql", of_the_trace).is_some(), "{}", ended.stderr);
}

#[tokio::test]
async fn a_collector_that_says_nothing_holds_nobody_up() {
    let database = database().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let settings = Settings::on(&database.url)
        .with("ORION_OTLP_ENDPOINT", endpoint)
        .with("OTEL_BSP_SCHEDULE_DELAY", "10");
    let server = Server::with(settings).await;
    let ada = server.editor("ada").await;
    ada.query("{ me { id } }", json!({})).await;
    // It is asserted there that it ends in time.
    let (ended, _stopped) = server.terminate().await;
    assert!(ended.status.success(), "{}", ended.stderr);
}

#[tokio::test]
async fn an_endpoint_is_a_web_address() {
    let settings = Settings::embedded().with("ORION_OTLP_ENDPOINT", "collector:4317");
    let ended = settings.run_to_end(&DataDir::fresh()).await;
    assert_eq!(ended.status.code(), Some(2));
    assert!(ended.stderr.starts_with("orion: ORION_OTLP_ENDPOINT: "), "{}", ended.stderr);
}

#[tokio::test]
async fn lines_name_requests_and_never_what_is_in_them() {
    let database = database().await;
    let settings = Settings::on(&database.url).with("ORION_LOG", "debug");
    let server = Server::with(settings).await;
    let ada = server.editor("ada").await;
    let token = ada.token.clone().unwrap();
    detect(&server, &token, DETECT).await;
    server.status_of("/verify-email?token=the-token-of-a-link").await;
    server.status_of("/nowhere/the-token-of-a-link").await;
    let (ended, _stopped) = server.terminate().await;
    let lines = ended.stderr;
    let line = |parts: &[&str]| {
        let found = lines.lines().find(|line| parts.iter().all(|part| line.contains(part)));
        assert!(found.is_some(), "{parts:?} in\n{lines}");
    };
    line(&[
        "request answered",
        "POST",
        "route=\"/graphql\"",
        "status=200",
        "my-own-1",
        "duration_ms=",
    ]);
    line(&["operation ended", "kind=\"mutation\"", "code=\"OK\"", "\"Detect\""]);
    line(&["request answered", "route=\"/verify-email\"", "status=200"]);
    line(&["request answered", "route=\"none\"", "status=404"]);
    for secret in [SECRET, token.as_str(), "the-token-of-a-link"] {
        assert!(!lines.contains(secret), "{secret} in\n{lines}");
    }
}
