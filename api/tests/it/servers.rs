//! Several servers on one PostgreSQL: leaders are killed and paused in turn, and nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use orion_store::testing::{TestDatabase, database};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until, timeout};
use uuid::Uuid;

use crate::client::Client;
use crate::eventually::{SOON, eventually, within};
use crate::log::Records;
use crate::replay::Replay;
use crate::resume::{Door, EVENTS_OF, TRENDS_CHANGED, Watch, subscriber};
use crate::seals::{OTHER_KEY, all_sealed, verify};
use crate::server::{Server, Settings};

/// Everything that one server does for all.
const OFFICES: [&str; 8] = [
    "read_model",
    "notifications",
    "sealer",
    "mark_published",
    "erase_belongings",
    "send_verification",
    "tell",
    "deliver",
];

/// Those that every event gives something to do.
const BUSY: [&str; 7] = [
    "read_model",
    "notifications",
    "sealer",
    "mark_published",
    "erase_belongings",
    "send_verification",
    "tell",
];

/// How long nobody may lead after a leader was killed.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(5);

/// The same after one was paused and an event was written: 3 s more.
const FOUND_OUT_WITHIN: Duration = Duration::from_secs(8);

const SERVERS: usize = 3;

/// The clients that write at once.
const WRITERS: usize = 6;

/// How often each of them does at most: subscribers have to catch up with half a minute of it.
const WRITE_EVERY: Duration = Duration::from_millis(100);

/// How long subscribers may take for that on a busy machine.
const CAUGHT_UP_WITHIN: Duration = Duration::from_mins(1);

/// A server that takes longer is not waited for: another one is asked again.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// So many more answers show that the others go on.
const ANSWERS_MORE: usize = 60;

/// What happens to who leads the read model, one after the other.
const BLOWS: [Blow; 5] =
    [Blow::Kill, Blow::Pause(Duration::ZERO), Blow::Kill, Blow::Kill, Blow::Pause(LONG_PAUSE)];

/// What a frozen machine may take to come back.
const LONG_PAUSE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
enum Blow {
    Kill,
    /// For so long at least, and until another one leads.
    Pause(Duration),
}

/// Any 32 bytes will do: tokens of the one are good at the others.
fn settings(database: &TestDatabase) -> Settings {
    Settings::on(&database.url).with("ORION_TOKEN_KEY", OTHER_KEY)
}

/// Waits until one of the servers leads in each of the offices; says how long it took.
async fn taken_over(servers: &[&Server], offices: &[&str], at_most: Duration) -> Duration {
    let began = Instant::now();
    for office in offices {
        let has_leader = async || {
            for server in servers {
                if server.leads(office).await {
                    return Some(());
                }
            }
            None
        };
        let left = at_most.saturating_sub(began.elapsed());
        within(left, has_leader).await.unwrap_or_else(|| panic!("nobody leads: {office}"));
    }
    began.elapsed()
}

#[tokio::test]
async fn every_place_of_a_killed_server_is_taken() {
    let database = database().await;
    let first = Server::with(settings(&database)).await;
    taken_over(&[&first], &OFFICES, TAKEN_OVER_WITHIN).await;
    let second = Server::with(settings(&database)).await;
    for office in OFFICES {
        assert!(!second.leads(office).await, "two lead: {office}");
    }
    let ada = first.editor("ada").await.at(second.url());
    ada.detect_trend("with both").await;
    first.kill9().await;
    taken_over(&[&second], &OFFICES, TAKEN_OVER_WITHIN).await;
    ada.detect_trend("with one").await;
}

