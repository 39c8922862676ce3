//! Subscribers whose sockets are cut and whose server is killed: each has every event once, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use orion_domain::values::{Score, Source, Topic};
use orion_domain::{Trend, TrendEvent};
use orion_store::testing::database;
use orion_store::{Commit, Log, Metadata, connect};
use rand::Rng as _;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::client::position;
use crate::eventually::eventually;
use crate::log::Records;
use crate::server::Server;

const SUBSCRIBERS: usize = 50;
const TRENDS: usize = 10;
const EVENTS: usize = 5_000;

/// How often the server is killed.
const KILLS: usize = 3;

/// How many events one commit brings.
const EVENTS_EACH: usize = 10;

/// After how many events at most a subscriber's socket is cut.
const STAYS_FOR: usize = 400;

/// How long a subscriber waits for the next event before it comes back.
const SILENCE: Duration = Duration::from_secs(5);

const ALL_WITHIN: Duration = Duration::from_mins(1);

pub const EVENTS_OF: &str = "subscription ($after: Position, $filter: EventFilter) {
    events(after: $after, filter: $filter) { position } }";

pub const TRENDS_CHANGED: &str =
    "subscription ($after: Position) { trendChanged(after: $after) { position } }";

/// Where the server is at the moment, and who watches.
#[derive(Clone)]
pub struct Door {
    pub url: watch::Receiver<String>,
    pub token: Arc<str>,
}

/// What somebody watches.
#[derive(Clone)]
pub struct Watch {
    pub query: &'static str,
    pub filter: Value,
    /// The events of this trend, or all.
    pub trend: Option<Uuid>,
}

impl Watch {
    /// Most watch one trend in the log, two all trends: each of their many events is a row to read.
    fn of(number: usize, trends: &[Uuid]) -> Self {
        if number.is_multiple_of(SUBSCRIBERS / 2) {
            return Self { query: TRENDS_CHANGED, filter: json!({}), trend: None };
        }
        let trend = trends[number % trends.len()];
        Self { query: EVENTS_OF, filter: json!({ "aggregateId": trend }), trend: Some(trend) }
    }
}

/// Watches over many sockets until it has seen as much as there is; how much that is may be told later.
pub async fn subscriber(mut door: Door, watch: Watch, expected: Arc<AtomicUsize>) -> Vec<i64> {
    let mut seen: Vec<i64> = Vec::new();
    while seen.len() < expected.load(Ordering::Relaxed) {
        // A server that is just being killed ends it in any way.
        let _ = stay(&mut door, &watch, &mut seen, &expected).await;
    }
    seen
}

async fn stay(
    door: &mut Door,
    watch: &Watch,
    seen: &mut Vec<i64>,
    expected: &AtomicUsize,
) -> Option<()> {
    let stays_for = rand::rng().random_range(1..=STAYS_FOR);
    // Seen, so that the wait below is for another one.
    let url = format!("{}/graphql", door.url.borrow_and_update().replacen("http", "ws", 1));
    let mut request = url.into_client_request().ok()?;
    request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().ok()?);
    let Ok(Ok((mut socket, _))) = timeout(SILENCE, connect_async(request)).await else {
        // Until there is another server, or it goes on.
        let _ = timeout(SILENCE, door.url.changed()).await;
        return None;
    };
    let authorization = format!("Bearer {}", door.token);
    let init = json!({ "type": "connection_init", "payload": { "authorization": authorization } });
    socket.send(Message::text(init.to_string())).await.ok()?;
    let after = seen.last().copied().unwrap_or_default().to_string();
    let variables = json!({ "after": after, "filter": watch.filter });
    let mut came = 0;
    while came < stays_for && seen.len() < expected.load(Ordering::Relaxed) {
        let message = timeout(SILENCE, socket.next()).await.ok()??.ok()?;
        let Message::Text(text) = message else { continue };
        let message: Value = serde_json::from_str(&text).unwrap();
        match message["type"].as_str().unwrap() {
            "connection_ack" => {
                let payload = json!({ "query": watch.query, "variables": variables });
                let subscribe = json!({ "id": "1", "type": "subscribe", "payload": payload });
                socket.send(Message::text(subscribe.to_string())).await.ok()?;
            }
            "next" => {
                let data = message["payload"]["data"].as_object().expect("data");
                let change = data.values().next().unwrap();
                seen.push(position(&change["position"]));
                came += 1;
            }
            other => panic!("unexpected {other}: {message}"),
        }
    }
    // The connection is dropped without a word.
    Some(())
}

