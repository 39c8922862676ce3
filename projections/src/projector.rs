//! The live projector: follows the log and keeps the tables of one projection up to date.
//!
//! Every server runs one for each projection; an advisory lock makes one of them the leader. The leader holds the lock
//! and writes on one and the same connection, so that a leader that lost its lock cannot write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::histogram;
use orion_store::leadership::{Leader, Office, behind, elected, in_time};
use orion_store::locks::{self, Lock};
use orion_store::{
    Fact, Log, Position, ReadError, RecordedEvent, StoreError, blames_a_value, within,
};
use sqlx::{Executor as _, PgConnection};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, error, info, warn};

use crate::place::Place;
use crate::progress::{Awaited, Checkpoint, Progress, ProgressError, Status, checkpoint};
use crate::trace::span_over;
use crate::{NOTIFICATIONS, READ_MODEL, apply, notifications};

/// The most events in one transaction; few of those that may each tell every user.
const TABLES_BATCH_MAX: usize = 500;
const NOTIFICATIONS_BATCH_MAX: usize = 20;

/// How far apart batches begin at least while they are not full: a transaction costs about as much for one
/// event as for ten. Mutations wait for the tables, and nobody for what users are told.
const TABLES_EVERY: Duration = Duration::from_millis(2);
const NOTIFICATIONS_EVERY: Duration = Duration::from_millis(20);

/// How often a standby passes on the leader's progress, and a stopped leader looks at its status.
const STANDBY_EVERY: Duration = Duration::from_millis(250);

/// How soon a standby looks again at least while somebody waits for the leader.
const STANDBY_SOON: Duration = Duration::from_millis(2);

/// How much longer a wait may take because of the standby's rests: by the fourth part. One for a leader that stands costs
/// little so.
const STANDBY_RESTS: u32 = 4;

/// How long a statement or a batch may take, which takes milliseconds. To tell a million users of twenty trends takes minutes.
const TABLES_WITHIN: Duration = Duration::from_mins(1);
const NOTIFICATIONS_WITHIN: Duration = Duration::from_mins(15);

/// How long to wait after a failure of the database.
const BACK_OFF: Duration = Duration::from_millis(500);

/// What a projector keeps up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Projection {
    /// The documented tables.
    ReadModel,
    /// What users are told of.
    Notifications,
}

impl Projection {
    fn name(self) -> &'static str {
        match self {
            Self::ReadModel => READ_MODEL,
            Self::Notifications => NOTIFICATIONS,
        }
    }

    /// Elects the leader.
    fn lock(self) -> Lock {
        Lock::Number(match self {
            Self::ReadModel => locks::READ_MODEL,
            Self::Notifications => locks::NOTIFICATIONS,
        })
    }

    /// The most events in one transaction.
    fn batch_max(self) -> usize {
        match self {
            Self::ReadModel => TABLES_BATCH_MAX,
            Self::Notifications => NOTIFICATIONS_BATCH_MAX,
        }
    }

    /// The result of what must not take for ever.
    async fn in_time<T>(
        self,
        work: impl Future<Output = Result<T, LeaderError>>,
    ) -> Result<T, LeaderError> {
        let limit = match self {
            Self::ReadModel => TABLES_WITHIN,
            Self::Notifications => NOTIFICATIONS_WITHIN,
        };
        within(limit, work).await
    }

    /// How far apart this batch and the next begin at least.
    fn rest_after(self, events: usize) -> Duration {
        match self {
            _ if events == self.batch_max() => Duration::ZERO,
            // One alone is no sign of more, and who sends one after the other waits for each.
            Self::ReadModel if events == 1 => Duration::ZERO,
            Self::ReadModel => TABLES_EVERY,
            Self::Notifications => NOTIFICATIONS_EVERY,
        }
    }

    /// Applies events within the caller's transaction.
    async fn apply(self, connection: &mut PgConnection, facts: &[Fact]) -> Result<(), sqlx::Error> {
        match self {
            Self::ReadModel => apply::apply(connection, &Place::Live, facts).await,
            Self::Notifications => notifications::apply(connection, facts).await,
        }
    }
}

/// Keeps the tables of one projection up to date with a log.
#[derive(Debug)]
pub struct Projector {
    projection: Projection,
    log: Log,
    progress: watch::Sender<Checkpoint>,
    awaited: Arc<Awaited>,
}

