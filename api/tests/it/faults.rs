//! Starts that cannot succeed, orderly ends, and events that cannot be applied.

use std::net::TcpListener;
use std::time::Duration;

use orion_projections::{READ_MODEL, Status, checkpoint, resume};
use orion_store::testing::database;
use serde_json::{Value, json};
use sqlx::Executor as _;
use tokio::time::timeout;

use crate::eventually::eventually;
use crate::log::Records;
use crate::server::{ADMIN_PASSWORD, DataDir, Server, Settings};

/// The exit status of a server that cannot start.
const CANNOT_START: i32 = 2;

/// One line on standard error that names what is wrong, and the exit status that says so.
pub async fn cannot_start(settings: Settings, says: &str) {
    let data_dir = DataDir::fresh();
    let ended = settings.run_to_end(&data_dir).await;
    assert_eq!(ended.status.code(), Some(CANNOT_START), "{says}: {ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{says}: {ended:?}");
    assert!(ended.stderr.contains(says), "{says}: {ended:?}");
    assert_eq!(ended.stdout, "", "{says}: {ended:?}");
}

#[tokio::test]
async fn a_wrong_setting_is_one_line_and_exit_status_2() {
    let nowhere = || Settings::on("postgres://orion@127.0.0.1:1/orion");
    for (settings, says) in [
        (nowhere(), "DATABASE_URL: the database cannot be reached"),
        (Settings::on("mysql://127.0.0.1/orion"), "DATABASE_URL: "),
        (nowhere().with("ORION_MASTER_KEY", "c2hvcnQ="), "ORION_MASTER_KEY: "),
        (nowhere().with("ORION_TOKEN_KEY", "?"), "ORION_TOKEN_KEY: "),
        (nowhere().with("ORION_LOG_KEY", "?"), "ORION_LOG_KEY: "),
        (nowhere().with("ORION_LOG_KEYS_OLD", "?"), "ORION_LOG_KEYS_OLD: "),
        (nowhere().with("ORION_ADMIN_EMAIL", "nobody"), "ORION_ADMIN_EMAIL: "),
        (nowhere().with("ORION_ADMIN_PASSWORD", "short"), "ORION_ADMIN_PASSWORD: "),
        (nowhere().with("ORION_LOG", "=="), "ORION_LOG: "),
        (nowhere().with("ORION_LISTEN", "abc"), "ORION_LISTEN: "),
        (nowhere().with("ORION_TREND_TTL", "1w"), "ORION_TREND_TTL: "),
        (nowhere().with("ORION_DATABASE_POOL", "0"), "ORION_DATABASE_POOL: "),
        (nowhere().with("ORION_DATA_DIR", "/dev/null/orion"), "ORION_DATA_DIR: "),
        (nowhere().with("ORION_RATE_LIMITS", "some"), "ORION_RATE_LIMITS: "),
        (nowhere().with("ORION_NATS_URL", "http://127.0.0.1"), "ORION_NATS_URL: "),
        (nowhere().with("ORION_READ_DATABASE_URL", "somewhere"), "ORION_READ_DATABASE_URL: "),
        (nowhere().with("ORION_BATCHING", "some"), "ORION_BATCHING: "),
        (nowhere().with("ORION_TRUSTED_PROXIES", "10.0.0.0/33"), "ORION_TRUSTED_PROXIES: "),
        (nowhere().with("ORION_CORS_ORIGINS", "*"), "ORION_CORS_ORIGINS: "),
        (nowhere().with("ORION_CONNECTIONS", "0"), "ORION_CONNECTIONS: "),
        (nowhere().with("ORION_HEADER_TIMEOUT", "0s"), "ORION_HEADER_TIMEOUT: "),
        (nowhere().with("ORION_BODY_TIMEOUT", "soon"), "ORION_BODY_TIMEOUT: "),
        (nowhere().with("ORION_QUERY_TIMEOUT", "0s"), "ORION_QUERY_TIMEOUT: "),
        (nowhere().with("ORION_INTROSPECTION", "some"), "ORION_INTROSPECTION: "),
        (nowhere().with("ORION_SUGGESTIONS", "maybe"), "ORION_SUGGESTIONS: "),
    ] {
        cannot_start(settings, says).await;
    }
}

