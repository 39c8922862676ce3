//! What leaves Orion because of an event: signed webhooks and mails, by the real program.

use orion_store::testing::database;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;

use crate::client::http;
use crate::eventually::eventually;
use crate::server::{Server, Settings};
use crate::smtp_sink::Sink;
use crate::webhook_sink::WebhookSink;

/// The HMAC of RFC 2104, by hand: the secret is as long as a block.
fn hmac(secret: &str, body: &str) -> String {
    let pad = |with: u8| secret.bytes().map(move |byte| byte ^ with).collect::<Vec<_>>();
    let inner = Sha256::digest([pad(0x36), body.as_bytes().to_vec()].concat());
    hex::encode(Sha256::digest([pad(0x5c), inner.to_vec()].concat()))
}

#[tokio::test]
async fn a_webhook_is_signed_with_the_secret_that_only_its_user_sees() {
    let (database, hooks) = (database().await, WebhookSink::start().await);
    let server =
        Server::with(Settings::on(&database.url).with("ORION_WEBHOOK_PRIVATE", "on")).await;
    let ada = server.editor("ada").await;
    let change = json!({ "settings": { "notification_preferences": { "webhook_url": hooks.url("/later") } } });
    ada.mutate("updateSettings", change, "").await.done();
    let trend = ada.detect_trend("a topic").await;
    // Twice it is refused, then taken.
    let posted = eventually("it is taken", async || {
        let posted = hooks.posted("/later");
        (posted.len() == 3).then_some(posted)
    })
    .await;
    let query = "{ me { id settings { webhookSecret } } }";
    let me = ada.query(query, json!({})).await;
    let secret = me["me"]["settings"]["webhookSecret"].as_str().unwrap();
    assert_eq!(secret.len(), 64);
    for posted in &posted {
        let signature = format!("sha256={}", hmac(secret, &posted.body));
        assert_eq!(posted.header("x-orion-signature"), signature);
        assert_eq!(posted.header("content-type"), "application/json");
        let body: Value = serde_json::from_str(&posted.body).unwrap();
        assert_eq!((&body["kind"], &body["trendId"]), (&json!("trend.detected"), &json!(trend)));
    }
    assert_eq!(posted[0].header("x-orion-delivery"), posted[2].header("x-orion-delivery"));

    // Not even an admin sees another's.
    let query = "query ($id: ID!) { user(id: $id) { settings { webhookSecret } } }";
    let seen = server.admin().await.query(query, json!({ "id": me["me"]["id"] })).await;
    assert_eq!(seen["user"]["settings"], json!({ "webhookSecret": null }));
}

#[tokio::test]
async fn by_default_a_webhook_to_this_machine_is_given_up() {
    let (database, hooks) = (database().await, WebhookSink::start().await);
    let server = Server::start(&database.url).await;
    let ada = server.editor("ada").await;
    let url = hooks.url("/ada");
    let change = json!({ "settings": { "notification_preferences": { "webhook_url": url } } });
    ada.mutate("updateSettings", change, "").await.done();
    ada.detect_trend("a topic").await;
    eventually("it is given up", async || {
        server.stderr().contains("the address is not public").then_some(())
    })
    .await;
    assert_eq!(hooks.posted("/ada"), []);
    assert!(!server.stderr().contains(&url), "the address is the user's");
}

#[tokio::test]
async fn a_failed_generation_is_mailed_to_its_owner() {
    let (database, sink) = (database().await, Sink::start().await);
    let settings = Settings::on(&database.url).with("ORION_SMTP_URL", sink.url());
    let server = Server::with(settings.with("ORION_MAIL_FROM", "Orion <orion@example.org>")).await;
    let ada = server.editor("ada").await;
    let link = eventually("a link", async || sink.mails_to("ada@example.org").pop()).await;
    let verify = format!("{}/api/v1/auth/verify-email", server.url());
    http().post(verify).json(&json!({ "token": link.token() })).send().await.unwrap();
    let trend = ada.detect_trend("a topic").await;
    let content = ada.draft_content(&trend, "A title").await;
    let input = json!({ "contentId": content, "stages": ["video"] });
    ada.mutate("startGeneration", input, "").await.done();
    let run_id = ada.start_stage(&content, "video").await;
    ada.mutate("failStage", json!({ "runId": run_id, "error": "quota" }), "").await.done();
    let mail = eventually("a mail", async || {
        let mails = sink.mails_to("ada@example.org");
        (mails.len() == 2).then(|| mails[1].clone())
    })
    .await;
    assert_eq!(mail.header("Subject"), "The generation of your content failed");
    assert!(mail.data.contains(&content) && mail.data.contains("the stage video failed"));
    assert!(!mail.data.contains("A title"), "{}", mail.data);
}

#[tokio::test]
async fn what_was_delivered_before_a_crash_is_not_delivered_again_after_it() {
    let (database, hooks) = (database().await, WebhookSink::start().await);
    let settings = Settings::on(&database.url).with("ORION_WEBHOOK_PRIVATE", "on");
    let server = Server::with(settings).await;
    let ada = server.editor("ada").await;
    let change =
        json!({ "settings": { "notification_preferences": { "webhook_url": hooks.url("/ada") } } });
    ada.mutate("updateSettings", change, "").await.done();
    let pool = PgPool::connect(&database.url).await.unwrap();
    let is_settled = async |sent: usize| {
        let waiting: i64 =
            sqlx::query_scalar("SELECT count(*) FROM deliveries").fetch_one(&pool).await.unwrap();
        (hooks.posted("/ada").len() == sent && waiting == 0).then_some(())
    };
    // A checkpoint that is written now and then is written after the first, and not yet after the second.
    for (sent, topic) in [(1, "one"), (2, "two")] {
        ada.detect_trend(topic).await;
        eventually("it is sent", async || is_settled(sent).await).await;
    }
    let server = server.kill9().await.start_again().await;

    // A user's webhooks come in order: by the time of the third the first two would have come again.
    let third = ada.at(server.url()).detect_trend("three").await;
    let posted = eventually("the third is sent", async || {
        let posted = hooks.posted("/ada");
        posted.iter().any(|posted| posted.body.contains(&third)).then_some(posted)
    })
    .await;
    assert_eq!(posted.len(), 3, "{posted:#?}");
}
