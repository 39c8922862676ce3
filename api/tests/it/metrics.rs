//! What Prometheus reads, as strictly as Prometheus reads it.

use std::collections::{BTreeMap, BTreeSet};

use orion_api::telemetry::figures::FIGURES;
use orion_store::testing::database;
use serde_json::json;

use crate::client::http;
use crate::eventually::eventually;
use crate::server::{Server, Settings};

/// A name with its labels in order, as it is written.
type Samples = BTreeMap<String, f64>;

fn is_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    text.bytes().next().is_some_and(is_letter)
        && text.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit())
}

/// Name and labels of a sample; the text is refused unless it is wholly understood.
fn series(text: &str) -> (String, Vec<(String, String)>) {
    let Some((name, labels)) = text.split_once('{') else {
        assert!(is_name(text), "{text}");
        return (text.to_owned(), Vec::new());
    };
    assert!(is_name(name), "{text}");
    let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("no end: {text}"));
    let labels = labels.split("\",").map(|label| {
        let (key, value) = label.split_once("=\"").unwrap_or_else(|| panic!("no value: {text}"));
        let value = value.strip_suffix('"').unwrap_or(value);
        assert!(is_name(key) && !value.contains(['"', '\\', '\n']), "{text}");
        (key.to_owned(), value.to_owned())
    });
    (name.to_owned(), labels.collect())
}

/// Reads the text format 0.0.4.
fn parse(text: &str) -> Samples {
    assert!(text.ends_with('\n'));
    let (mut kinds, mut samples) = (BTreeMap::new(), Samples::new());
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let [kind, name, rest] = [(); 3].map(|()| words.next().expect("three words"));
            assert!(is_name(name), "{line}");
            match kind {
                "HELP" => assert!(!rest.is_empty(), "{line}"),
                "TYPE" => {
                    assert!(["counter", "gauge", "histogram"].contains(&rest), "{line}");
                    assert_eq!(kinds.insert(name.to_owned(), rest), None, "twice: {line}");
                }
                _ => panic!("{line}"),
            }
            continue;
        }
        let (key, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        let (name, labels) = series(key);
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let family = family.filter(|family| kinds.get(*family) == Some(&"histogram"));
        let kind = kinds.get(family.unwrap_or(&name)).unwrap_or_else(|| panic!("no type: {line}"));
        assert_eq!(*kind == "histogram", family.is_some(), "{line}");
        let distinct: BTreeSet<_> = labels.iter().map(|(key, _)| key).collect();
        assert_eq!(distinct.len(), labels.len(), "{line}");
        assert_eq!(samples.insert(key.to_owned(), value), None, "twice: {line}");
    }
    let known = |name: &str| FIGURES.iter().any(|(known, ..)| *known == name);
    assert!(kinds.keys().all(|name| known(name)), "{:?}", kinds.keys());
    samples
}

async fn figures(server: &Server) -> Samples {
    parse(&server.metrics().await)
}

fn at(samples: &Samples, key: &str) -> f64 {
    *samples.get(key).unwrap_or_else(|| panic!("no {key} in {:#?}", samples.keys()))
}

/// Parts of the names of figures that are shown only with a relay, a replica or a collector, or after a damage.
const ELSEWHERE: [&str; 5] = ["_relay_", "_replica_", "_reads_", "_exports_", "_mended_"];

