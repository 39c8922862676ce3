//! The way of a verification mail: from a registration to a verified address, whatever breaks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use orion_store::testing::{TestDatabase, database};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::client::{Client, http};
use crate::eventually::eventually;
use crate::log::Records;
use crate::server::{DataDir, Server, Settings};
use crate::smtp_sink::{Received, Sink};

fn sending_to(database: &TestDatabase, url: &str) -> Settings {
    let settings = Settings::on(&database.url).with("ORION_SMTP_URL", url);
    settings.with("ORION_MAIL_FROM", "Orion <orion@example.org>")
}

/// The first mail to an address.
async fn mail_to(sink: &Sink, to: &str) -> Received {
    eventually("a mail", async || sink.mails_to(to).into_iter().next()).await
}

async fn is_verified(client: &Client) -> bool {
    let me = client.query("{ me { emailVerified } }", json!({})).await;
    me["me"]["emailVerified"].as_bool().unwrap()
}

async fn verify(server: &Server, token: &str) -> Response {
    let url = format!("{}/api/v1/auth/verify-email", server.url());
    http().post(url).json(&json!({ "token": token })).send().await.unwrap()
}

#[tokio::test]
async fn a_registration_ends_in_a_verified_address() {
    let (database, sink) = (database().await, Sink::start().await);
    let settings = sending_to(&database, &sink.url());
    let server = Server::with(settings.with("ORION_PUBLIC_URL", "https://orion.test/app/")).await;
    let (ada, ada_id) = server.anonymous().register("ada").await;
    assert!(!is_verified(&ada).await);
    let mail = mail_to(&sink, "ada@example.org").await;
    assert!(mail.link().starts_with("https://orion.test/app/verify-email?token="), "{mail:?}");

    // Opening the link is no use of it: programs that look through mail do that.
    let page = format!("/verify-email?token={}", mail.token());
    for _ in 0..2 {
        assert_eq!(server.status_of(&page).await, 200);
    }
    assert!(!is_verified(&ada).await);

    assert_eq!(verify(&server, &mail.token()).await.status(), StatusCode::OK);
    assert!(is_verified(&ada).await);
    let again = verify(&server, &mail.token()).await;
    assert_eq!(again.status(), StatusCode::CONFLICT);
    assert_eq!(again.headers()["content-type"], "application/problem+json");
    let problem: Value = again.json().await.unwrap();
    assert_eq!(
        (&problem["code"], &problem["field"]),
        (&json!("ALREADY_VERIFIED"), &json!("token"))
    );
    let records = Records::of(&database.url).await;
    let actor: String = sqlx::query_scalar(
        "SELECT metadata ->> 'actor' FROM events WHERE event_type = 'user.email_verified'",
    )
    .fetch_one(&records.pool)
    .await
    .unwrap();
    assert_eq!(actor, ada_id);
    records.reacted("send_verification").await;
    assert_eq!(sink.mails().len(), 1, "one for Ada, none for the admin");
    records.assert_projected().await;

    let (ended, _stopped) = server.terminate().await;
    for secret in [mail.token().as_str(), "ada@example.org"] {
        assert!(!ended.stderr.contains(secret), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn the_mutations_answer_as_the_contract_says() {
    let (database, sink) = (database().await, Sink::start().await);
    let server = Server::with(sending_to(&database, &sink.url())).await;
    let ada = server.viewer("ada").await;
    let first = mail_to(&sink, "ada@example.org").await;

    let command_id = json!({ "commandId": uuid::Uuid::new_v4() });
    let asked = ada.mutate("requestEmailVerification", command_id.clone(), "user { id }").await;
    asked.clone().done();
    let repeat = ada.mutate("requestEmailVerification", command_id, "user { id }").await;
    assert_eq!(repeat, asked);
    let another = ada.mutate("requestEmailVerification", json!({}), "").await;
    another.refused("REQUESTED_TOO_SOON", None);
    let stale = json!({ "expectedVersion": 99 });
    let stale = ada.mutate("requestEmailVerification", stale, "").await;
    stale.refused("VERSION_CONFLICT", "expectedVersion");
    let mails = eventually("two mails", async || {
        Some(sink.mails_to("ada@example.org")).filter(|mails| mails.len() == 2)
    });
    let second = mails.await.remove(1);

    // Nobody in particular may use a link, and learns nothing of the user.
    let nobody = server.anonymous();
    let other = if second.token().as_bytes()[40] == b'A' { "B" } else { "A" };
    let mut bent = second.token();
    bent.replace_range(40..41, other);
    for token in ["", "x", &bent] {
        let payload = nobody.mutate("verifyEmail", json!({ "token": token }), "user { id }").await;
        payload.refused("INVALID_VERIFICATION_TOKEN", "token");
    }
    let input = json!({ "token": second.token() });
    let payload = nobody.mutate("verifyEmail", input, "user { id email }").await.done();
    assert_eq!(payload["user"], Value::Null);
    for mail in [first, second] {
        let input = json!({ "token": mail.token() });
        ada.mutate("verifyEmail", input, "").await.refused("ALREADY_VERIFIED", "token");
    }
    let verified = ada.mutate("requestEmailVerification", json!({}), "").await;
    verified.refused("ALREADY_VERIFIED", None);
}

#[tokio::test]
async fn the_page_allows_nothing_but_its_own_script() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let url = format!("{}/verify-email?token=<script>alert(1)</script>", server.url());
    let answer = http().get(url).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let page = answer.text().await.unwrap();
    assert!(!page.contains("alert(1)") && !page.contains("src=") && !page.contains("href="));
    for element in ["script", "style"] {
        let (open, close) = (format!("<{element}>"), format!("</{element}>"));
        assert_eq!(page.matches(&format!("<{element}")).count(), 1, "{page}");
        let content = page.split_once(&open).unwrap().1.split_once(&close).unwrap().0;
        let hash = BASE64.encode(Sha256::digest(content));
        assert!(policy.contains(&format!("{element}-src 'sha256-{hash}'")), "{policy}");
    }
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let logged = server.terminate().await.0.stderr;
    assert!(!logged.contains("alert(1)"), "the token is in the log: {logged}");
}

#[tokio::test]
async fn a_server_that_is_killed_after_a_mail_sends_it_once_more_at_most() {
    let (database, sink) = (database().await, Sink::start().await);
    let server = Server::with(sending_to(&database, &sink.url())).await;
    let records = Records::of(&database.url).await;
    server.anonymous().register("ada").await;
    mail_to(&sink, "ada@example.org").await;
    records.reacted("send_verification").await;
    server.anonymous().register("held").await;
    // It has the mail, but has not said so yet.
    mail_to(&sink, "held@example.org").await;
    let killed = server.kill9().await;
    sink.release();
    let _server = killed.start_again().await;
    records.reacted("send_verification").await;
    let held = sink.mails_to("held@example.org");
    assert_eq!(held.len(), 2, "{held:?}");
    assert_eq!(held[0].header("Message-ID"), held[1].header("Message-ID"));
    assert_eq!(sink.mails_to("ada@example.org").len(), 1, "what was sent was sent again");
}

#[tokio::test]
async fn a_mail_waits_until_there_is_a_mail_server() {
    let database = database().await;
    let address = Sink::free_address().await;
    let server = Server::with(sending_to(&database, &format!("smtp://{address}"))).await;
    let ada = server.viewer("ada").await;
    let log = eventually("a warning", async || {
        Some(server.stderr()).filter(|log| log.contains("trying again"))
    })
    .await;
    assert!(log.contains("the mail server cannot be used"), "{log}");
    assert!(!log.contains("ada@example.org"), "{log}");
    // Nothing else waits for it.
    ada.query("{ me { id } }", json!({})).await;

    let sink = Sink::at(address, None).await;
    let mail = mail_to(&sink, "ada@example.org").await;
    assert_eq!(verify(&server, &mail.token()).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_address_that_is_refused_does_not_keep_others_mail() {
    let (database, sink) = (database().await, Sink::start().await);
    let server = Server::with(sending_to(&database, &sink.url())).await;
    server.anonymous().register("refused").await;
    server.anonymous().register("ada").await;
    mail_to(&sink, "ada@example.org").await;
    assert_eq!(sink.named("refused@example.org"), 1);
    let log = server.stderr();
    let line = log.lines().find(|line| line.contains("given up")).expect("a line about it");
    assert!(line.contains("550"), "{line}");
    assert!(!log.contains("refused@example.org"), "{log}");
}

#[tokio::test]
async fn without_a_mail_server_the_link_is_in_the_log() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let (ada, ada_id) = server.anonymous().register("ada").await;
    let line = eventually("the link", async || {
        let log = server.stderr();
        log.lines().find(|line| line.contains("/verify-email?token=")).map(str::to_owned)
    })
    .await;
    assert!(line.contains(&ada_id) && !line.contains("ada@example.org"), "{line}");
    let (_, rest) = line.split_once("link=http://127.0.0.1:8000/verify-email?token=").unwrap();
    let token = rest.split_whitespace().next().unwrap();
    assert_eq!(verify(&server, token).await.status(), StatusCode::OK);
    assert!(is_verified(&ada).await);
}

#[tokio::test]
async fn settings_that_mail_cannot_be_sent_with_stop_the_start() {
    let from = ("ORION_MAIL_FROM", "orion@example.org");
    let url = ("ORION_SMTP_URL", "smtp://127.0.0.1:25");
    let secret = "smpt://orion:hunter2@example.org";
    for (settings, named) in [
        (vec![url], "ORION_MAIL_FROM: "),
        (vec![url, ("ORION_MAIL_FROM", "orion")], "ORION_MAIL_FROM: "),
        (vec![from, ("ORION_SMTP_URL", secret)], "ORION_SMTP_URL: "),
        (vec![("ORION_PUBLIC_URL", "orion.example.org")], "ORION_PUBLIC_URL: "),
    ] {
        // Refused before anything is started, so no database is there.
        let start = Settings::on("postgres://127.0.0.1:1/none");
        let start = settings.iter().fold(start, |start, (name, value)| start.with(name, *value));
        let ended = start.run_to_end(&DataDir::fresh()).await;
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(ended.stderr.starts_with(&format!("orion: {named}")), "{ended:?}");
        assert!(!ended.stderr.contains("hunter2"), "{ended:?}");
    }
}
