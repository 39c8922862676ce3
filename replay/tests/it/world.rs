//! A database with a log, tables that a projector filled, and an owner who may spoil them.

use std::time::Duration;

use orion_domain::values::{Score, Source, Topic};
use orion_domain::{AggregateRoot, Event, Trend, TrendEvent, User};
use orion_projections::{Progress, Projector};
use orion_store::seal::{newest_seal, run_sealer};
use orion_store::testing::{EarlierEvent, TestDatabase, append_as_earlier, database, log};
use orion_store::{Commit, EventStore, Log, Metadata, Position, ReceiptKey, connect};
use serde_json::Value;
use sqlx::{Connection, Executor, PgConnection};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::program::{PATIENCE, Program, log_key, orion_replay};

pub struct World {
    pub log: Log,
    _stop_at_the_end: DropGuard,
    database: TestDatabase,
}

impl World {
    /// With an empty log.
    pub async fn new() -> Self {
        Self::over(database().await).await
    }

    /// With what is in the database already.
    pub async fn over(database: TestDatabase) -> Self {
        let stop = CancellationToken::new();
        let pool = connect(&database.url, 6).await.unwrap();
        let log = log(pool, stop.clone()).await;
        Self { log, _stop_at_the_end: stop.drop_guard(), database }
    }

    /// With so many events of one trend, all of them in the tables.
    pub async fn with_trend(events: i64) -> (Self, Uuid) {
        let world = Self::new().await;
        let trend = Uuid::now_v7();
        world.append(trend, 0, events).await;
        assert!(world.project().await);
        (world, trend)
    }

    pub fn url(&self) -> &str {
        &self.database.url
    }

    /// Adds events of a trend that is at `version`; each measures another score.
    pub async fn append(&self, trend: Uuid, version: i64, count: i64) -> Position {
        let events: Vec<_> = (version + 1..=version + count).map(trend_event).collect();
        let mut commit = Commit::new(Metadata::from([("actor".to_owned(), "test".to_owned())]));
        commit.append::<Trend>(trend, version, &events).unwrap();
        let key = ReceiptKey { actor: "test".to_owned(), command_id: Uuid::now_v7() };
        commit.receipt(key, vec![0, 1, 255], format!("{{\"id\": \"{trend}\"}}"));
        self.log.append(commit).await.unwrap().last
    }

    /// Adds events of a user that is at `version`: types with their fields.
    pub async fn of_user(&self, user: Uuid, version: i64, events: &[(&str, Value)]) {
        let erases = events.iter().any(|(event_type, _)| *event_type == "user.erased");
        let decode = |(event_type, payload): &(&str, Value)| {
            let event = Event::decode(event_type, "1", &payload.to_string()).unwrap();
            let Event::User(event) = event else { panic!("{event:?}") };
            event
        };
        let events: Vec<_> = events.iter().map(decode).collect();
        let actor = format!("user:{user}");
        let mut commit = Commit::new(Metadata::from([("actor".to_owned(), actor)]));
        let store = EventStore::new(self.log.clone());
        // Enough for what tests let happen: claims of the first event, none of later ones.
        let state: User = store.load(user).await.unwrap().aggregate;
        for change in events.iter().flat_map(|event| state.claims(event)) {
            commit.claim(user, self.log.keys().stored_claim(change));
        }
        if erases {
            commit.erase(user);
        }
        store.add(&mut commit, user, version, &state, &events).await.unwrap();
        self.log.append(commit).await.unwrap();
    }

