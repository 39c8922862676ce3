//! Runs a reactor: one leader among all servers, its own checkpoint, each event until it is done.

use std::time::Duration;

use orion_store::leadership::{Office, behind, elected, in_time};
use orion_store::locks::Lock;
use orion_store::{Fact, Log, Position, StoreError};
use sqlx::PgConnection;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::actor::{Actor, Envelope};
use crate::bus::Bus;
use crate::error::CommandError;

/// How long to wait after a failure.
const BACK_OFF: Duration = Duration::from_secs(1);

/// The most events that are read at a time.
const BATCH_MAX: usize = 500;

/// How far apart batches begin at least: nobody waits for a reactor, and each batch wakes all of them.
const BATCH_EVERY: Duration = Duration::from_millis(20);

/// How far apart the checkpoint is written at least, unless a reaction has left Orion. What is
/// repeated after a crash does nothing again.
const SAVE_EVERY: Duration = Duration::from_millis(500);

/// The namespace of the ids of reactors' commands.
const COMMANDS: Uuid = Uuid::from_u128(0x7f7c_3b2e_52a1_4d0b_9a55_9d6c_21d0_5e11);

/// Turns events into commands.
pub trait Reactor: Send + Sync {
    /// Names the checkpoint; never changes.
    const NAME: &'static str;

    /// Does what an event asks for. An error means: try again.
    ///
    /// It may be called again for an event that it has seen: give the command an id
    /// that comes from the position, so that a repeat does nothing.
    fn react(
        &self,
        bus: &Bus,
        fact: &Fact,
    ) -> impl Future<Output = Result<(), CommandError>> + Send;

    /// True of an event whose reaction is seen outside of Orion, where no command id stops a
    /// repeat: the checkpoint follows such an event at once, not with its batch.
    fn leaves_orion(&self, fact: &Fact) -> bool {
        let _ = fact;
        false
    }
}

/// The envelope of a reactor's command: caused by the event, known again when it is repeated.
pub(crate) fn envelope(reactor: &str, cause: Position) -> Envelope {
    envelope_named(name(reactor, cause), cause)
}

/// The same where one event causes several commands, each on an aggregate of its own.
pub(crate) fn envelope_for(reactor: &str, cause: Position, target: Uuid) -> Envelope {
    envelope_named(format!("{}:{target}", name(reactor, cause)), cause)
}

fn envelope_named(name: String, cause: Position) -> Envelope {
    Envelope {
        command: Some((Uuid::new_v5(&COMMANDS, name.as_bytes()), name.into_bytes())),
        causation_id: Some(cause),
        ..Envelope::of(Actor::System)
    }
}

/// The id of what a reactor does because of an event; a repeat has the same.
pub(crate) fn command_id(reactor: &str, cause: Position) -> Uuid {
    Uuid::new_v5(&COMMANDS, name(reactor, cause).as_bytes())
}

fn name(reactor: &str, cause: Position) -> String {
    format!("{reactor}:{cause}")
}

/// Lets a new reactor start at the head of this moment, which is before the first request of a
/// server that calls it while it starts. One that has a checkpoint keeps it.
pub async fn begin<R: Reactor>(log: &Log) -> Result<(), StoreError> {
    let doing = "writing a reactor's checkpoint";
    let database = |source| StoreError::Database { doing, source };
    let mut connection = log.pool().acquire().await.map_err(database)?;
    insert(&mut connection, R::NAME, log.head().await?).await.map_err(database)
}

/// Runs a reactor until `stop`. Never ends because of a failure.
pub async fn run<R: Reactor>(bus: Bus, reactor: R, stop: CancellationToken) {
    let forever = async {
        loop {
            if let Err(error) = lead(&bus, &reactor).await {
                if let Some((event_type, version)) = error.unknown_event() {
                    bus.log().outdated().met(event_type, version);
                }
                let error: &dyn std::error::Error = &error;
                warn!(error, reactor = R::NAME, "reactor failed, trying again");
            }
            tokio::time::sleep(BACK_OFF).await;
        }
    };
    stop.run_until_cancelled(forever).await;
}