/// Why a leader gave up its place.
#[derive(Debug, thiserror::Error)]
enum LeaderError {
    #[error("the database failed the projector")]
    Database(#[from] sqlx::Error),
    #[error("reading the checkpoint")]
    Progress(#[from] ProgressError),
    #[error("reading the log")]
    Log(#[from] StoreError),
    #[error("another projector has moved the checkpoint from {expected}")]
    Overtaken { expected: Position },
    #[error("a newer server wrote the event at position {position}")]
    Outdated { position: Position },
}

/// Why an event cannot be applied, now or ever.
#[derive(Debug, thiserror::Error)]
enum PoisonError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the tables refuse the event: {0}")]
    Apply(sqlx::Error),
}

/// An event that cannot be applied, and why.
type Poisoned = (Arc<RecordedEvent>, PoisonError);

impl Projector {
    /// A projector of the documented tables, and the view of its progress.
    pub fn new(log: Log) -> (Self, Progress) {
        Self::of(Projection::ReadModel, log)
    }

    /// A projector of what users are told of.
    pub fn of_notifications(log: Log) -> (Self, Progress) {
        Self::of(Projection::Notifications, log)
    }

    fn of(projection: Projection, log: Log) -> (Self, Progress) {
        let start = Checkpoint { position: Position::START, status: Status::Running };
        let (progress, receiver) = watch::channel(start);
        let awaited = Arc::<Awaited>::default();
        let view = Progress::new(receiver, Arc::clone(&awaited));
        (Self { projection, log, progress, awaited }, view)
    }

    /// Runs until `stop`, as the leader or waiting to be it. Never ends because of a failure.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.run_forever()).await;
    }

    async fn run_forever(&self) {
        let projection = self.projection.name();
        loop {
            let mut standby = Standby { projector: self, awaited_since: Instant::now() };
            match elected(&self.log, &mut standby).await {
                Ok(leader) => {
                    info!(projection, "projector leads");
                    // `lead` ends only with an error; dropping the leader gives the lock back.
                    if let Err(error) = self.lead(leader).await {
                        let error: &dyn std::error::Error = &error;
                        warn!(error, projection, "projector stopped leading");
                    }
                }
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    warn!(error, projection, "projector cannot stand for election");
                }
            }
            tokio::time::sleep(BACK_OFF).await;
        }
    }

    async fn lead(&self, mut leader: Leader) -> Result<(), LeaderError> {
        // Rows and checkpoint are in one transaction, and their events are on the disk already: what a
        // crash of PostgreSQL takes of them is computed again, so that nobody has to wait for the disk.
        leader.connection.execute("SET synchronous_commit = off").await?;
        sqlx::query("INSERT INTO projection.checkpoints (name) VALUES ($1) ON CONFLICT DO NOTHING")
            .bind(self.projection.name())
            .execute(&mut leader.connection)
            .await?;
        loop {
            let now = checkpoint(&mut leader.connection, self.projection.name());
            let now = async { Ok(now.await?) };
            let Checkpoint { position, status } = self.projection.in_time(now).await?;
            let running = status == Status::Running;
            self.progress.send_replace(Checkpoint { position, status });
            if running {
                self.follow(&mut leader, position).await?;
            } else {
                tokio::time::sleep(STANDBY_EVERY).await;
            }
        }
    }

    /// Applies what comes, until an event cannot be applied.
    async fn follow(&self, leader: &mut Leader, from: Position) -> Result<(), LeaderError> {
        let tail = self.log.tail().read_by("projection");
        let mut applied = from;
        loop {
            let next = async { Ok(tail.next(applied, self.projection.batch_max()).await?) };
            // A crash of PostgreSQL may have taken what was applied last; then it is there to be applied again.
            let events = leader.idle::<_, LeaderError>(next).await?;
            let connection = &mut leader.connection;
            let Some(newest) = events.last().map(|event| event.position) else {
                // The tail was stopped, and with it soon this task.
                return std::future::pending().await;
            };
            let began = Instant::now();
            let poisoned =
                self.apply_all(connection, applied, &events).instrument(span_over(&events)).await?;
            if let Some((event, poison)) = poisoned {
                if let PoisonError::Read(error) = &poison
                    && let Some((event_type, version)) = error.unknown_event()
                {
                    // Not poison: there is somebody who knows it.
                    self.log.outdated().met(event_type, version);
                    return Err(LeaderError::Outdated { position: event.position });
                }
                return self.stop_at(connection, &event, &poison).await;
            }
            applied = newest;
            let count = u32::try_from(events.len()).unwrap_or(u32::MAX);
            histogram!("orion_projection_batch_events", "projection" => self.projection.name())
                .record(count);
            histogram!("orion_projection_batch_duration_seconds", "projection" => self.projection.name())
                .record(began.elapsed());
            let rest = self.projection.rest_after(events.len());
            tokio::time::sleep_until((began + rest).into()).await;
        }
    }

    /// Applies a batch whole or, if something in it cannot be applied, event by event. Gives the first
    /// event that cannot be applied, and why.
    async fn apply_all(
        &self,
        connection: &mut PgConnection,
        applied: Position,
        events: &[Arc<RecordedEvent>],
    ) -> Result<Option<Poisoned>, LeaderError> {
        if self.projection.in_time(self.apply_batch(connection, applied, events)).await? {
            return Ok(None);
        }
        self.apply_singly(connection, applied, events).await
    }

