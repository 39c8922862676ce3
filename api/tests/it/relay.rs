//! The relay of the real program to a real NATS: every event once, in order, whatever is killed; and what stops it.

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use orion_store::testing::bench::append_one;
use orion_store::testing::{TestCluster, TestDatabase, database, log};
use orion_store::{Log, Position};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use sqlx::{Executor as _, PgPool};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::http;
use crate::eventually::eventually;
use crate::log::Records;
use crate::nats::{Nats, PASSWORD};
use crate::server::{Server, Settings};

/// A database whose log the test writes to, beside the servers.
struct World {
    url: String,
    log: Log,
    pool: PgPool,
    _stop: DropGuard,
}

impl World {
    /// On a database of its own, which must be kept.
    async fn new() -> (Self, TestDatabase) {
        let database = database().await;
        (Self::at(database.url.clone()).await, database)
    }

    async fn at(url: String) -> Self {
        let pool = orion_store::connect(&url, 8).await.unwrap();
        let stop = CancellationToken::new();
        let log = log(pool.clone(), stop.clone()).await;
        Self { url, log, pool, _stop: stop.drop_guard() }
    }

    /// For a server that relays to this NATS.
    fn settings(&self, nats: &Nats) -> Settings {
        Settings::on(&self.url).with("ORION_NATS_URL", nats.url())
    }

    /// Appends so many events; gives the newest position.
    async fn append(&self, count: usize) -> i64 {
        let appended = (0..count).map(|_| append_one(&self.log));
        futures::future::join_all(appended).await;
        self.log.head().await.unwrap().0
    }

    /// Takes the events after a position out of the log, as a failover to a standby that lags does.
    async fn lose_after(&self, position: i64) {
        let mut lost = self.pool.begin().await.unwrap();
        // As the owner and without the triggers.
        lost.execute("RESET ROLE; SET LOCAL session_replication_role = replica").await.unwrap();
        sqlx::query("DELETE FROM events WHERE position > $1")
            .bind(position)
            .execute(&mut *lost)
            .await
            .unwrap();
        lost.commit().await.unwrap();
    }

    /// Waits until JetStream has the whole log, and looks at each message.
    async fn assert_relayed(&self, nats: &Nats) -> Vec<StreamMessage> {
        let head = self.log.head().await.unwrap();
        let messages = nats.messages(head.0).await;
        let events = self.log.read(Position::START, i64::MAX).await.unwrap();
        assert_eq!(messages.len(), events.len());
        for (message, event) in messages.iter().zip(&events) {
            assert_eq!(message.subject.as_str(), format!("orion.events.{}", event.event_type));
            assert_eq!(message.payload, event.payload.as_bytes());
            assert_eq!(header(message, "Nats-Msg-Id"), event.position.to_string());
            assert_eq!(header(message, "ce-id"), event.position.to_string());
        }
        messages
    }
}

fn header<'m>(message: &'m StreamMessage, name: &str) -> &'m str {
    message.headers.get(name).unwrap_or_else(|| panic!("{name}: {message:?}")).as_str()
}

/// What the server says of its relay.
async fn relay(server: &Server) -> (u16, String) {
    let answer = http().get(format!("{}/health/ready", server.url())).send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    (status, body["relay"].as_str().unwrap().to_owned())
}

/// Waits until the server says this of its relay. It is ready all the while.
async fn says(server: &Server, expected: &str) {
    eventually(expected, async || {
        let (status, state) = relay(server).await;
        assert_eq!(status, 200, "{state}");
        (state == expected).then_some(())
    })
    .await;
}