#[tokio::test]
async fn what_is_in_the_way_is_named() {
    let database = database().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let settings = Settings::on(&database.url).with("ORION_LISTEN", address.clone());
    cannot_start(settings, &format!("ORION_LISTEN: cannot listen on {address}")).await;

    // A file where the folder should be, with and without a database beside it.
    let data_dir = DataDir::fresh();
    let file = data_dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    for settings in [Settings::on(&database.url), Settings::embedded()] {
        let settings = settings.with("ORION_DATA_DIR", file.to_str().unwrap());
        cannot_start(settings, "ORION_DATA_DIR: ").await;
    }
}

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused() {
    let first = Server::start_embedded().await;
    let folder = first.data_dir().orion();
    let settings = Settings::embedded().with("ORION_DATA_DIR", folder.to_str().unwrap());
    cannot_start(settings, "in use by another Orion").await;
    first.until_ready().await;
    first.admin().await;
    let (ended, _stopped) = first.terminate().await;
    assert!(ended.status.success(), "{ended:?}");
}

#[tokio::test]
async fn an_operator_s_stop_is_in_order_and_in_time() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.editor("ada").await;
    let watch = "subscription { trendChanged { position } }";
    let mut watching = ada.subscribe(watch, json!({})).await;
    let working = tokio::spawn({
        let ada = ada.clone();
        async move {
            let detect = json!({ "topic": "t", "source": "s", "score": 0.5 });
            let mut acknowledged = Vec::new();
            while let Ok(Ok(payload)) =
                ada.try_mutate("detectTrend", detect.clone(), "trend { id }").await
            {
                acknowledged.push(payload.done());
            }
            acknowledged
        }
    });
    watching.change().await;
    // Within the 10 s of the contract, or the helper fails.
    let (ended, _stopped) = server.terminate().await;
    assert!(ended.status.success(), "{ended:?}");
    let records = Records::of(&database.url).await;
    for payload in working.await.unwrap() {
        let position = crate::client::position(&payload["position"]);
        assert!(records.has(position, payload["trend"]["id"].as_str().unwrap()).await);
    }
    // The subscription ends, too.
    while watching.next().await.is_some_and(|answer| answer.code().is_none()) {}
    records.assert_in_order().await;
}

/// Answers "at once": far below the 5 s for which a mutation waits for a read model that runs.
const AT_ONCE: Duration = Duration::from_secs(3);

pub async fn stopped(records: &Records) -> Option<String> {
    match checkpoint(&records.pool, READ_MODEL).await.unwrap().status {
        Status::Running => None,
        Status::Stopped { error } => Some(error),
    }
}

async fn projections(admin: &crate::client::Client) -> Value {
    let log = "{ log { head projections { name position lag error } } }";
    admin.query(log, json!({})).await["log"]["projections"][0].clone()
}

#[tokio::test]
async fn a_poison_event_stops_the_read_model_until_it_is_resumed() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let (admin, ada) = (server.admin().await, server.editor("ada").await);
    let kept = ada.detect_trend("fine").await;
    let records = Records::of(&database.url).await;
    let execute = async |sql: &str| records.pool.execute(sql).await.unwrap();
    execute("ALTER TABLE orion.trends ADD CONSTRAINT refused_by_the_test CHECK (topic <> 'boom')")
        .await;

    let input = |topic: &str| json!({ "topic": topic, "source": "s", "score": 0.5 });
    let before = records.head().await;
    for topic in ["boom", "after"] {
        let detect = ada.mutate("detectTrend", input(topic), "trend { id }");
        let payload = timeout(AT_ONCE, detect).await.expect("an answer at once");
        assert_eq!(payload.0["errors"], json!([]));
        assert_eq!(payload.0["projected"], json!(false), "{:#}", payload.0);
    }

    // It is shown everywhere, and what is there is still served.
    let error = stopped(&records).await.expect("the projection has stopped");
    let expected = format!("position {} (trend.detected)", before + 1);
    assert!(error.contains(&expected), "{error}");
    assert!(!error.contains("boom"), "a value in an error: {error}");
    let shown = projections(&admin).await;
    assert_eq!(shown["position"], json!(before.to_string()));
    assert_eq!((&shown["lag"], &shown["error"]), (&json!(2), &json!(error)));
    let metrics = server.metrics().await;
    assert!(metrics.contains("orion_projection_stopped{projection=\"read_model\"} 1"), "{metrics}");
    assert!(metrics.contains("orion_projection_lag_events{projection=\"read_model\"} 2"));
    assert_eq!(server.ready().await, 200);
    let trends = ada.query("{ trends { nodes { id } } }", json!({})).await;
    assert_eq!(trends["trends"]["nodes"], json!([{ "id": kept }]));
    let ahead = json!({ "min": (before + 1).to_string() });
    let wait = "query ($min: Position) { trends(minPosition: $min) { totalCount } }";
    let wait = timeout(AT_ONCE, ada.ask(wait, ahead)).await.expect("an answer at once");
    wait.fails("TIMEOUT");

    // Nothing was skipped.
    execute("ALTER TABLE orion.trends DROP CONSTRAINT refused_by_the_test").await;
    resume(&records.pool, READ_MODEL).await.unwrap();
    records.assert_projected().await;
    ada.detect_trend("fine again").await;
    let trends = ada.query("{ trends { totalCount } }", json!({})).await;
    assert_eq!(trends["trends"]["totalCount"], json!(4));
    assert_eq!(projections(&admin).await["error"], Value::Null);
}