/// Writes all events by another process's log, a few at a time.
async fn write(log: Log, trends: Vec<Uuid>) {
    let mut versions = vec![0; trends.len()];
    let mut written = 0;
    while written < EVENTS {
        let which = (written / EVENTS_EACH) % trends.len();
        let metadata = [("actor", "test".to_owned()), ("command_id", Uuid::now_v7().to_string())];
        let metadata: Metadata =
            metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let mut commit = Commit::new(metadata);
        let score = Score::parse(0.5).unwrap();
        let events: Vec<_> = (0..EVENTS_EACH)
            .map(|number| match versions[which] + number {
                0 => TrendEvent::Detected {
                    topic: Topic::parse("a topic").unwrap(),
                    source: Source::parse("test").unwrap(),
                    score,
                    raw_data: None,
                },
                _ => TrendEvent::Rescored { score },
            })
            .collect();
        let version = i64::try_from(versions[which]).unwrap();
        commit.append::<Trend>(trends[which], version, &events).unwrap();
        log.append(commit).await.unwrap();
        versions[which] += EVENTS_EACH;
        written += EVENTS_EACH;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_sockets_and_killed_servers_lose_and_repeat_nothing() {
    let database = database().await;
    let mut server = Server::start(&database.url).await;
    let admin = server.admin().await;
    let records = Records::of(&database.url).await;
    let begun = Instant::now();
    let trends: Vec<_> = (0..TRENDS).map(|_| Uuid::now_v7()).collect();
    let (url, at) = watch::channel(server.url().to_owned());
    let door = Door { url: at, token: admin.token.as_deref().unwrap().into() };
    let mut subscribers = JoinSet::new();
    for number in 0..SUBSCRIBERS {
        let (door, watch) = (door.clone(), Watch::of(number, &trends));
        let expected = if watch.trend.is_some() { EVENTS / TRENDS } else { EVENTS };
        subscribers.spawn(async move {
            let seen = subscriber(door, watch.clone(), Arc::new(expected.into())).await;
            (watch.trend, seen)
        });
    }
    let stop = CancellationToken::new();
    let log =
        orion_store::testing::log(connect(&database.url, 4).await.unwrap(), stop.clone()).await;
    let writer = tokio::spawn(write(log, trends));
    for kill in 1..=KILLS {
        // At some moment of each part of the way.
        let part = EVENTS / (KILLS + 1);
        let moment = rand::rng().random_range(part * (kill - 1)..part * kill);
        eventually("so many events", async || {
            (records.head().await >= i64::try_from(moment).unwrap()).then_some(())
        })
        .await;
        server = server.kill9().await.start_again().await;
        url.send_replace(server.url().to_owned());
    }
    writer.await.unwrap();
    let all = timeout(ALL_WITHIN.saturating_sub(begun.elapsed()), subscribers.join_all());
    for (trend, seen) in all.await.expect("every subscriber has everything in time") {
        let sql = "SELECT position FROM events WHERE aggregate_type = 'trend'
                   AND ($1::text IS NULL OR aggregate_id = $1) ORDER BY position";
        let expected: Vec<i64> = sqlx::query_scalar(sql)
            .bind(trend.map(|id| id.to_string()))
            .fetch_all(&records.pool)
            .await
            .unwrap();
        assert_eq!(seen, expected, "of {trend:?}");
    }
    stop.cancel();
}