/// Waits for a figure of the server.
async fn shows(server: &Server, figure: &str) {
    eventually(figure, async || {
        server.metrics().await.lines().any(|line| line == figure).then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_event_is_a_message_that_says_where_it_stands() {
    let Some(nats) = Nats::start().await else { return };
    let (world, _database) = World::new().await;
    let server = Server::with(world.settings(&nats).with("ORION_LOG", "debug")).await;
    let ada = server.editor("ada").await;
    let trend_id = ada.detect_trend("Rust in space").await;
    let content_id = ada.draft_content(&trend_id, "A title").await;
    world.append(500).await;

    let messages = world.assert_relayed(&nats).await;
    let drafted =
        messages.iter().find(|message| message.subject.as_str() == "orion.events.content.drafted");
    let drafted = drafted.unwrap();
    let (position, version): (i64, String) =
        sqlx::query_as("SELECT position, event_version FROM events WHERE aggregate_id = $1")
            .bind(&content_id)
            .fetch_one(&world.pool)
            .await
            .unwrap();
    assert_eq!(drafted.sequence, position.unsigned_abs());
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-source", "urn:orion:log"),
        ("ce-type", "content.drafted"),
        ("ce-subject", &format!("content/{content_id}")),
        ("ce-sequence", "1"),
        ("ce-eventversion", &version),
        ("ce-datacontenttype", "application/json"),
        ("Nats-Expected-Last-Sequence", &(position - 1).to_string()),
    ] {
        assert_eq!(header(drafted, name), value, "{name}");
    }
    assert!(header(drafted, "ce-time").ends_with('Z'));
    assert!(header(drafted, "ce-metadata").starts_with("{%22actor%22:"));
    // What is sealed in the log stays sealed.
    let said = |message: &StreamMessage| String::from_utf8(message.payload.to_vec()).unwrap();
    assert!(!messages.iter().any(|message| said(message).contains("ada@example.org")));

    let head = world.log.head().await.unwrap();
    says(&server, "relaying").await;
    shows(&server, &format!("orion_relay_position {head}")).await;
    shows(&server, "orion_relay_lag_events 0").await;
    shows(&server, "orion_relay_stopped 0").await;
    assert!(!server.stderr().contains(PASSWORD));

    // Whoever removes the stream gets it again, whole.
    nats.jetstream().await.delete_stream("ORION").await.unwrap();
    world.append(1).await;
    world.assert_relayed(&nats).await;
}

#[tokio::test]
async fn a_stream_whose_messages_were_removed_goes_on_where_it_was() {
    let Some(nats) = Nats::start().await else { return };
    let (world, _database) = World::new().await;
    let server = Server::with(world.settings(&nats)).await;
    let head = world.append(10).await;
    world.assert_relayed(&nats).await;
    nats.stream().await.purge().await.unwrap();
    let (_, ended) = server.terminate().await;
    let server = ended.start_again().await;
    says(&server, "relaying").await;
    assert_eq!(world.append(1).await, head + 1);
    let stream = nats.stream().await;
    let next = (head + 1).unsigned_abs();
    let message = eventually("the next event", async || stream.get_raw_message(next).await.ok());
    assert_eq!(header(&message.await, "ce-id"), next.to_string());
}

#[tokio::test]
async fn a_killed_nats_delays_and_loses_nothing() {
    let Some(mut nats) = Nats::start().await else { return };
    let (world, _database) = World::new().await;
    let server = Server::with(world.settings(&nats)).await;
    for _ in 0..2 {
        let before = world.append(300).await;
        nats.messages(before / 2).await;
        nats.kill9().await;
        world.append(100).await;
        says(&server, "waiting").await;
        nats.start_again().await;
        world.append(100).await;
        world.assert_relayed(&nats).await;
        says(&server, "relaying").await;
    }
    let said = server.stderr();
    assert_eq!(said.matches("the log is relayed again").count(), 2, "{said}");
}

#[tokio::test]
async fn what_a_nats_that_stood_still_takes_late_is_there_once() {
    let Some(nats) = Nats::start().await else { return };
    let (world, _database) = World::new().await;
    let server = Server::with(world.settings(&nats)).await;
    world.append(10).await;
    world.assert_relayed(&nats).await;
    nats.signal(Signal::STOP);
    world.append(300).await;
    // It was sent, and there is no answer.
    says(&server, "waiting").await;
    nats.signal(Signal::CONT);
    world.append(100).await;
    world.assert_relayed(&nats).await;
    says(&server, "relaying").await;
}

#[tokio::test]
async fn a_killed_postgresql_delays_and_loses_nothing() {
    let Some(nats) = Nats::start().await else { return };
    let cluster = TestCluster::start().await;
    let world = World::at(cluster.url()).await;
    let server = Server::with(world.settings(&nats)).await;
    world.append(300).await;
    cluster.kill9().await;
    eventually("the relay has noticed", async || {
        (relay(&server).await.1 == "waiting").then_some(())
    })
    .await;
    cluster.start_again().await;
    world.append(100).await;
    world.assert_relayed(&nats).await;
    says(&server, "relaying").await;
}

#[tokio::test]
async fn a_server_that_finds_no_nats_is_ready_and_relays_later() {
    let Some(mut nats) = Nats::start().await else { return };
    let (world, _database) = World::new().await;
    nats.kill9().await;
    let server = Server::with(world.settings(&nats)).await;
    says(&server, "waiting").await;
    let head = world.append(10).await;
    shows(&server, &format!("orion_relay_lag_events {head}")).await;
    nats.start_again().await;
    world.assert_relayed(&nats).await;
    says(&server, "relaying").await;
}

#[tokio::test]
async fn a_server_that_is_killed_while_it_relays_doubles_nothing() {
    let Some(nats) = Nats::start().await else { return };
    let (world, _database) = World::new().await;
    world.append(3_000).await;
    let mut server = Server::with(world.settings(&nats)).await;
    for more in [1, 1_000] {
        let stream = nats.stream().await;
        let some = stream.get_info().await.unwrap().state.last_sequence + more;
        eventually("some are relayed", async || {
            (stream.get_info().await.unwrap().state.last_sequence >= some).then_some(())
        })
        .await;
        let killed = server.kill9().await;
        world.append(1_000).await;
        server = killed.start_again().await;
    }
    world.assert_relayed(&nats).await;
    says(&server, "relaying").await;
}

#[tokio::test]
async fn one_server_relays_and_another_takes_over_when_it_is_killed_or_stands_still() {
    let Some(nats) = Nats::start().await else { return };
    let (world, _database) = World::new().await;
    let first = Server::with(world.settings(&nats)).await;
    says(&first, "relaying").await;
    let second = Server::with(world.settings(&nats)).await;
    says(&second, "standby").await;
    world.append(50).await;
    world.assert_relayed(&nats).await;

    let killed = first.kill9().await;
    world.append(50).await;
    world.assert_relayed(&nats).await;
    says(&second, "relaying").await;

    // PostgreSQL ends the lead of one that it does not hear of.
    let third = killed.start_again().await;
    kill_process(second.pid(), Signal::STOP).unwrap();
    world.append(50).await;
    world.assert_relayed(&nats).await;
    says(&third, "relaying").await;
    kill_process(second.pid(), Signal::CONT).unwrap();
    world.append(50).await;
    says(&second, "standby").await;
    world.assert_relayed(&nats).await;
}

#[tokio::test]
async fn a_jetstream_that_is_ahead_of_the_log_stops_the_relay_until_the_stream_is_put_right() {
    let Some(nats) = Nats::start().await else { return };
    let (world, _database) = World::new().await;
    let server = Server::with(world.settings(&nats)).await;
    let head = world.append(30).await;
    world.assert_relayed(&nats).await;
    let (_, ended) = server.terminate().await;
    world.lose_after(head - 5).await;

    let server = ended.start_again().await;
    says(&server, "stopped").await;
    shows(&server, "orion_relay_stopped 1").await;
    let ahead = format!(
        "JetStream is ahead of the log: it has position {head}, the log ends at {}",
        head - 5
    );
    eventually("one line says why", async || server.stderr().contains(&ahead).then_some(())).await;

    // Other events at the same positions do not mend it.
    assert!(world.append(10).await > head);
    let differs =
        format!("message {head} of JetStream is not the event at position {head} of the log");
    eventually("one line says why", async || server.stderr().contains(&differs).then_some(()))
        .await;
    says(&server, "stopped").await;
    assert_eq!(server.stderr().matches("relay stopped").count(), 2, "{}", server.stderr());

    nats.jetstream().await.delete_stream("ORION").await.unwrap();
    world.assert_relayed(&nats).await;
    says(&server, "relaying").await;
    shows(&server, "orion_relay_stopped 0").await;
}

#[tokio::test]
async fn what_others_publish_into_the_stream_stops_the_relay() {
    let Some(nats) = Nats::start().await else { return };
    let (world, _database) = World::new().await;
    let server = Server::with(world.settings(&nats)).await;
    let head = world.append(10).await;
    world.assert_relayed(&nats).await;
    let jetstream = nats.jetstream().await;
    jetstream.publish("orion.events.trend.detected", "{}".into()).await.unwrap().await.unwrap();
    assert_eq!(world.append(1).await, head + 1);
    says(&server, "stopped").await;
    let stream = nats.stream().await;
    assert_eq!(stream.cached_info().state.last_sequence, (head + 1).unsigned_abs());
}

#[tokio::test]
async fn a_stream_that_cannot_hold_the_log_is_left_as_it_is() {
    let Some(nats) = Nats::start().await else { return };
    let (world, _database) = World::new().await;
    let jetstream = nats.jetstream().await;
    let config = |subject: &str| Config {
        name: "ORION".to_owned(),
        subjects: vec![subject.to_owned()],
        max_messages: 1_000,
        ..Config::default()
    };
    jetstream.create_stream(config("orion.>")).await.unwrap();
    let server = Server::with(world.settings(&nats)).await;
    says(&server, "stopped").await;
    let said = server.stderr();
    assert!(said.contains("its subjects must be orion.events.>, and are orion.>"), "{said}");

    // One that refuses what is new would stop the relay at some event.
    let discard = DiscardPolicy::New;
    jetstream.update_stream(Config { discard, ..config("orion.events.>") }).await.unwrap();
    let why = "it refuses new messages where its limits are reached";
    eventually("the server says why", async || server.stderr().contains(why).then_some(())).await;
    says(&server, "stopped").await;

    // One that its owner has limited is good.
    jetstream.update_stream(config("orion.events.>")).await.unwrap();
    world.append(10).await;
    world.assert_relayed(&nats).await;
    assert_eq!(nats.stream().await.cached_info().config.max_messages, 1_000);
}

#[tokio::test]
async fn an_event_that_nats_finds_too_large_stops_the_relay_before_it() {
    const SMALL: usize = 4 << 10;
    let Some(mut nats) = Nats::start_with(SMALL).await else { return };
    let (world, _database) = World::new().await;
    let server = Server::with(world.settings(&nats)).await;
    let ada = server.editor("ada").await;
    let before = Records::of(&world.url).await.head().await;
    nats.messages(before).await;
    let trend_id = ada.detect_trend("t").await;
    let content_id = ada.draft_content(&trend_id, "A title").await;
    let body = "long ".repeat(SMALL);
    let input = serde_json::json!({ "contentId": content_id, "scriptBody": body });
    ada.mutate("writeScript", input, "content { id }").await.done();
    says(&server, "stopped").await;
    let said = server.stderr();
    assert!(said.contains("is larger than NATS allows (max_payload)"), "{said}");

    nats.kill9().await;
    nats.start_again_with(SMALL * 100).await;
    world.assert_relayed(&nats).await;
    says(&server, "relaying").await;
}