    /// Adds events to an empty stream in the versions that are told, as servers of then.
    pub async fn as_earlier<A: AggregateRoot>(&self, id: Uuid, events: &[EarlierEvent<'_>]) {
        let store = EventStore::new(self.log.clone());
        append_as_earlier(&store, id, 0, A::default(), events).await;
    }

    /// Runs the projector of the documented tables until they show all of the log, or it stops
    /// before: then false.
    pub async fn project(&self) -> bool {
        self.run(Projector::new(self.log.clone())).await
    }

    /// The same for the notifications.
    pub async fn project_notifications(&self) -> bool {
        self.run(Projector::of_notifications(self.log.clone())).await
    }

    /// Runs the projector of the documented tables, as a server that goes on does, once it leads.
    pub async fn lead(&self) -> Leader {
        let stop = CancellationToken::new();
        let (projector, _) = Projector::new(self.log.clone());
        let running = tokio::spawn(projector.run(stop.clone()));
        let leads = async {
            let mut looks = tokio::time::interval(Duration::from_millis(20));
            let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            while self.select(sql).await == ["0"] {
                looks.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, leads).await.expect("it leads");
        Leader { stop, running }
    }

    async fn run(&self, (projector, progress): (Projector, Progress)) -> bool {
        let stop = CancellationToken::new();
        let running = tokio::spawn(projector.run(stop.clone()));
        let is_shown = progress.reached(self.log.head().await.unwrap(), PATIENCE).await;
        stop.cancel();
        running.await.unwrap();
        is_shown
    }

    /// Seals all that is in the log, as a server does; gives the checkpoint.
    pub async fn seal(&self) -> String {
        let head = self.log.head().await.unwrap();
        self.seal_until(async || {
            let seal = newest_seal(self.log.pool()).await.unwrap()?;
            (seal.size == head).then_some(seal.checkpoint)
        })
        .await
    }

    /// Runs a sealer until something is there.
    pub async fn seal_until<T>(&self, mut is_there: impl AsyncFnMut() -> Option<T>) -> T {
        let stop = CancellationToken::new();
        let sealer = run_sealer(self.log.clone(), log_key(), Vec::new(), stop.clone());
        let running = tokio::spawn(sealer);
        let looking = async {
            let mut looks = tokio::time::interval(Duration::from_millis(20));
            loop {
                looks.tick().await;
                if let Some(there) = is_there().await {
                    return there;
                }
            }
        };
        let there = tokio::time::timeout(PATIENCE, looking).await.expect("the sealer does it");
        stop.cancel();
        running.await.unwrap();
        there
    }

    /// What only a superuser may do, with the triggers off.
    pub async fn tamper(&self, sql: &str) {
        let mut owner = PgConnection::connect(self.url()).await.unwrap();
        owner.execute("SET session_replication_role = replica").await.unwrap();
        let done = owner.execute(sql).await.unwrap();
        assert!(done.rows_affected() > 0, "no effect: {sql}");
        owner.close().await.unwrap();
    }

    /// What nobody but the owner of the tables may do; it must change something.
    pub async fn spoil(&self, sql: &str) {
        let mut owner = PgConnection::connect(self.url()).await.unwrap();
        let done = owner.execute(sql).await.unwrap();
        assert!(sql.starts_with("ALTER") || done.rows_affected() > 0, "no effect: {sql}");
        owner.close().await.unwrap();
    }

    /// The first column of a query, as text.
    pub async fn select(&self, sql: &str) -> Vec<String> {
        let mut owner = PgConnection::connect(self.url()).await.unwrap();
        let sql = format!("SELECT value::text FROM ({sql}) AS t (value)");
        sqlx::query_scalar(&sql).fetch_all(&mut owner).await.unwrap()
    }

    /// The program, on this database.
    pub fn orion_replay<const N: usize>(&self, args: [&str; N]) -> Program {
        orion_replay(args).with("DATABASE_URL", self.url())
    }
}

/// A projector that runs.
pub struct Leader {
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Leader {
    pub async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

fn trend_event(sequence: i64) -> TrendEvent {
    let score = Score::parse(score_after(sequence)).unwrap();
    match sequence {
        1 => TrendEvent::Detected {
            topic: Topic::parse("Orion").unwrap(),
            source: Source::parse("test").unwrap(),
            score,
            raw_data: None,
        },
        _ => TrendEvent::Rescored { score },
    }
}

/// The score that an event measures; the eighths of it are exact.
pub fn score_after(sequence: i64) -> f64 {
    f64::from(u8::try_from(sequence % 8).unwrap()) / 8.0
}