#[tokio::test]
#[expect(clippy::float_cmp, reason = "whole numbers")]
async fn what_happens_is_counted() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let answer = http().get(format!("{}/metrics", server.url())).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let before = figures(&server).await;
    assert_eq!(at(&before, "orion_sockets"), 0.0);

    let ada = server.editor("ada").await;
    let trend = ada.detect_trend("a topic").await;
    ada.query("query ANameOfMyOwn { me { id } }", json!({})).await;
    ada.ask("{ nothing }", json!({})).await.fails("BAD_USER_INPUT");
    let archive = json!({ "trendId": trend });
    ada.mutate("archiveTrend", archive.clone(), "").await.done();
    ada.mutate("archiveTrend", archive, "").await.code().expect("a refusal");
    server.status_of("/a/path/of/my/own").await;
    let watch = "subscription ($after: Position) { trendChanged(after: $after) { position } }";
    let mut watching = ada.subscribe(watch, json!({ "after": "0" })).await;
    watching.change().await;

    eventually("something is sealed", async || {
        (at(&figures(&server).await, "orion_sealed_position") > 0.0).then_some(())
    })
    .await;
    let samples = figures(&server).await;
    for key in [
        "orion_graphql_operations_total{kind=\"query\",code=\"BAD_USER_INPUT\"}",
        "orion_graphql_operation_duration_seconds_count{kind=\"mutation\"}",
        "orion_http_requests_total{method=\"POST\",route=\"/graphql\",status=\"200\"}",
        "orion_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"}",
        "orion_http_request_duration_seconds_bucket{route=\"/graphql\",le=\"+Inf\"}",
        "orion_graphql_cost_count",
        "orion_subscription_messages_total",
        "orion_commands_total{code=\"OK\"}",
        "orion_commands_total{code=\"ALREADY_ARCHIVED\"}",
        "orion_appends_total{outcome=\"written\"}",
        "orion_append_duration_seconds_sum",
        "orion_append_batch_duration_seconds_count",
        "orion_append_batch_commits_bucket{le=\"1\"}",
        "orion_log_position",
        "orion_projection_position{projection=\"read_model\"}",
        "orion_projection_batch_duration_seconds_count{projection=\"read_model\"}",
        "orion_projection_batch_events_count{projection=\"read_model\"}",
        "orion_reactor_position{reactor=\"mark_published\"}",
        "orion_sealed_position",
        "orion_seal_duration_seconds_count",
        "orion_tail_reads_total{reader=\"projection\",source=\"memory\"}",
        "orion_database_connections{state=\"open\"}",
        "orion_password_hash_duration_seconds_count",
        "orion_mails_total{outcome=\"sent\"}",
    ] {
        assert!(at(&samples, key) > 0.0, "{key}");
    }
    assert_eq!(at(&samples, "orion_sockets"), 1.0);
    assert_eq!(at(&samples, "orion_subscriptions"), 1.0);
    assert_eq!(at(&samples, "orion_database_up"), 1.0);
    assert_eq!(at(&samples, "orion_disk_full"), 0.0);
    assert_eq!(at(&samples, "orion_sealer_stopped"), 0.0);
    assert!(at(&samples, "orion_seal_lag_events") >= 0.0);
    assert_eq!(at(&samples, "orion_database_connections_max"), 10.0);
    assert_eq!(at(&samples, "orion_rate_limited_total{limit=\"login\"}"), 0.0);
    assert!(!samples.keys().any(|key| key.contains("my/own") || key.contains("ANameOfMyOwn")));
    for (name, ..) in FIGURES {
        let is_shown = samples.keys().any(|key| key.starts_with(name));
        assert!(is_shown || ELSEWHERE.iter().any(|part| name.contains(part)), "{name}");
    }

    drop(watching);
    let is_gone = async || {
        let samples = figures(&server).await;
        let gone = ["orion_sockets", "orion_subscriptions"].map(|key| at(&samples, key));
        (gone == [0.0, 0.0]).then_some(samples)
    };
    let samples = eventually("the socket is gone", is_gone).await;
    assert!(
        at(&samples, "orion_graphql_operations_total{kind=\"subscription\",code=\"OK\"}") > 0.0
    );
}

#[tokio::test]
#[expect(clippy::float_cmp, reason = "whole numbers")]
async fn a_subscriber_that_is_far_behind_is_fed_from_the_database() {
    let database = database().await;
    let settings = Settings::on(&database.url);
    let server = Server::with(settings.clone()).await;
    server.editor("ada").await.detect_trend("a topic").await;
    drop(server);
    // What was before its start is not in the memory of a server.
    let server = Server::with(settings).await;
    let admin = server.admin().await;
    let watch = "subscription { trendChanged(after: \"0\") { position } }";
    admin.subscribe(watch, json!({})).await.change().await;
    let samples = figures(&server).await;
    let refills = "orion_tail_reads_total{reader=\"subscription\",source=\"database\"}";
    assert!(at(&samples, refills) >= 1.0);
    assert_eq!(at(&samples, "orion_projection_lag_events{projection=\"read_model\"}"), 0.0);
}
