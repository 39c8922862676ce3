//! What operations may ask for and how long they may take: over HTTP as on a WebSocket.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use orion_store::testing::database;
use serde_json::{Value, json};
use sqlx::Executor as _;
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Answer, Client, mutation, position};
use crate::eventually::{eventually, within};
use crate::log::Records;
use crate::server::{Server, Settings};

/// Asks for the cost by HTTP.
async fn ask_cost(client: &Client, query: &str, variables: &Value) -> Answer {
    let body = json!({ "query": query, "variables": variables, "extensions": { "cost": true } });
    Answer(client.post(body.to_string()).await.unwrap().json().await.unwrap())
}

/// Asks for the cost on a socket.
async fn ask_cost_on_socket(client: &Client, query: &str, variables: &Value) -> Answer {
    let mut socket = client.silent_socket().await;
    let payload =
        json!({ "authorization": format!("Bearer {}", client.token.as_deref().unwrap()) });
    let init = json!({ "type": "connection_init", "payload": payload });
    socket.send(Message::text(init.to_string())).await.unwrap();
    let payload = json!({ "query": query, "variables": variables, "extensions": { "cost": true } });
    let subscribe = json!({ "id": "1", "type": "subscribe", "payload": payload });
    socket.send(Message::text(subscribe.to_string())).await.unwrap();
    loop {
        let message = socket.next().await.unwrap().unwrap();
        let Ok(message) = serde_json::from_str::<Value>(&message.to_string()) else { continue };
        match message["type"].as_str() {
            Some("next") => return Answer(message["payload"].clone()),
            Some("error") => return Answer(json!({ "errors": message["payload"] })),
            _ => {}
        }
    }
}

#[tokio::test]
async fn the_cost_is_told_to_whom_asks() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.editor("ada").await;
    let query = "query ($size: Int = 10) {
        contents(first: $size) { nodes { trend { topic } mediaAssets { nodes { id } } } } }";
    for (variables, cost) in [(json!({}), 308), (json!({ "size": 100 }), 3_062)] {
        let told = json!({ "operation": cost, "max": 30_000 });
        let answer = ask_cost(&ada, query, &variables).await;
        assert_eq!(answer.0["extensions"]["cost"], told, "{answer:?}");
        assert_eq!(answer.data()["contents"]["nodes"], json!([]));
        let answer = ask_cost_on_socket(&ada, query, &variables).await;
        assert_eq!(answer.0["extensions"]["cost"], told, "{answer:?}");
    }
    let answer = ada.ask(query, json!({})).await;
    assert_eq!(answer.0["extensions"]["cost"], Value::Null);
}

