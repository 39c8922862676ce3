//! Many who watch the same: an event is worked out and written once for all, and who does not read is
//! refilled later and slows nobody.

use futures::future::join_all;
use orion_domain::values::{Json, Score, Source, Topic};
use orion_domain::{Trend, TrendEvent};
use orion_store::testing::database;
use orion_store::{Commit, Log, Metadata, connect};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::client::position;
use crate::log::Records;
use crate::server::{Server, Settings};
use crate::websocket::Socket;

const TRENDS: &str = "subscription ($after: Position) { trendChanged(after: $after) {
    position trend { topic } } }";

const EVENTS: &str = "subscription ($after: Position) {
    events(after: $after, filter: { aggregateType: \"trend\" }) { position payload } }";

/// What was made for clients, and told to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Work {
    /// Answers made for all who watch the same.
    for_groups: u64,
    /// Answers made for one client that catches up.
    for_one: u64,
    told: u64,
}

impl Work {
    async fn at(server: &Server) -> Self {
        let metrics = server.metrics().await;
        let figure = |name: &str| {
            let count = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            count.map_or(0, |count| count.parse().unwrap())
        };
        Self {
            for_groups: figure("orion_subscription_executions_total{audience=\"group\"}"),
            for_one: figure("orion_subscription_executions_total{audience=\"one\"}"),
            told: figure("orion_subscription_messages_total"),
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            for_groups: self.for_groups - before.for_groups,
            for_one: self.for_one - before.for_one,
            told: self.told - before.told,
        }
    }
}

async fn positions(socket: &mut Socket, count: usize) -> Vec<i64> {
    let mut positions = Vec::new();
    while positions.len() < count {
        positions.push(position(&socket.change().await["position"]));
    }
    positions
}

#[tokio::test]
async fn one_event_is_worked_out_and_written_once_for_all_who_watch_the_same() {
    const CHANGES: usize = 50;
    let database = database().await;
    let server = Server::start(&database.url).await;
    let admin = server.admin().await;
    let mut sockets = Vec::new();
    for name in ["vera", "otto", "dora"] {
        let viewer = server.viewer(name).await;
        for _ in 0..5 {
            // Each comes from another position.
            let mut socket = viewer.socket().await;
            let after = socket.acknowledged - i64::try_from(sockets.len() % 3).unwrap();
            socket.subscribe(TRENDS, json!({ "after": after.to_string() })).await;
            sockets.push(socket);
        }
    }
    for _ in 0..5 {
        let after = json!({ "after": admin.socket().await.acknowledged.to_string() });
        sockets.push(admin.subscribe(EVENTS, after).await);
    }
    let ada = server.editor("ada").await;
    let trend = ada.detect_trend("the first").await;
    // Who has seen it has arrived where the log ends.
    for socket in &mut sockets {
        positions(socket, 1).await;
    }
    let before = Work::at(&server).await;
    for number in 0..CHANGES {
        let input =
            json!({ "trendId": trend, "score": f64::from(u8::try_from(number).unwrap()) / 100.0 });
        ada.mutate("rescoreTrend", input, "").await.done();
    }
    let seen = join_all(sockets.iter_mut().map(|socket| positions(socket, CHANGES))).await;
    let records = Records::of(&database.url).await;
    let expected: Vec<i64> = sqlx::query_scalar(
        "SELECT position FROM events WHERE event_type = 'trend.rescored' ORDER BY position",
    )
    .fetch_all(&records.pool)
    .await
    .unwrap();
    assert_eq!(expected.len(), CHANGES);
    for seen in seen {
        assert_eq!(seen, expected);
    }
    // Two groups: those who watch trends, whoever they are, and those who watch events.
    let changes = u64::try_from(CHANGES).unwrap();
    let told = changes * u64::try_from(sockets.len()).unwrap();
    let work = Work::at(&server).await.since(before);
    assert_eq!(work, Work { for_groups: 2 * changes, for_one: 0, told });
}

#[tokio::test]
async fn those_who_see_differently_share_nothing() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let (admin, ada, bob) =
        (server.admin().await, server.editor("ada").await, server.editor("bob").await);
    let contents =
        "subscription { contentChanged { position content { title createdBy { name } } } }";
    let nested =
        "subscription { trendChanged { position trend { contents { nodes { title } } } } }";
    let trend = ada.detect_trend("a topic").await;
    ada.draft_content(&trend, "a secret").await;
    let mut sockets = Vec::new();
    for client in [&admin, &ada, &bob] {
        let mut both = Vec::new();
        for query in [contents, nested] {
            let mut socket = client.subscribe(query, json!({})).await;
            socket.next_is_silence().await;
            both.push(socket);
        }
        sockets.push(both);
    }
    let before = Work::at(&server).await;
    ada.draft_content(&trend, "another").await;
    ada.mutate("rescoreTrend", json!({ "trendId": trend, "score": 0.25 }), "").await.done();
    let titles = |change: &Value| change["trend"]["contents"]["nodes"].as_array().unwrap().len();
    for (seer, sees_all) in sockets.iter_mut().zip([true, true, false]) {
        assert_eq!(titles(&seer[1].change().await), if sees_all { 2 } else { 0 });
        if sees_all {
            assert_eq!(seer[0].change().await["content"]["title"], "another");
        } else {
            seer[0].next_is_silence().await;
        }
    }
    let work = Work::at(&server).await.since(before);
    assert_eq!((work.for_groups, work.for_one, work.told), (5, 0, 5));
}