#[tokio::test]
async fn every_place_of_a_paused_server_is_taken_and_it_does_no_harm_when_it_goes_on() {
    let database = database().await;
    let first = Server::with(settings(&database)).await;
    let ada = first.editor("ada").await;
    taken_over(&[&first], &OFFICES, TAKEN_OVER_WITHIN).await;
    let second = Server::with(settings(&database)).await;
    let records = Records::of(&database.url).await;

    first.pause();
    let at_second = ada.at(second.url());
    let input = json!({ "topic": "nobody leads", "source": "s", "score": 0.5 });
    let others = [&second];
    let (payload, _) = tokio::join!(
        at_second.mutate("detectTrend", input, ""),
        taken_over(&others, &BUSY, FOUND_OUT_WITHIN)
    );
    // It waits for the tables at most as long as a standby waits for the leader.
    payload.done();
    assert!(second.stderr().contains("its session was ended"), "{}", second.stderr());

    first.go_on();
    // It reads on, stands by, and passes on how far the other is.
    ada.detect_trend("with both again").await;
    for office in BUSY {
        let is_standby = async || (!first.leads(office).await).then_some(());
        eventually("it has found out that it does not lead", is_standby).await;
        assert!(second.leads(office).await, "{office}");
    }
    records.assert_projected().await;
    all_sealed(&second, &records).await;
    verify(&records).await;
}

/// Where a server is at the moment, for those who stay with it.
struct Place {
    server: Option<Server>,
    url: watch::Sender<String>,
}

/// What goes on at all servers while leaders come and go.
struct Load {
    is_over: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    writers: JoinSet<Vec<(Uuid, i64)>>,
    subscribers: JoinSet<Vec<i64>>,
    expected: Arc<AtomicUsize>,
}

impl Load {
    fn start(places: &[Place], ada: &Client, admin: &Client) -> Self {
        let (is_over, answers) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let expected = Arc::new(AtomicUsize::new(usize::MAX));
        let (mut writers, mut subscribers) = (JoinSet::new(), JoinSet::new());
        let urls: Vec<_> = places.iter().map(|place| place.url.subscribe()).collect();
        for number in 0..WRITERS {
            let writer = Writer {
                client: ada.clone(),
                urls: urls.clone(),
                at: number % urls.len(),
                is_over: Arc::clone(&is_over),
                answers: Arc::clone(&answers),
            };
            writers.spawn(writer.run(number));
        }
        for url in urls {
            let door = Door { url, token: admin.token.as_deref().unwrap().into() };
            let detected = json!({ "eventTypes": ["trend.detected"] });
            for (query, filter) in [(EVENTS_OF, detected), (TRENDS_CHANGED, json!({}))] {
                let watch = Watch { query, filter, trend: None };
                subscribers.spawn(subscriber(door.clone(), watch, expected.clone()));
            }
        }
        Self { is_over, answers, writers, subscribers, expected }
    }

    /// Waits until clients were answered so many times more.
    async fn goes_on(&self) {
        let goal = self.answers.load(Ordering::Relaxed) + ANSWERS_MORE;
        let goes_on = async || (self.answers.load(Ordering::Relaxed) >= goal).then_some(());
        eventually("clients are answered", goes_on).await;
    }

    /// What was acknowledged, by command, and what each subscriber has seen.
    async fn end(self) -> (Vec<(Uuid, i64)>, Vec<Vec<i64>>) {
        self.is_over.store(true, Ordering::Relaxed);
        let acknowledged: Vec<_> = self.writers.join_all().await.into_iter().flatten().collect();
        self.expected.store(acknowledged.len(), Ordering::Relaxed);
        let seen = timeout(CAUGHT_UP_WITHIN, self.subscribers.join_all()).await;
        (acknowledged, seen.expect("every subscriber has seen everything in time"))
    }
}

/// A client that detects trends, and sends each command until some server has acknowledged it.
struct Writer {
    client: Client,
    urls: Vec<watch::Receiver<String>>,
    /// The server that it talks to.
    at: usize,
    is_over: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
}

