//! Servers of different versions on one database, as during an upgrade.

use std::time::Duration;

use orion_domain::Trend;
use orion_store::testing::{append_as_earlier, database, log};
use orion_store::{EventStore, connect};
use serde_json::{Value, json};
use sqlx::Executor as _;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::client::{http, position};
use crate::eventually::eventually;
use crate::faults::{cannot_start, stopped};
use crate::log::Records;
use crate::replay::Replay;
use crate::seals::all_sealed;
use crate::server::{Server, Settings};
use crate::webhook_sink::WebhookSink;

/// What an old server leaves to newer ones at once. It goes on to deliver until it has to deliver such an event.
const RESIGNED: [&str; 6] = [
    "read_model",
    "notifications",
    "mark_published",
    "erase_belongings",
    "send_verification",
    "tell",
];

#[tokio::test]
async fn an_older_server_starts_unless_a_newer_one_has_broken_with_it() {
    let database = database().await;
    let records = Records::of(&database.url).await;
    let migrated = async |version: i64, description: &str| {
        sqlx::query(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES ($1, $2, true, '', 0)",
        )
        .bind(version)
        .bind(description)
        .execute(&records.pool)
        .await
        .unwrap();
    };
    migrated(9_998, "from the future").await;
    records.pool.execute("ALTER TABLE orion.trends ADD COLUMN of_the_future text").await.unwrap();
    records.pool.execute("CREATE INDEX of_the_future ON events (recorded_at)").await.unwrap();
    let server = Server::start(&database.url).await;
    server.editor("ada").await.detect_trend("a topic").await;
    server.terminate().await;

    migrated(9_999, "breaking from the future").await;
    let newer = "DATABASE_URL: the database is newer than this program, which cannot work with its \
                 migration 9999 (breaking from the future)";
    cannot_start(Settings::on(&database.url), newer).await;
}

/// A newer server: appends, and leads where it has to, with what this program has for it.
struct Newer {
    store: EventStore,
    _stop: tokio_util::sync::DropGuard,
}

impl Newer {
    async fn on(database_url: &str) -> Self {
        let stop = CancellationToken::new();
        let pool = connect(database_url, 4).await.unwrap();
        let store = EventStore::new(log(pool, stop.clone()).await);
        Self { store, _stop: stop.drop_guard() }
    }

    /// Something happens to a trend that older programs have no word for.
    async fn explodes(&self, trend_id: &str) {
        let id = trend_id.parse().unwrap();
        let loaded = self.store.load::<Trend>(id).await.unwrap();
        let event = ("trend.exploded", "1", json!({ "loudness": 11 }));
        append_as_earlier(&self.store, id, loaded.version, loaded.aggregate, &[event]).await;
    }
}

