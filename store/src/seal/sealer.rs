//! The sealer: turns new events into leaves of the tree and signs its head.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::TryStreamExt as _;
use metrics::{gauge, histogram};
use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, PgConnection, PgPool, Postgres};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::checkpoint::{Checkpoint, CheckpointError, LogKey, LogPublicKey};
use super::leaf::{STORED_COLUMNS, StoredEvent};
use super::merkle::Frontier;
use super::tiles::Tiles;
use crate::error::StoreError;
use crate::locks;
use crate::log::{Log, head};
use crate::record::Position;

/// The shortest time between two seals: a signature for each event would be waste.
const SEAL_EVERY: Duration = Duration::from_millis(500);

/// The most events that one seal adds.
const BATCH_MAX: u64 = 20_000;

/// How often a standby looks at the lock.
const STANDBY_EVERY: Duration = Duration::from_millis(250);

/// Who has the lock for so many looks seals, and does not only try to.
const STANDBY_LOOKS: u32 = 8;

/// How long to wait after a failure.
const BACK_OFF: Duration = Duration::from_millis(500);

/// Why nothing is sealed.
#[derive(Debug, thiserror::Error)]
enum SealerError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody else sealed here, or somebody has a forged checkpoint put there. To sign after it would be
    /// to vouch for it.
    #[error("the newest checkpoint, of size {size}, is not ours: {reason}; see ORION_LOG_KEY")]
    Foreign { size: Position, reason: CheckpointError },
}

impl SealerError {
    /// True of what another try does not mend.
    fn needs_somebody(&self) -> bool {
        matches!(self, Self::Foreign { .. } | Self::Store(StoreError::Unsealable { .. }))
    }
}

/// What seals a log.
struct Sealer {
    log: Log,
    key: LogKey,
    /// The key and those before it.
    keys: Vec<LogPublicKey>,
    /// The trouble that was told of last, until it is over.
    told: String,
}

/// Seals a log until `stop`. Every server may run it; one of them seals. `old` are keys that have signed
/// before this one.
pub async fn run_sealer(log: Log, key: LogKey, old: Vec<LogPublicKey>, stop: CancellationToken) {
    let keys = std::iter::once(key.public()).chain(old).collect();
    let sealer = Sealer { log, key, keys, told: String::new() };
    stop.run_until_cancelled(sealer.run()).await;
}

impl Sealer {
    async fn run(mut self) {
        gauge!("orion_sealer_stopped").set(0);
        loop {
            if let Err(error) = self.lead().await {
                self.tell(&error);
            }
            tokio::time::sleep(BACK_OFF).await;
        }
    }

    /// Says why nothing is sealed; once, however often it is tried.
    fn tell(&mut self, error: &SealerError) {
        let needs_somebody = error.needs_somebody();
        gauge!("orion_sealer_stopped").set(u32::from(needs_somebody));
        let text = error.to_string();
        if self.told == text {
            return;
        }
        self.told = text;
        let error: &dyn std::error::Error = error;
        if needs_somebody {
            error!(error, "sealer stopped");
        } else {
            warn!(error, "sealer failed, trying again");
        }
    }

    /// The log is sealed, by this server or by another one.
    fn all_is_well(&mut self) {
        gauge!("orion_sealer_stopped").set(0);
        if !std::mem::take(&mut self.told).is_empty() {
            info!("the log is sealed again");
        }
    }

    /// Waits to be the leader, then seals; ends only with an error.
    async fn lead(&mut self) -> Result<(), SealerError> {
        let failed = || StoreError::database("sealing the log");
        // The lock and the seals are on one connection: who lost the one cannot write the other.
        let connection = self.log.pool().acquire().await.map_err(failed())?;
        let mut connection = PoolConnection::<Postgres>::detach(connection);
        let mut looks = 0_u32;
        while !try_lock(&mut connection).await.map_err(failed())? {
            looks = looks.saturating_add(1);
            if looks == STANDBY_LOOKS {
                self.all_is_well();
            }
            tokio::time::sleep(STANDBY_EVERY).await;
        }
        let mut sealed = newest(&mut connection, &self.keys).await?;
        let position = |checkpoint: &Checkpoint| Position(checkpoint.size.cast_signed());
        if head(self.log.pool()).await? < position(&sealed) {
            return Err(StoreError::Unsealable { position: position(&sealed) }.into());
        }
        if self.told.is_empty() {
            info!(position = sealed.size, "sealer leads");
        }
        loop {
            if self.log.tail().beyond(position(&sealed)).await.is_none() {
                // The tail was stopped, and with it soon this task.
                return std::future::pending().await;
            }
            let (began, before) = (Instant::now(), sealed.size);
            sealed = seal(&mut connection, &self.key, sealed).await?;
            histogram!("orion_seal_duration_seconds").record(began.elapsed());
            self.all_is_well();
            // Whoever is far behind hurries.
            if sealed.size - before < BATCH_MAX {
                tokio::time::sleep(SEAL_EVERY).await;
            }
        }
    }
}

