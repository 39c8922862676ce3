//! Tables that are behind what they have shown, and the server does not know it yet: as a crash of PostgreSQL leaves them.

use std::time::Duration;

use orion_store::testing::database;
use serde_json::{Value, json};

use crate::client::position;
use crate::log::Records;
use crate::people::id_at;
use crate::server::{ADMIN_PASSWORD, Server};

const ME: &str = "{ me { id } }";

/// Every way to read: one statement for a row or a list, a transaction, a number alone, a table of its own.
const READS: [&str; 5] = [
    "($id: ID!, $min: Position) { trend(id: $id, minPosition: $min) { topic } }",
    "($min: Position) { trends(minPosition: $min) { nodes { topic } } }",
    "($id: ID!, $min: Position) { node(id: $id) { id } trends(minPosition: $min) { totalCount } }",
    "($min: Position) { position(minPosition: $min) }",
    "($min: Position) { notifications(minPosition: $min) { totalCount } }",
];

/// Takes the tables back to this position, as far as these tests look at them.
async fn take_back(records: &Records, projection: &str, to: i64, undo: &[&str]) {
    for sql in undo {
        sqlx::query(sql).execute(&records.pool).await.unwrap();
    }
    sqlx::query("UPDATE projection.checkpoints SET position = $1 WHERE name = $2")
        .bind(to)
        .bind(projection)
        .execute(&records.pool)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_revoked_token_stays_revoked() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let records = Records::of(&database.url).await;
    let admin = server.admin().await;
    let (bob, _) = server.anonymous().register("bob").await;
    let (worker, token_id) = admin.machine("worker", &["TRENDS"]).await;
    let again = bob.sign_in("bob@example.org", ADMIN_PASSWORD).await;
    for client in [&bob, &worker, &again] {
        client.query("{ trends { totalCount } }", json!({})).await;
    }
    let before = records.head().await;
    let user_id = id_at(&bob.query(ME, json!({})).await, "/me/id");
    admin.mutate("deactivateUser", json!({ "userId": user_id }), "").await.done();
    admin.mutate("revokeServiceToken", json!({ "serviceTokenId": token_id }), "").await.done();
    records.assert_projected().await;

    let undo = [
        "UPDATE orion.users SET is_active = true",
        "UPDATE projection.sessions SET revoked_at = NULL",
        "UPDATE projection.service_tokens SET revoked_at = NULL",
    ];
    take_back(&records, "read_model", before, &undo).await;
    for client in [bob, worker, again] {
        client.ask("{ trends { totalCount } }", json!({})).await.fails("UNAUTHENTICATED");
    }
    admin.query(ME, json!({})).await;
}

#[tokio::test]
async fn what_was_asked_for_is_shown_or_refused() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let records = Records::of(&database.url).await;
    let ada = server.editor("ada").await;
    let before = records.head().await;
    let id = ada.detect_trend("taken back").await;
    let head = records.head().await;
    let variables = json!({ "id": id, "min": head.to_string() });
    for query in READS {
        let shown = ada.ask(&format!("query {query}"), variables.clone()).await;
        assert!(position(&shown.0["extensions"]["position"]) >= head, "{query}: {:#}", shown.0);
    }

    take_back(&records, "notifications", before, &[]).await;
    let [others @ .., notifications] = READS;
    refuses(&ada, notifications, &variables).await;
    for query in others {
        ada.query(&format!("query {query}"), variables.clone()).await;
    }
    take_back(&records, "read_model", before, &["DELETE FROM orion.trends"]).await;
    for query in READS {
        refuses(&ada, query, &variables).await;
    }
    // Who asks for nothing gets what there is, and is told what that is.
    let shown = ada.ask("query ($id: ID!) { trend(id: $id) { topic } }", variables).await;
    assert_eq!(position(&shown.0["extensions"]["position"]), before);
    assert_eq!(shown.data()["trend"], Value::Null);
}

#[tokio::test]
async fn a_mutation_sent_again_does_not_say_that_the_tables_show_it() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let records = Records::of(&database.url).await;
    let ada = server.editor("ada").await;
    let before = records.head().await;
    let command = uuid::Uuid::from_u128(7);
    let input = json!({ "topic": "again", "source": "rss", "score": 0.5, "commandId": command });
    let detect = "mutation ($input: DetectTrendInput!) {
        detectTrend(input: $input) { projected trend { topic } } }";
    let answer = ada.ask(detect, json!({ "input": input })).await;
    let shown = json!({ "projected": true, "trend": { "topic": "again" } });
    assert_eq!(answer.data()["detectTrend"], shown);

    take_back(&records, "read_model", before, &["DELETE FROM orion.trends"]).await;
    let answer = ada.ask(detect, json!({ "input": input })).await;
    let behind = json!({ "projected": false, "trend": null });
    assert_eq!(answer.data()["detectTrend"], behind);
}

#[tokio::test]
async fn who_resumes_misses_nothing() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let records = Records::of(&database.url).await;
    let ada = server.editor("ada").await;
    let before = records.head().await;
    let trend_id = ada.detect_trend("taken back").await;
    ada.draft_content(&trend_id, "taken back").await;
    let head = records.head().await;
    records.assert_projected().await;
    let kept = "CREATE TABLE public.kept AS SELECT * FROM orion.trends; DELETE FROM orion.contents; DELETE FROM orion.trends";
    for sql in kept.split("; ") {
        take_back(&records, "read_model", before, &[sql]).await;
    }
    let asked = json!({ "after": before.to_string() });
    let watch =
        "subscription ($after: Position) { trendChanged(after: $after) { trend { topic } } }";
    let mut trends = ada.subscribe(watch, asked).await;
    let early = tokio::time::timeout(Duration::from_millis(300), trends.next()).await;
    assert!(early.is_err(), "{:#}", early.unwrap().unwrap().0);
    for sql in ["INSERT INTO orion.trends SELECT * FROM public.kept", "DROP TABLE public.kept"] {
        take_back(&records, "read_model", head, &[sql]).await;
    }
    let told = trends.next().await.unwrap().data();
    assert_eq!(told["trendChanged"]["trend"]["topic"], "taken back");
}

async fn refuses(client: &crate::client::Client, query: &str, variables: &Value) {
    let answer = client.ask(&format!("query {query}"), variables.clone()).await;
    assert_eq!(answer.code(), Some("TIMEOUT"), "{query}: {:#}", answer.0);
}
