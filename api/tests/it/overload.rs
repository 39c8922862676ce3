//! More requests than there are connections to PostgreSQL: who cannot be served soon is told at once, and the
//! others are served.

use std::time::{Duration, Instant};

use orion_store::testing::database;
use serde_json::{Value, json};
use sqlx::{Executor as _, Postgres, Transaction};
use tokio::task::JoinSet;

use crate::client::{Answer, Client, mutation};
use crate::eventually::eventually;
use crate::log::Records;
use crate::server::{Server, Settings};

/// The fewest connections that a pool may have.
const POOL: usize = 4;

/// How many of its connections requests may have at a time.
const TURNS: usize = 2;

/// No refusal takes longer; a busy machine is not held to the half second.
const FAST: Duration = Duration::from_secs(2);

const CONTENTS: &str = "{ contents { nodes { id title } } }";

async fn small(database_url: &str) -> Server {
    Server::with(Settings::on(database_url).with("ORION_DATABASE_POOL", POOL.to_string())).await
}

/// Whoever works with the table waits until the end of the transaction.
async fn lock(records: &Records, table: &str) -> Transaction<'static, Postgres> {
    let mut lock = records.pool.begin().await.unwrap();
    let sql = format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
    lock.execute(sql.as_str()).await.unwrap();
    lock
}

/// As many queries as may have a connection, which wait for the table of contents.
async fn fill(ada: &Client, records: &Records) -> JoinSet<Answer> {
    let mut waiting = JoinSet::new();
    for _ in 0..TURNS {
        let ada = ada.clone();
        waiting.spawn(async move { ada.ask(CONTENTS, json!({})).await });
    }
    let all = i64::try_from(TURNS).unwrap();
    eventually("the queries wait", async || (records.waiting().await == all).then_some(())).await;
    waiting
}

/// The refusal of an answer, which came soon after the request.
#[track_caller]
fn refused(answer: &Answer, asked: Instant) {
    answer.fails("RATE_LIMITED");
    let wait = &answer.0["errors"][0]["extensions"]["retryAfterMs"];
    assert_eq!(*wait, 1_000, "{answer:?}");
    assert!(asked.elapsed() < FAST, "{:?}", asked.elapsed());
}

#[track_caller]
fn counts(metrics: &str, of: &str) {
    let line = format!("orion_overloaded_total{{of=\"{of}\"}} ");
    let count = metrics.lines().find_map(|metric| metric.strip_prefix(&line));
    assert!(count.is_some_and(|count| count != "0"), "{metrics}");
}

#[tokio::test]
async fn queries_beyond_the_pool_are_refused_fast_and_the_others_are_answered() {
    let database = database().await;
    let server = small(&database.url).await;
    let ada = server.editor("ada").await;
    let trend = ada.detect_trend("a topic").await;
    ada.draft_content(&trend, "one").await;
    let watch = "subscription { contentChanged { content { title } } }";
    let mut watching = ada.subscribe(watch, json!({})).await;
    let mut socket = ada.socket().await;
    let records = Records::of(&database.url).await;
    let lock = lock(&records, "orion.contents").await;
    let waiting = fill(&ada, &records).await;

    // Whatever it reads, and however it comes.
    let asked = Instant::now();
    refused(&ada.ask("{ trends { nodes { id } } }", json!({})).await, asked);
    let asked = Instant::now();
    socket.subscribe(CONTENTS, json!({})).await;
    refused(&socket.next().await.unwrap(), asked);
    let asked = Instant::now();
    let me = reqwest::Client::new().get(format!("{}/api/v1/auth/me", server.url()));
    let me = me.bearer_auth(ada.token.as_ref().unwrap()).send().await.unwrap();
    assert_eq!((me.status().as_u16(), &me.headers()["retry-after"]), (429, &"1".parse().unwrap()));
    let problem: Value = me.json().await.unwrap();
    assert_eq!(
        (&problem["code"], &problem["retryAfterMs"]),
        (&json!("RATE_LIMITED"), &json!(1_000))
    );
    assert!(asked.elapsed() < FAST);

    // Those who run the server see it, and what has connections of its own goes on.
    let asked = Instant::now();
    assert_eq!(server.status_of("/health/live").await, 200);
    assert_eq!(server.ready().await, 200);
    counts(&server.metrics().await, "queries");
    let input = json!({ "topic": "another", "source": "rss", "score": 0.5 });
    ada.mutate("detectTrend", input, "").await.done();
    assert!(asked.elapsed() < FAST, "{:?}", asked.elapsed());

    lock.rollback().await.unwrap();
    for answer in waiting.join_all().await {
        assert_eq!(answer.data()["contents"]["nodes"][0]["title"], "one");
    }
    ada.query(CONTENTS, json!({})).await;
    ada.draft_content(&trend, "two").await;
    let told = watching.next().await.unwrap().data();
    assert_eq!(told["contentChanged"]["content"]["title"], "two", "the subscription went on");
}

