//! A log over a fresh database, commits in one line, and what the tables say of them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use orion_domain::values::{Score, Source, Topic};
use orion_domain::{Claim, ClaimChange, Trend, TrendEvent};
use orion_store::testing::{TestDatabase, database};
use orion_store::{AppendError, Appended, Commit, Log, Metadata, Position, connect, locks};
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Postgres};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

/// What takes longer than this does not come.
const PATIENCE: Duration = Duration::from_mins(1);

/// What an append leads to.
pub type Outcome = Result<Appended, AppendError>;

/// A log, and its database as the superuser sees it.
pub struct World {
    pub log: Log,
    pub owner: PgPool,
    stop: CancellationToken,
    _stop_at_the_end: DropGuard,
    db: TestDatabase,
}

impl World {
    pub async fn new() -> Self {
        let db = database().await;
        let stop = CancellationToken::new();
        let log = open(&db.url, stop.clone()).await;
        let owner = owner(&db.url).await;
        Self { log, owner, _stop_at_the_end: stop.clone().drop_guard(), stop, db }
    }

    pub fn url(&self) -> &str {
        &self.db.url
    }

    /// A log of another process, with connections of its own.
    pub async fn another_log(&self) -> Log {
        open(self.url(), self.stop.clone()).await
    }

    /// Keeps every append waiting until the lock is released.
    pub async fn hold_the_lock(&self) -> HeldLock {
        let mut connection = self.owner.acquire().await.unwrap();
        let lock = sqlx::query("SELECT pg_advisory_lock($1)").bind(locks::APPEND);
        lock.execute(&mut *connection).await.unwrap();
        HeldLock(connection)
    }

    /// The backends that wait for the lock.
    pub async fn waiting_for_the_lock(&self) -> Vec<i32> {
        sqlx::query_scalar(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        .fetch_all(&self.owner)
        .await
        .unwrap()
    }

    /// Ends all connections of logs to this database; says how many there were.
    pub async fn terminate_backends(&self) -> usize {
        let ended: Vec<bool> = sqlx::query_scalar(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'orion'",
        )
        .fetch_all(&self.owner)
        .await
        .unwrap();
        ended.len()
    }

    /// The events in order, after a look at the order itself.
    pub async fn rows(&self) -> Vec<Row> {
        rows(&self.owner).await
    }

    pub async fn count(&self, sql: &str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.owner).await.unwrap()
    }
}

pub struct HeldLock(PoolConnection<Postgres>);

impl HeldLock {
    pub async fn release(mut self) {
        let unlock = sqlx::query("SELECT pg_advisory_unlock($1)").bind(locks::APPEND);
        unlock.execute(&mut *self.0).await.unwrap();
    }
}

pub async fn open(url: &str, stop: CancellationToken) -> Log {
    orion_store::testing::log(connect(url, 6).await.unwrap(), stop).await
}

pub async fn owner(url: &str) -> PgPool {
    PgPoolOptions::new().max_connections(4).connect(url).await.unwrap()
}

/// What the tables say of an event.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Row {
    pub position: i64,
    pub aggregate_id: String,
    pub sequence: i64,
    pub command_id: Option<String>,
    pub recorded_at: DateTime<Utc>,
}

/// The events in order: from 1 without a gap, time never running backwards, streams without a gap.
pub async fn rows(owner: &PgPool) -> Vec<Row> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT position, aggregate_id, sequence, metadata ->> 'command_id' AS command_id, recorded_at
         FROM events ORDER BY position",
    )
    .fetch_all(owner)
    .await
    .unwrap();
    for (row, expected) in rows.iter().zip(1..) {
        assert_eq!(row.position, expected, "a gap");
    }
    assert!(rows.is_sorted_by_key(|row| row.recorded_at), "time runs backwards");
    let broken: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (
           SELECT sequence, row_number() OVER (PARTITION BY aggregate_type, aggregate_id ORDER BY position) AS n
           FROM events) numbered WHERE sequence <> n",
    )
    .fetch_one(owner)
    .await
    .unwrap();
    assert_eq!(broken, 0, "streams have gaps");
    rows
}

/// Where the events of a command stand, if they stand in one piece.
pub fn place_of(rows: &[Row], command_id: Uuid) -> Option<Appended> {
    let command_id = command_id.to_string();
    let mut own = rows.iter().filter(|row| row.command_id.as_ref() == Some(&command_id));
    let first = own.next()?.position;
    let last = first + i64::try_from(own.clone().count()).unwrap();
    assert!(own.map(|row| row.position).eq(first + 1..=last), "the commit is torn");
    Some(Appended { first: Position(first), last: Position(last) })
}

/// Events for a trend that is at `version`.
pub fn commit(command_id: Uuid, trend: Uuid, version: i64, count: i64) -> Commit {
    let mut commit = Commit::new(Metadata::from([
        ("actor".to_owned(), "test".to_owned()),
        ("command_id".to_owned(), command_id.to_string()),
    ]));
    add_events(&mut commit, trend, version, count);
    commit
}

/// More events for a commit.
pub fn add_events(commit: &mut Commit, trend: Uuid, version: i64, count: i64) {
    let events: Vec<_> = (version + 1..=version + count).map(trend_event).collect();
    commit.append::<Trend>(trend, version, &events).unwrap();
}

fn trend_event(sequence: i64) -> TrendEvent {
    let score = Score::parse(0.5).unwrap();
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

/// One event of a new trend.
pub fn one_event() -> Commit {
    commit(Uuid::now_v7(), Uuid::now_v7(), 0, 1)
}

/// A unique value.
pub fn claim(value: &str) -> Claim {
    Claim {
        namespace: "test.name",
        value: value.to_owned(),
        personal: false,
        taken_code: "NAME_TAKEN",
        field: "name",
    }
}

pub fn take(value: &str) -> ClaimChange {
    ClaimChange::Take(claim(value))
}

pub fn release(value: &str) -> ClaimChange {
    ClaimChange::Release(claim(value))
}

/// Waits until a condition holds, but not for ever.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    in_time(what, wait).await;
}

/// The result of what must not take for ever.
pub async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.unwrap_or_else(|_| panic!("{what}: not in {PATIENCE:?}"))
}