    /// Applies a batch in one transaction. False when an event in it cannot be applied so.
    async fn apply_batch(
        &self,
        connection: &mut PgConnection,
        applied: Position,
        events: &[Arc<RecordedEvent>],
    ) -> Result<bool, LeaderError> {
        let ring = self.log.vault().ring(events.iter().map(Arc::as_ref)).await?;
        let facts: Result<Vec<Fact>, ReadError> =
            events.iter().map(|event| ring.read(event)).collect();
        let Ok(facts) = facts else { return Ok(false) };
        match self.write(connection, applied, &facts).await {
            Ok(()) => Ok(true),
            Err(LeaderError::Database(error)) if is_about_data(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Applies a batch event by event: a value that one event frees, a later one may take.
    /// Gives the first event that cannot be applied, and why.
    async fn apply_singly(
        &self,
        connection: &mut PgConnection,
        mut applied: Position,
        events: &[Arc<RecordedEvent>],
    ) -> Result<Option<Poisoned>, LeaderError> {
        let ring = self.log.vault().ring(events.iter().map(Arc::as_ref)).await?;
        for event in events {
            let fact = match ring.read(event) {
                Ok(fact) => fact,
                Err(error) => return Ok(Some((event.clone(), error.into()))),
            };
            match self
                .projection
                .in_time(self.write(connection, applied, std::slice::from_ref(&fact)))
                .await
            {
                Ok(()) => applied = event.position,
                Err(LeaderError::Database(error)) if is_about_data(&error) => {
                    return Ok(Some((event.clone(), PoisonError::Apply(error))));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// One transaction: the rows and the checkpoint, both or none.
    async fn write(
        &self,
        connection: &mut PgConnection,
        applied: Position,
        facts: &[Fact],
    ) -> Result<(), LeaderError> {
        let Some(newest) = facts.last() else { return Ok(()) };
        // The checkpoint first: whoever holds its row has the tables for himself (`rebuild`). In the same
        // round trip as BEGIN, which takes no parameters; a name of ours needs no quoting.
        let begin = format!(
            "BEGIN; UPDATE projection.checkpoints SET position = {newest}, updated_at = now()
             WHERE name = '{name}' AND position = {applied} AND status = 'running'",
            newest = newest.position,
            name = self.projection.name(),
        );
        let moved = connection.execute(begin.as_str()).await?;
        if moved.rows_affected() != 1 {
            return Err(LeaderError::Overtaken { expected: applied });
        }
        if let Err(error) = self.projection.apply(connection, facts).await {
            connection.execute("ROLLBACK").await?;
            return Err(error.into());
        }
        connection.execute("COMMIT").await?;
        self.progress
            .send_replace(Checkpoint { position: newest.position, status: Status::Running });
        Ok(())
    }

    /// Passes on the progress of another that leads.
    async fn pass_on(&self, connection: &mut PgConnection) -> Result<Position, LeaderError> {
        let now = checkpoint(connection, self.projection.name()).await?;
        let position = now.position;
        self.progress.send_replace(now);
        Ok(position)
    }

    /// Nothing is ever skipped: the projection waits before the event until it is told to go on.
    async fn stop_at(
        &self,
        connection: &mut PgConnection,
        event: &RecordedEvent,
        poison: &PoisonError,
    ) -> Result<(), LeaderError> {
        // Without the sources: serde's could quote a personal value from the payload.
        let message = format!("position {} ({}): {poison}", event.position, event.event_type);
        error!(projection = self.projection.name(), position = event.position.0, error = %message, "projection stopped");
        sqlx::query(
            "UPDATE projection.checkpoints SET status = 'stopped', error = $1, updated_at = now() WHERE name = $2",
        )
        .bind(message)
        .bind(self.projection.name())
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// A projector that does not lead.
struct Standby<'a> {
    projector: &'a Projector,
    /// Since when somebody waits and the leader gets no further.
    awaited_since: Instant,
}

impl Office for Standby<'_> {
    type Error = LeaderError;

    const LOOK_EVERY: Duration = STANDBY_EVERY;

    fn name(&self) -> &'static str {
        self.projector.projection.name()
    }

    fn lock(&self) -> Lock {
        self.projector.projection.lock()
    }

    /// Passes on the leader's progress.
    async fn look_on(&mut self, connection: &mut PgConnection) -> Result<Option<i64>, LeaderError> {
        let now = self.projector.pass_on(connection).await?;
        Ok(behind(now, &self.projector.log))
    }

    /// Passes it on more often while somebody waits for it.
    async fn rest(&mut self, connection: &mut PgConnection) -> Result<(), LeaderError> {
        let Self { projector, awaited_since } = self;
        let over = tokio::time::sleep(Self::LOOK_EVERY);
        tokio::pin!(over);
        loop {
            let at = projector.progress.borrow().position;
            let next = async {
                if projector.awaited.by_anybody().await {
                    *awaited_since = Instant::now();
                }
                let rest = awaited_since.elapsed() / STANDBY_RESTS;
                tokio::time::sleep(rest.max(STANDBY_SOON)).await;
            };
            tokio::select! {
                () = &mut over => return Ok(()),
                () = next => {}
            }
            if in_time(projector.pass_on(connection)).await? > at {
                *awaited_since = Instant::now();
            }
        }
    }
}

/// True of an error that another try cannot mend.
fn is_about_data(error: &sqlx::Error) -> bool {
    blames_a_value(error)
        || matches!(error, sqlx::Error::Encode(_) | sqlx::Error::ColumnDecode { .. })
}