#[tokio::test]
async fn an_event_that_does_not_fit_its_type_stops_the_read_model_also_over_a_restart() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.editor("ada").await;
    ada.detect_trend("fine").await;
    let records = Records::of(&database.url).await;
    let poisoned: i64 = sqlx::query_scalar(
        "INSERT INTO events SELECT max(position) + 1, 'trend', gen_random_uuid()::text, 1,
             'trend.rescored', '1', '{}', '{}', clock_timestamp() FROM events RETURNING position",
    )
    .fetch_one(&records.pool)
    .await
    .unwrap();
    let error = eventually("the projection stops", async || stopped(&records).await).await;
    assert!(error.contains(&format!("position {poisoned} (trend.rescored)")), "{error}");

    let (_, ended) = server.terminate().await;
    let server = ended.start_again().await;
    let ada = ada.at(server.url());
    let trends = ada.query("{ trends { totalCount } }", json!({})).await;
    assert_eq!(trends["trends"]["totalCount"], json!(1));
    assert!(stopped(&records).await.is_some(), "a restart skipped the event");

    // The fix of a newer program, or of a superuser who knows what he does.
    let (_, ended) = server.terminate().await;
    for sql in [
        "ALTER TABLE events DISABLE TRIGGER events_refuse_change",
        "DELETE FROM events WHERE event_type = 'trend.rescored'",
        "ALTER TABLE events ENABLE TRIGGER events_refuse_change",
    ] {
        records.pool.execute(sql).await.unwrap();
    }
    resume(&records.pool, READ_MODEL).await.unwrap();
    let server = ended.start_again().await;
    ada.at(server.url()).detect_trend("fine again").await;
    records.assert_in_order().await;
    records.assert_projected().await;
}

#[tokio::test]
async fn rights_that_are_withdrawn_while_the_read_model_stands_are_gone() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let (admin, (_, bob_id)) = (server.admin().await, server.anonymous().register("bob").await);
    let role = |role: &str| json!({ "userId": bob_id, "role": role });
    admin.mutate("changeRole", role("ADMIN"), "").await.done();
    let bob = admin.sign_in("bob@example.org", ADMIN_PASSWORD).await;
    let records = Records::of(&database.url).await;
    let execute = async |sql: &str| records.pool.execute(sql).await.unwrap();
    execute("ALTER TABLE orion.trends ADD CONSTRAINT refused_by_the_test CHECK (topic <> 'boom')")
        .await;
    let boom = json!({ "topic": "boom", "source": "s" });
    admin.mutate("detectTrend", boom, "").await;
    stopped(&records).await.expect("the projection has stopped");

    let users = "{ users { totalCount } }";
    bob.query(users, json!({})).await;
    let demoted = admin.mutate("changeRole", role("VIEWER"), "").await;
    assert_eq!(demoted.0["errors"], json!([]));
    bob.ask(users, json!({})).await.fails("FORBIDDEN");
    let deactivated = admin.mutate("deactivateUser", json!({ "userId": bob_id }), "").await;
    assert_eq!(deactivated.0["errors"], json!([]));
    bob.ask("{ me { id } }", json!({})).await.fails("UNAUTHENTICATED");
}