#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("the database failed the reactor")]
    Database(#[from] sqlx::Error),
    #[error("reading the log")]
    Log(#[from] StoreError),
    #[error("reacting to the event at position {position}")]
    React { position: Position, source: CommandError },
}

impl RunError {
    /// Type and version of the event that this program does not know, if that is what is wrong.
    fn unknown_event(&self) -> Option<(&str, &str)> {
        match self {
            Self::Log(error) | Self::React { source: CommandError::Store(error), .. } => {
                error.unknown_event()
            }
            Self::Database(_) | Self::React { .. } => None,
        }
    }
}

async fn lead<R: Reactor>(bus: &Bus, reactor: &R) -> Result<(), RunError> {
    let log = bus.log();
    // The lock and the checkpoint live on one connection: who lost the one cannot move the other.
    let mut leader = elected(log, &mut Standby { log, name: R::NAME }).await?;
    info!(reactor = R::NAME, "reactor leads");
    let mut done = start(&mut leader.connection, log, R::NAME).await?;
    let (mut saved, mut saved_at) = (done, Instant::now());
    let tail = log.tail().read_by("reactor");
    loop {
        let due = async {
            if saved < done {
                sleep_until(saved_at + SAVE_EVERY).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        let next = async { Ok::<_, RunError>(tail.next(done, BATCH_MAX).await?) };
        let events = tokio::select! {
            biased;
            () = due => {
                in_time(save(&mut leader.connection, R::NAME, done)).await?;
                (saved, saved_at) = (done, Instant::now());
                continue;
            }
            events = leader.idle(next) => events?,
        };
        if events.is_empty() {
            // The tail was stopped, and with it soon this task.
            return std::future::pending().await;
        }
        let began = Instant::now();
        for fact in log.read_facts(&events).await? {
            let position = fact.position;
            let react = async {
                let reacted = reactor.react(bus, &fact).await;
                reacted.map_err(|source| RunError::React { position, source })
            };
            leader.at_work(react).await?;
            done = position;
            if reactor.leaves_orion(&fact) {
                in_time(save(&mut leader.connection, R::NAME, done)).await?;
                (saved, saved_at) = (done, Instant::now());
            }
        }
        if events.len() < BATCH_MAX {
            sleep_until(began + BATCH_EVERY).await;
        }
    }
}

async fn save(
    connection: &mut PgConnection,
    name: &str,
    done: Position,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE reactor_checkpoints SET position = $1 WHERE name = $2")
        .bind(done.0)
        .bind(name)
        .execute(connection)
        .await
        .map(|_| ())
}

/// A reactor that does not lead.
struct Standby<'a> {
    log: &'a Log,
    name: &'static str,
}

impl Office for Standby<'_> {
    type Error = sqlx::Error;

    fn name(&self) -> &'static str {
        self.name
    }

    fn lock(&self) -> Lock {
        Lock::Reactor(self.name)
    }

    async fn look_on(&mut self, connection: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
        let checkpoint: Option<i64> =
            sqlx::query_scalar("SELECT position FROM reactor_checkpoints WHERE name = $1")
                .bind(self.name)
                .fetch_optional(connection)
                .await?;
        Ok(checkpoint.and_then(|position| behind(Position(position), self.log)))
    }
}

/// Where the reactor left off. A new one starts at the head: what is past is not its business.
async fn start(connection: &mut PgConnection, log: &Log, name: &str) -> Result<Position, RunError> {
    insert(connection, name, log.head().await?).await?;
    let position = sqlx::query_scalar("SELECT position FROM reactor_checkpoints WHERE name = $1")
        .bind(name)
        .fetch_one(connection)
        .await?;
    Ok(Position(position))
}

async fn insert(
    connection: &mut PgConnection,
    name: &str,
    position: Position,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO reactor_checkpoints (name, position) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    )
    .bind(name)
    .bind(position.0)
    .execute(connection)
    .await
    .map(|_| ())
}