impl Writer {
    async fn run(mut self, number: usize) -> Vec<(Uuid, i64)> {
        let mut acknowledged = Vec::new();
        let mut turns = interval(WRITE_EVERY);
        while !self.is_over.load(Ordering::Relaxed) {
            turns.tick().await;
            let command = Uuid::new_v4();
            let topic = format!("topic {} of writer {number}", acknowledged.len());
            let input =
                json!({ "topic": topic, "source": "s", "score": 0.5, "commandId": command });
            let acknowledging = async {
                loop {
                    match self.send(&input).await {
                        Some(position) => break position,
                        None => self.at = (self.at + 1) % self.urls.len(),
                    }
                }
            };
            let position = timeout(SOON, acknowledging).await.expect("some server acknowledges");
            acknowledged.push((command, position));
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
        acknowledged
    }

    async fn send(&self, input: &Value) -> Option<i64> {
        let client = self.client.at(&self.urls[self.at].borrow());
        let answer = client.try_mutate("detectTrend", input.clone(), "");
        let payload = timeout(ANSWER_WITHIN, answer).await.ok()?.ok()?.ok()?;
        assert_eq!(payload.code(), None, "{:#}", payload.0);
        Some(payload.position())
    }
}

/// Strikes at the leader of the read model; gives the time until another one led.
async fn strike(blow: Blow, places: &mut [Place], load: &Load) -> Duration {
    let leader = eventually("somebody leads", async || {
        for (number, place) in places.iter().enumerate() {
            if place.server.as_ref().unwrap().leads("read_model").await {
                return Some(number);
            }
        }
        None
    })
    .await;
    let struck = places[leader].server.take().unwrap();
    let others: Vec<_> = places.iter().filter_map(|place| place.server.as_ref()).collect();
    let (took, back) = match blow {
        Blow::Kill => {
            let killed = struck.kill9().await;
            let took = taken_over(&others, &BUSY, TAKEN_OVER_WITHIN).await;
            load.goes_on().await;
            (took, killed.start_again().await)
        }
        Blow::Pause(at_least) => {
            struck.pause();
            let paused = Instant::now();
            let took = taken_over(&others, &BUSY, FOUND_OUT_WITHIN).await;
            load.goes_on().await;
            // Clients go on while it stands.
            sleep_until(paused + at_least).await;
            load.goes_on().await;
            struck.go_on();
            struck.until_ready().await;
            (took, struck)
        }
    };
    load.goes_on().await;
    places[leader].url.send_replace(back.url().to_owned());
    places[leader].server = Some(back);
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_lose_and_repeat_nothing_while_leaders_come_and_go() {
    let database = database().await;
    let mut places = Vec::new();
    for _ in 0..SERVERS {
        let server = Server::with(settings(&database)).await;
        let (url, _) = watch::channel(server.url().to_owned());
        places.push(Place { server: Some(server), url });
    }
    let first = places[0].server.as_ref().unwrap();
    let (admin, ada) = (first.admin().await, first.editor("ada").await);
    let records = Records::of(&database.url).await;
    let load = Load::start(&places, &ada, &admin);
    for blow in BLOWS {
        let took = strike(blow, &mut places, &load).await;
        println!("{blow:?}: taken over within {} ms", took.as_millis());
    }
    let (acknowledged, seen) = load.end().await;

    let mut expected = Vec::new();
    for (command, position) in acknowledged {
        let at: Vec<i64> =
            sqlx::query_scalar("SELECT position FROM events WHERE metadata ->> 'command_id' = $1")
                .bind(command.to_string())
                .fetch_all(&records.pool)
                .await
                .unwrap();
        assert_eq!(at, [position], "acknowledged and not there, or there twice");
        expected.push(position);
    }
    expected.sort_unstable();
    let detected: Vec<i64> = sqlx::query_scalar(
        "SELECT position FROM events WHERE event_type = 'trend.detected' ORDER BY position",
    )
    .fetch_all(&records.pool)
    .await
    .unwrap();
    assert_eq!(detected, expected, "only what was acknowledged is there");
    for seen in seen {
        assert_eq!(seen, expected, "a subscriber missed something, or saw it twice");
    }
    records.assert_in_order().await;
    records.assert_projected().await;
    all_sealed(places[0].server.as_ref().unwrap(), &records).await;
    verify(&records).await;
    Replay::on(&database.url, ["check"]).exits(0).await;
}