async fn try_lock(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
        .bind(locks::SEALER)
        .fetch_one(connection)
        .await
}

/// The newest seal, whose signature must be one of ours; the empty tree where there is none.
async fn newest(
    connection: &mut PgConnection,
    keys: &[LogPublicKey],
) -> Result<Checkpoint, SealerError> {
    let newest: Option<(i64, String)> =
        sqlx::query_as("SELECT size, checkpoint FROM seals ORDER BY size DESC LIMIT 1")
            .fetch_optional(connection)
            .await
            .map_err(StoreError::database("reading the newest seal"))?;
    let Some((size, note)) = newest else {
        return Ok(Checkpoint { size: 0, root: Frontier::default().root() });
    };
    let foreign = |reason| SealerError::Foreign { size: Position(size), reason };
    let checkpoint = Checkpoint::open(&note, keys).map_err(foreign)?;
    if checkpoint.size.cast_signed() != size {
        return Err(foreign(CheckpointError::Malformed));
    }
    Ok(checkpoint)
}

/// Seals the events after the newest seal, in one transaction. Gives the new one.
async fn seal(
    connection: &mut PgConnection,
    key: &LogKey,
    sealed: Checkpoint,
) -> Result<Checkpoint, StoreError> {
    let failed = || StoreError::database("sealing the log");
    let unsealable = |size: u64| StoreError::Unsealable { position: Position(size.cast_signed()) };
    let mut transaction = connection.begin().await.map_err(failed())?;
    let mut tiles = Tiles::edge(&mut transaction, sealed.size).await.map_err(failed())?;
    // Nobody gets a signature under hashes that were changed behind our back.
    let frontier = tiles.frontier(sealed.size).filter(|frontier| frontier.root() == sealed.root);
    let mut frontier = frontier.ok_or_else(|| unsealable(sealed.size))?;
    let select = format!(
        "SELECT {STORED_COLUMNS} FROM events WHERE position > $1 ORDER BY position LIMIT $2"
    );
    {
        // One at a time: payloads may be large.
        let mut events = sqlx::query_as::<_, StoredEvent>(&select)
            .bind(sealed.size.cast_signed())
            .bind(BATCH_MAX.cast_signed())
            .fetch(&mut *transaction);
        while let Some(event) = events.try_next().await.map_err(failed())? {
            let size = frontier.size();
            // The tree counts from 0, the log from 1.
            if event.position != size.cast_signed() + 1 {
                return Err(unsealable(size));
            }
            let leaf = event.leaf_hash();
            tiles.push(size, leaf);
            frontier.push(leaf);
        }
    }
    let checkpoint = Checkpoint { size: frontier.size(), root: frontier.root() };
    if checkpoint == sealed {
        return Ok(sealed);
    }
    tiles.save(&mut transaction).await.map_err(failed())?;
    sqlx::query("INSERT INTO seals (size, root, checkpoint) VALUES ($1, $2, $3)")
        .bind(checkpoint.size.cast_signed())
        .bind(checkpoint.root.as_slice())
        .bind(key.sign(&checkpoint))
        .execute(&mut *transaction)
        .await
        .map_err(failed())?;
    transaction.commit().await.map_err(failed())?;
    Ok(checkpoint)
}

/// The newest seal, as it is handed out. Nobody has looked at its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewestSeal {
    /// How many events it covers.
    pub size: Position,
    /// The root of their tree, in base64.
    pub root: String,
    /// The signed checkpoint.
    pub checkpoint: String,
}

/// The newest seal; `None` where nothing is sealed.
pub async fn newest_seal(pool: &PgPool) -> Result<Option<NewestSeal>, StoreError> {
    let newest: Option<(i64, Vec<u8>, String)> =
        sqlx::query_as("SELECT size, root, checkpoint FROM seals ORDER BY size DESC LIMIT 1")
            .fetch_optional(pool)
            .await
            .map_err(StoreError::database("reading the newest seal"))?;
    Ok(newest.map(|(size, root, checkpoint)| NewestSeal {
        size: Position(size),
        root: BASE64.encode(root),
        checkpoint,
    }))
}