async fn ready(server: &Server) -> Value {
    let answer = http().get(format!("{}/health/ready", server.url())).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

/// What an old server says and does once it has met an event that it does not know.
async fn has_resigned(server: &Server) {
    // Before that it may not lead yet, which is no resignation.
    eventually("it meets the event", async || {
        server.metrics().await.contains("orion_outdated 1").then_some(())
    })
    .await;
    for office in RESIGNED {
        let resigned = async || (!server.leads(office).await).then_some(());
        eventually("it resigns", resigned).await;
    }
    eventually("it seals, for which one need not know what events mean", async || {
        server.leads("sealer").await.then_some(())
    })
    .await;
    assert_eq!(ready(server).await["program"], "older than the log: upgrade this server");
    let said = server.stderr();
    assert_eq!(said.matches("a newer server writes events").count(), 1, "{said}");
}

#[tokio::test]
async fn an_old_server_leaves_what_it_does_not_know_to_a_newer_one() {
    let database = database().await;
    let old = Server::start(&database.url).await;
    let records = Records::of(&database.url).await;
    let (admin, ada) = (old.admin().await, old.editor("ada").await);
    let (exploded, other) = (ada.detect_trend("explodes").await, ada.detect_trend("stays").await);
    records.assert_projected().await;
    assert_eq!(ready(&old).await["program"], "current");
    let before = records.head().await;
    let (after, newer) = (json!({ "after": before.to_string() }), Newer::on(&database.url).await);
    let mut watching = admin
        .subscribe(
            "subscription ($after: Position) { events(after: $after) { eventType } }",
            after.clone(),
        )
        .await;

    newer.explodes(&exploded).await;
    has_resigned(&old).await;
    assert_eq!(stopped(&records).await, None, "it is no poison");
    // Nobody knows the event yet: the tables wait, and all else goes on.
    let archive = |trend_id: &str| json!({ "trendId": trend_id });
    let payload = ada.mutate("archiveTrend", archive(&other), "").await;
    assert_eq!((&payload.0["errors"], &payload.0["projected"]), (&json!([]), &json!(false)));
    assert_eq!(watching.change().await["eventType"], "trend.exploded");
    let events = "{ events(last: 2) { nodes { eventType payload } } }";
    let events = admin.query(events, json!({})).await;
    let shown = &events["events"]["nodes"][0];
    assert_eq!(shown, &json!({ "eventType": "trend.exploded", "payload": { "loudness": 11 } }));
    all_sealed(&old, &records).await;
    let status = Replay::on(&database.url, ["status"]).exits(0).await;
    assert!(status.contains("lag         2\nstatus      running"), "{status}");

    // It cannot decide on what it does not know, and says so.
    let archived = ada.try_mutate("archiveTrend", archive(&exploded), "").await.unwrap();
    archived.expect_err("a failure").fails("INTERNAL");
    assert!(old.stderr().contains("unknown event type trend.exploded version 1"));
    let mut watching = ada
        .subscribe(
            "subscription ($after: Position) { trendChanged(after: $after) { position } }",
            after,
        )
        .await;
    watching.next().await.expect("an answer").fails("INTERNAL");

    // Nor after a restart.
    let (_, old) = old.terminate().await;
    let old = old.start_again().await;
    let ada = ada.at(old.url());
    has_resigned(&old).await;
    assert_eq!(stopped(&records).await, None);

    // A newer server leads: the old one passes on its progress.
    let leads = tokio::spawn({
        let pool = records.pool.clone();
        async move {
            loop {
                sqlx::query("UPDATE projection.checkpoints SET position = (SELECT max(position) FROM events)")
                    .execute(&pool)
                    .await
                    .unwrap();
            }
        }
    });
    let input = json!({ "topic": "both", "source": "s", "score": 0.5 });
    let payload = timeout(Duration::from_secs(3), ada.mutate("detectTrend", input, "")).await;
    let payload = payload.expect("it does not wait in vain").done();
    assert!(position(&payload["position"]) > before);
    leads.abort();
}

#[tokio::test]
async fn an_old_server_asks_the_tables_for_rights_that_a_newer_one_may_end_in_its_own_way() {
    let database = database().await;
    let old = Server::start(&database.url).await;
    let records = Records::of(&database.url).await;
    let (ada, bob) = (old.editor("ada").await, old.viewer("bob").await);
    let trend_id = ada.detect_trend("explodes").await;
    let me = bob.query("{ me { id } }", json!({})).await;

    Newer::on(&database.url).await.explodes(&trend_id).await;
    has_resigned(&old).await;
    bob.query("{ me { id } }", json!({})).await;
    // What that server projects of an event that this one has no word for.
    let bob_id: uuid::Uuid = me["me"]["id"].as_str().unwrap().parse().unwrap();
    let sql = "UPDATE orion.users SET is_active = false WHERE id = $1";
    sqlx::query(sql).bind(bob_id).execute(&records.pool).await.unwrap();
    bob.ask("{ me { id } }", json!({})).await.fails("UNAUTHENTICATED");
    ada.query("{ me { id } }", json!({})).await;
}

#[tokio::test]
async fn an_old_server_leaves_to_a_newer_one_what_it_cannot_deliver() {
    let (database, hooks) = (database().await, WebhookSink::start().await);
    let settings = Settings::on(&database.url).with("ORION_WEBHOOK_PRIVATE", "on");
    let old = Server::with(settings).await;
    let (ada, records) = (old.editor("ada").await, Records::of(&database.url).await);
    let change =
        json!({ "settings": { "notification_preferences": { "webhook_url": hooks.url("/ada") } } });
    ada.mutate("updateSettings", change, "").await.done();
    let trend = ada.detect_trend("explodes").await;
    let waiting = async || {
        let waiting: Vec<(i64, i32)> =
            sqlx::query_as("SELECT position, attempts FROM deliveries ORDER BY position")
                .fetch_all(&records.pool)
                .await
                .unwrap();
        waiting
    };
    let is_sent =
        async || (hooks.posted("/ada").len() == 1 && waiting().await.is_empty()).then_some(());
    eventually("what it knows is delivered", is_sent).await;

    let newer = Newer::on(&database.url).await;
    newer.explodes(&trend).await;
    has_resigned(&old).await;
    assert!(old.leads("deliver").await, "it can send what it knows");
    // The newer one has something to tell about it.
    let (me, position) = (ada.query("{ me { id } }", json!({})).await, records.head().await);
    sqlx::query(
        "INSERT INTO deliveries (user_id, channel, position) VALUES ($1::uuid, 'webhook', $2)",
    )
    .bind(me["me"]["id"].as_str().unwrap())
    .bind(position)
    .execute(&records.pool)
    .await
    .unwrap();
    let resigned = async || (!old.leads("deliver").await).then_some(());
    eventually("it resigns", resigned).await;
    assert_eq!(waiting().await, [(position, 0)], "it is neither given up nor has it failed");
    assert_eq!(hooks.posted("/ada").len(), 1);
    let said = old.stderr();
    assert!(!said.contains("given up"), "{said}");
}
