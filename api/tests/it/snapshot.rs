//! Which state of the tables an answer shows, and how long it is held for.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use orion_store::testing::database;
use serde_json::json;

use crate::client::{Client, position};
use crate::eventually::eventually;
use crate::in_process::InProcess;
use crate::loading::DEEP;
use crate::log::Records;
use crate::people::id_at;
use crate::server::{Server, Settings};

const AT_ONCE: &str = "query ($id: ID!) { position
    a: content(id: $id) { version status pipelineRuns(last: 3) { totalCount nodes { status } } }
    b: contents(first: 1) { nodes { version status pipelineRuns(last: 3) { totalCount nodes { status } } } }
    c: node(id: $id) { ... on Content { version status pipelineRuns(last: 3) { totalCount nodes { status } } } } }";

/// Reads a content in three ways, again and again, and compares each answer with the log.
async fn read_until(done: &AtomicBool, reader: &Client, id: &str, records: &Records) -> usize {
    let mut positions = BTreeSet::new();
    while !done.load(Ordering::Relaxed) {
        let answer = reader.ask(AT_ONCE, json!({ "id": id })).await;
        let at = position(&answer.0["extensions"]["position"]);
        let data = answer.data();
        assert_eq!(position(&data["position"]), at);
        let count = async |event_type: &str| -> i64 {
            sqlx::query_scalar(
                "SELECT count(*) FROM events
                 WHERE aggregate_id = $1 AND position <= $2 AND event_type LIKE $3",
            )
            .bind(id)
            .bind(at)
            .bind(event_type)
            .fetch_one(&records.pool)
            .await
            .unwrap()
        };
        let started = count("content.generation_started").await;
        // A run fails, then its generation and with it the other two.
        let (failed, ended) =
            (count("content.stage_failed").await, count("content.generation_failed").await);
        let status = if started == ended { "DRAFT" } else { "GENERATING" };
        let runs_failed = match (started == ended, started == failed) {
            (true, _) => started.min(1) * 3,
            (false, true) => 1,
            (false, false) => 0,
        };
        let expected = (count("%").await, status, started * 3, runs_failed);
        for found in [&data["a"], &data["b"]["nodes"][0], &data["c"]] {
            let runs = &found["pipelineRuns"];
            let failed = runs.to_string().matches("FAILED").count();
            let found = (
                found["version"].as_i64().unwrap(),
                found["status"].as_str().unwrap(),
                runs["totalCount"].as_i64().unwrap(),
                i64::try_from(failed).unwrap(),
            );
            assert_eq!(found, expected, "at {at}");
        }
        positions.insert(at);
    }
    positions.len()
}

#[tokio::test]
async fn an_answer_is_of_one_position() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let (ada, records) = (server.editor("ada").await, Records::of(&database.url).await);
    let trend = ada.detect_trend("t").await;
    let content = ada.draft_content(&trend, "c").await;
    let done = AtomicBool::new(false);
    let write = async {
        for _ in 0..40 {
            let start = json!({ "contentId": content, "stages": ["a", "b", "c"] });
            ada.mutate("startGeneration", start, "").await.done();
            let run_id = ada.start_stage(&content, "c").await;
            let fail = json!({ "runId": run_id, "error": "no" });
            ada.mutate("failStage", fail, "").await.done();
        }
        done.store(true, Ordering::Relaxed);
    };
    let read = async || read_until(&done, &ada, &content, &records).await;
    let ((), seen, others) = tokio::join!(write, read(), read());
    assert!(seen + others > 10, "{seen} and {others} positions were seen");

    // What a mutation shows is read after it, for each by itself.
    let query = "mutation ($a: EditContentInput!, $b: EditContentInput!) {
        a: editContent(input: $a) { position content { title version } }
        b: editContent(input: $b) { position content { title version trend { topic } } } }";
    let edit = |title: &str| json!({ "contentId": content, "title": title });
    let answer = ada.ask(query, json!({ "a": edit("one"), "b": edit("two") })).await;
    let (at, data) = (position(&answer.0["extensions"]["position"]), answer.data());
    assert_eq!(
        (&data["a"]["content"]["title"], &data["b"]["content"]["title"]),
        (&json!("one"), &json!("two"))
    );
    assert!(at >= position(&data["b"]["position"]));
}