#[tokio::test]
async fn commands_beyond_the_pool_are_refused_fast_and_nothing_is_done() {
    let database = database().await;
    let server = small(&database.url).await;
    let ada = server.editor("ada").await;
    let trend = ada.detect_trend("a topic").await;
    let mut edits = Vec::new();
    for number in 0..3 * POOL {
        let content = ada.draft_content(&trend, "a title").await;
        let command = uuid::Uuid::from_u128(number as u128);
        edits.push(json!({ "contentId": content, "commandId": command, "title": "another" }));
    }
    let records = Records::of(&database.url).await;
    let held = lock(&records, "events").await;
    let mut answers = JoinSet::new();
    for edit in edits {
        let ada = ada.clone();
        answers.spawn(async move {
            let (query, asked) = (mutation("editContent", ""), Instant::now());
            (ada.ask(&query, json!({ "input": edit })).await, asked, edit)
        });
    }
    let mut later = Vec::new();
    for _ in TURNS..3 * POOL {
        let (answer, asked, edit) = answers.join_next().await.unwrap().unwrap();
        refused(&answer, asked);
        later.push(edit);
    }
    // A balancer must not take the server away while all turns are taken.
    assert_eq!(server.status_of("/health/ready").await, 200);
    held.rollback().await.unwrap();
    counts(&server.metrics().await, "log");
    ada.query(CONTENTS, json!({})).await;
    for (answer, ..) in answers.join_all().await {
        assert_eq!(answer.data()["editContent"]["errors"], json!([]));
    }
    assert_eq!(edited(&records).await, 2, "whoever was refused has done nothing");
    for edit in later {
        ada.mutate("editContent", edit, "").await.done();
    }
    assert_eq!(edited(&records).await, 12);
}

async fn edited(records: &Records) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'content.edited'")
        .fetch_one(&records.pool)
        .await
        .unwrap()
}

/// A mutation that was done must not look like one that was not.
#[tokio::test]
async fn what_was_done_is_shown_although_queries_are_refused() {
    let database = database().await;
    let server = small(&database.url).await;
    let ada = server.editor("ada").await;
    let records = Records::of(&database.url).await;
    let lock = lock(&records, "orion.contents").await;
    let waiting = fill(&ada, &records).await;
    let detecting = tokio::spawn({
        let ada = ada.clone();
        async move { ada.detect_trend("a topic").await }
    });
    eventually("it is done", async || (trends(&records).await == 1).then_some(())).await;
    let asked = Instant::now();
    refused(&ada.ask("{ trends { nodes { id } } }", json!({})).await, asked);
    assert!(!detecting.is_finished(), "its trend was read without a connection");
    lock.rollback().await.unwrap();
    let trend = detecting.await.unwrap();
    let shown = ada.query("{ trends { nodes { id } } }", json!({})).await;
    assert_eq!(shown["trends"]["nodes"], json!([{ "id": trend }]));
    waiting.join_all().await;
}

async fn trends(records: &Records) -> i64 {
    let count = sqlx::query_scalar("SELECT count(*) FROM orion.trends");
    count.fetch_one(&records.pool).await.unwrap()
}

/// As long as the tables stand each mutation waits for them; more and more of them would.
#[tokio::test]
async fn mutations_beyond_the_bound_are_refused_fast_and_queries_go_on() {
    let database = database().await;
    let server = small(&database.url).await;
    let ada = server.editor("ada").await;
    let records = Records::of(&database.url).await;
    let held = records.hold_tables().await;
    let mut answers = JoinSet::new();
    for _ in 0..8 * POOL + 8 {
        let ada = ada.clone();
        answers.spawn(async move {
            let input = json!({ "topic": "t", "source": "rss", "score": 0.5 });
            let (query, asked) = (mutation("detectTrend", "trend { id }"), Instant::now());
            (ada.ask(&query, json!({ "input": input })).await, asked)
        });
    }
    for _ in 0..8 {
        let (answer, asked) = answers.join_next().await.unwrap().unwrap();
        refused(&answer, asked);
    }
    counts(&server.metrics().await, "mutations");
    ada.query("{ trends { nodes { id } } }", json!({})).await;
    held.rollback().await.unwrap();
    for (answer, _) in answers.join_all().await {
        assert_eq!(answer.data()["detectTrend"]["errors"], json!([]));
    }
    assert_eq!(trends(&records).await, 32, "whoever was refused has done nothing");
}