#[tokio::test]
async fn what_is_too_much_is_refused_by_name() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.editor("ada").await;
    let many = |count: usize, part: &str| -> String {
        (0..count).map(|index| part.replace('_', &index.to_string())).collect()
    };
    let page = "query ($size: Int) { contents(first: $size) { nodes { pipelineRuns(first: $size) {
        nodes { content { mediaAssets(first: $size) { nodes { id } } } } } } } }";
    let size = json!({ "size": 100 });
    let deep = format!("{}me{}", "{ me ".repeat(16), "}".repeat(16));
    for (query, limit, max) in [
        (page.to_owned(), "points of cost", 30_000),
        (deep, "levels", 15),
        (format!("{{ me {{ {} }} }}", many(31, "a_:id ")), "aliases", 30),
        (format!("{{ {} }}", many(21, "position ")), "root fields", 20),
        (format!("{{ position {} }}", many(11, "@skip(if:false)")), "directives", 10),
        (format!("{{ me {{ {} }} }}", many(9_999, "id ")), "tokens", 10_000),
        (format!("{{ me(a: {} }}", many(100_000, "[")), "nested brackets", 64),
    ] {
        let mut socket = ada.subscribe(&query, size.clone()).await;
        for answer in [ada.ask(&query, size.clone()).await, socket.next().await.unwrap()] {
            answer.fails("QUERY_TOO_COMPLEX");
            let extensions = &answer.0["errors"][0]["extensions"];
            let named = (&extensions["limit"], &extensions["max"]);
            assert_eq!(named, (&json!(limit), &json!(max)), "{answer:?}");
            assert!(extensions["found"].as_u64() > Some(max), "{answer:?}");
        }
    }
    ada.query(page, json!({ "size": 10 })).await;
    let lists = many(3, "a_: mediaAssets { totalCount nodes { id createdAt } } ");
    let lists = lists + &many(2, "b_: pipelineRuns { totalCount nodes { id stage status } } ");
    let relations = format!("{{ contents(first: 100) {{ nodes {{ id title {lists} }} }} }}");
    ada.query(&relations, json!({})).await;
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_cancelled_in_postgresql_too() {
    let database = database().await;
    let settings = Settings::on(&database.url).with("ORION_QUERY_TIMEOUT", "1s");
    let server = Server::with(settings).await;
    let ada = server.editor("ada").await;
    let records = Records::of(&database.url).await;
    let mut lock = records.pool.begin().await.unwrap();
    lock.execute("LOCK TABLE orion.contents").await.unwrap();

    let query = "{ contents { nodes { id } } }";
    let asked = tokio::spawn({
        let ada = ada.clone();
        async move { ada.ask(query, json!({})).await }
    });
    eventually("the query waits", async || (records.waiting().await > 0).then_some(())).await;
    let answer = asked.await.unwrap();
    answer.fails("TIMEOUT");
    assert_eq!(answer.0["data"], Value::Null, "{answer:?}");
    // Sooner than a lock's own time-out would end it.
    let soon = Duration::from_millis(1_500);
    let ended = within(soon, async || (records.waiting().await == 0).then_some(())).await;
    assert!(ended.is_some(), "the statement goes on");
    let mut socket = ada.subscribe(query, json!({})).await;
    socket.next().await.unwrap().fails("TIMEOUT");

    // More of them than there are connections: others are not kept from writing.
    let flood: Vec<_> = (0..15)
        .map(|_| {
            let ada = ada.clone();
            tokio::spawn(async move { ada.ask(query, json!({})).await })
        })
        .collect();
    eventually("the queries wait", async || (records.waiting().await > 5).then_some(())).await;
    assert_eq!(server.ready().await, 200);
    for asked in flood {
        let answer = asked.await.unwrap();
        // Those for whom there was no connection did not have to wait for so long.
        assert!(matches!(answer.code(), Some("TIMEOUT" | "RATE_LIMITED")), "{answer:?}");
    }
    lock.rollback().await.unwrap();
    eventually("queries are answered again", async || {
        ada.ask(query, json!({})).await.code().is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_mutation_that_takes_too_long_tells_when_it_is_sent_again() {
    let database = database().await;
    let settings = Settings::on(&database.url).with("ORION_QUERY_TIMEOUT", "1s");
    let server = Server::with(settings).await;
    let ada = server.editor("ada").await;
    let records = Records::of(&database.url).await;
    let before = records.head().await;
    let mut lock = records.pool.begin().await.unwrap();
    // Reading goes on.
    lock.execute("LOCK TABLE events IN SHARE MODE").await.unwrap();

    let id = uuid::Uuid::from_u128(7).to_string();
    let input = json!({ "commandId": id, "topic": "t", "source": "s", "score": 0.5 });
    let detect = mutation("detectTrend", "");
    let answer = ada.ask(&detect, json!({ "input": input })).await;
    answer.fails("TIMEOUT");
    let message = answer.0["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("commandId"), "{message}");
    lock.rollback().await.unwrap();
    eventually("it is done", async || (records.head().await > before).then_some(())).await;
    let told = ada.mutate("detectTrend", input, "").await.done();
    assert_eq!(position(&told["position"]), before + 1);
    assert_eq!(records.head().await, before + 1);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_gives_nothing_away() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.editor("ada").await;
    let trend = ada.detect_trend("a topic").await;
    let records = Records::of(&database.url).await;
    for sql in [
        "ALTER TABLE orion.trends ALTER COLUMN source DROP NOT NULL",
        "UPDATE orion.trends SET source = NULL",
    ] {
        records.pool.execute(sql).await.unwrap();
    }
    let query = "query ($id: ID!) { me { name } trend(id: $id) { source } }";
    let mut socket = ada.subscribe(query, json!({ "id": trend })).await;
    for answer in [ada.ask(query, json!({ "id": trend })).await, socket.next().await.unwrap()] {
        answer.fails("INTERNAL");
        assert!(answer.0["errors"][0]["extensions"]["traceId"].is_string(), "{answer:?}");
        assert_eq!(answer.0["errors"][0]["message"], "something went wrong on our side");
        assert_eq!(answer.0["errors"][0]["extensions"].as_object().unwrap().len(), 2);
    }
    ada.query("{ me { name } }", json!({})).await;
}