#[tokio::test]
async fn the_position_that_one_field_waits_for_holds_for_all() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let (ada, records) = (server.editor("ada").await, Records::of(&database.url).await);
    let trend = ada.detect_trend("t").await;
    let before = records.head().await;
    // While somebody holds the checkpoints, the tables stand still.
    let holding = records.hold_tables().await;
    let input = json!({ "trendId": trend, "score": 0.75 });
    let rescore = ada.mutate("rescoreTrend", input, "");
    let read = async {
        eventually("the score is written", async || (records.head().await > before).then_some(()))
            .await;
        // `node` takes no position of its own.
        let query = "query ($id: ID!, $at: Position) { node(id: $id) { ... on Trend { score } }
            trends { nodes { score } } position(minPosition: $at) }";
        let answer = ada.ask(query, json!({ "id": trend, "at": (before + 1).to_string() }));
        tokio::pin!(answer);
        let early = tokio::time::timeout(Duration::from_millis(300), &mut answer).await;
        assert!(early.is_err(), "{early:?}");
        holding.rollback().await.unwrap();
        answer.await
    };
    let (_, answer) = tokio::join!(rescore, read);
    let data = answer.data();
    assert_eq!(data["node"]["score"], json!(0.75), "{data:#}");
    assert_eq!(data["trends"]["nodes"][0]["score"], json!(0.75), "{data:#}");
}

#[tokio::test]
async fn a_run_that_only_the_log_has_can_end() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let (ada, records) = (server.editor("ada").await, Records::of(&database.url).await);
    let content = ada.draft_content(&ada.detect_trend("t").await, "c").await;
    let before = records.head().await;
    // While somebody holds the checkpoints, the tables stand still.
    let holding = records.hold_tables().await;
    let written = async |events: i64| {
        let is_there = async || (records.head().await >= before + events).then_some(());
        eventually("the events are written", is_there).await;
    };
    let input = json!({ "contentId": content, "stages": ["script"] });
    let generate = ada.mutate("startGeneration", input, "");
    let start = async {
        written(1).await;
        ada.mutate("startStage", json!({ "contentId": content, "stage": "script" }), "").await
    };
    let complete = async {
        written(2).await;
        let run: String = sqlx::query_scalar(
            "SELECT payload ->> 'run_id' FROM events WHERE event_type = 'content.stage_started'",
        )
        .fetch_one(&records.pool)
        .await
        .unwrap();
        let input = json!({ "runId": run });
        let answer = ada.mutate("completeStage", input, "pipelineRun { status } errors { code }");
        tokio::pin!(answer);
        let early = tokio::time::timeout(Duration::from_millis(300), &mut answer).await;
        assert!(early.is_err(), "{:?}", early.map(|payload| payload.0));
        holding.rollback().await.unwrap();
        answer.await
    };
    let (_, _, completed) = tokio::join!(generate, start, complete);
    assert_eq!(completed.0["errors"], json!([]));
    assert_eq!(completed.0["pipelineRun"]["status"], "COMPLETED");
}