/// Writes trends whose raw data fill the buffers of a connection, by another process's log.
async fn write(log: Log, count: usize) {
    const EACH: usize = 10;
    let raw = Json::parse(json!({ "text": "x".repeat(4_000) }), "rawData").unwrap();
    for _ in 0..count / EACH {
        let metadata = [("actor", "test".to_owned()), ("command_id", Uuid::now_v7().to_string())];
        let metadata: Metadata =
            metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let mut commit = Commit::new(metadata);
        for _ in 0..EACH {
            let detected = TrendEvent::Detected {
                topic: Topic::parse("a topic").unwrap(),
                source: Source::parse("test").unwrap(),
                score: Score::parse(0.5).unwrap(),
                raw_data: Some(raw.clone()),
            };
            commit.append::<Trend>(Uuid::now_v7(), 0, &[detected]).unwrap();
        }
        log.append(commit).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_refilled_later_and_slows_nobody() {
    const COUNT: usize = 3_000;
    let database = database().await;
    // Who does not read answers no pings either.
    let settings = Settings::on(&database.url).with("ORION_SOCKET_PING", "10m");
    let server = Server::with(settings).await;
    let admin = server.admin().await;
    let mut slow = admin.subscribe(EVENTS, json!({})).await;
    let mut fast = admin.subscribe(EVENTS, json!({})).await;
    let mut trends = server.viewer("vera").await.subscribe(TRENDS, json!({})).await;
    for socket in [&mut slow, &mut fast, &mut trends] {
        socket.next_is_silence().await;
    }
    let before = Work::at(&server).await;
    let stop = CancellationToken::new();
    let log =
        orion_store::testing::log(connect(&database.url, 4).await.unwrap(), stop.clone()).await;
    let (seen_by_fast, seen_of_trends, ()) =
        tokio::join!(positions(&mut fast, COUNT), positions(&mut trends, COUNT), write(log, COUNT));
    // The others have everything, and the slow one has taken nothing yet.
    let others = 2 * u64::try_from(COUNT).unwrap();
    let told = Work::at(&server).await.since(before).told - others;
    assert!(told < 2_000, "no more was told to it than fits into buffers: {told}");
    let seen_slowly = positions(&mut slow, COUNT).await;
    slow.next_is_silence().await;
    let records = Records::of(&database.url).await;
    let expected: Vec<i64> = sqlx::query_scalar(
        "SELECT position FROM events WHERE aggregate_type = 'trend' ORDER BY position",
    )
    .fetch_all(&records.pool)
    .await
    .unwrap();
    assert_eq!(expected.len(), COUNT);
    for seen in [seen_by_fast, seen_of_trends, seen_slowly] {
        assert_eq!(seen, expected);
    }
    let work = Work::at(&server).await.since(before);
    assert!(work.for_one >= 500, "it was refilled from the log: {work:?}");
    stop.cancel();
}