const BESIDE_THE_LOG: &str = "query ($id: ID!) { events(last: 2) { totalCount nodes { eventType } }
    content(id: $id, asOf: { position: \"4\" }) { title } contents { totalCount nodes { title } } }";

const STEP_BY_STEP: &str =
    "query ($id: ID!) { node(id: $id) { ... on Content { trend { contents { nodes { id } } } } }
    notifications { totalCount nodes { kind content { title } trend { topic } } } }";

const ONE_AFTER_ANOTHER: &str = "mutation ($id: ID!) {
    a: editContent(input: { contentId: $id, title: \"new\" }) { content { title trend { topic } } }
    b: markNotificationsRead(input: { upTo: \"1\", ids: [] }) { unreadCount errors { code } }
    c: editContent(input: { contentId: $id, title: \"newer\" }) { content { title } } }";

#[tokio::test]
async fn two_connections_are_enough_for_many_at_once() {
    let database = database().await;
    let orion = InProcess::new(&database.url, 2).await;
    let query = "mutation { detectTrend(input: { topic: \"t\", source: \"rss\", score: 0.5 }) { trend { id } } }";
    let trend = id_at(&orion.data(query, json!({})).await, "/detectTrend/trend/id");
    let query = "mutation ($id: ID!) { draftContent(input: { trendId: $id, title: \"c\" }) { content { id } } }";
    let content = orion.data(query, json!({ "id": trend })).await;
    let content = id_at(&content, "/draftContent/content/id");
    let asked = (0..32).map(|number| {
        let query = [DEEP, BESIDE_THE_LOG, STEP_BY_STEP, ONE_AFTER_ANOTHER][number % 4];
        let variables = if query == DEEP { json!({}) } else { json!({ "id": content }) };
        // It says what has failed, if something has.
        orion.data(query, variables)
    });
    for answer in join_all(asked).await {
        assert!(answer.is_object(), "{answer:#}");
    }
}

#[tokio::test]
async fn who_goes_away_leaves_no_transaction() {
    let database = database().await;
    let server = Server::with(Settings::on(&database.url).with("ORION_DATABASE_POOL", "4")).await;
    let (ada, records) = (server.editor("ada").await, Records::of(&database.url).await);
    let trend = ada.detect_trend("t").await;
    for number in 0..10 {
        ada.draft_content(&trend, &number.to_string()).await;
    }
    for wait_ms in 0..40 {
        let asked = (0..4).map(|_| ada.ask(DEEP, json!({ "first": 10 })));
        let asked = join_all(asked);
        let _ = tokio::time::timeout(Duration::from_millis(wait_ms), asked).await;
    }
    // One that fails in PostgreSQL, and one that reads the log beside the tables.
    ada.ask("{ contents { nodes { id } } x: content(id: \"no\") { id } }", json!({}))
        .await
        .fails("BAD_USER_INPUT");
    let admin = server.admin().await;
    let both = (0..20)
        .map(|_| admin.query("{ contents { totalCount } events { totalCount } }", json!({})));
    join_all(both).await;
    no_transaction_is_left(&records).await;
    assert_eq!(ada.query(DEEP, json!({ "first": 10 })).await["contents"]["totalCount"], json!(10));
}

#[tokio::test]
async fn subscriptions_share_few_connections_and_keep_none() {
    let database = database().await;
    let server = Server::with(Settings::on(&database.url).with("ORION_DATABASE_POOL", "4")).await;
    let (ada, records) = (server.editor("ada").await, Records::of(&database.url).await);
    let trend = ada.detect_trend("t").await;
    for title in ["one", "two"] {
        ada.draft_content(&trend, title).await;
    }
    let query =
        "subscription { contentChanged(after: \"0\") { content { title trend { topic } } } }";
    let mut sockets = join_all((0..16).map(|_| ada.subscribe(query, json!({})))).await;
    for socket in &mut sockets {
        for title in ["one", "two"] {
            let event = socket.next().await.unwrap().data();
            let expected = json!({ "title": title, "trend": { "topic": "t" } });
            assert_eq!(event["contentChanged"]["content"], expected);
        }
    }
    no_transaction_is_left(&records).await;
}

/// Waits until no session of the database is in a transaction without doing anything.
async fn no_transaction_is_left(records: &Records) {
    eventually("no transaction is left open", async || {
        let open: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND state LIKE 'idle in transaction%'",
        )
        .fetch_one(&records.pool)
        .await
        .unwrap();
        (open == 0).then_some(())
    })
    .await;
}
