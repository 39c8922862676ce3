//! The sealer: turns new events into leaves of the tree and signs its head.

use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};
use sqlx::{Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::checkpoint::{Checkpoint, CheckpointError, LogKey, LogPublicKey};
use super::grow::{BATCH_MAX, Edge, compute_anew, stored_edge};
use super::merkle::Frontier;
use super::seals;
use super::walk::Walk;
use crate::error::StoreError;
use crate::leadership::{Office, behind, elected, in_time};
use crate::locks::{self, Lock};
use crate::log::{Log, head};
use crate::record::Position;

/// The shortest time between two seals: a signature for each event would be waste.
const SEAL_EVERY: Duration = Duration::from_millis(500);

/// How many leaves of the stored tree a sealer that has begun to lead looks at between two seals.
const LOOK: u64 = 65_536;

/// Who has the lock for so many looks of a standby seals, and does not only try to.
const STANDBY_LOOKS: u32 = 4;

/// How long to wait after a failure.
const BACK_OFF: Duration = Duration::from_millis(500);

/// How long to wait where somebody has to act first: a try may read the whole log.
const BACK_OFF_LONG: Duration = Duration::from_secs(5);

/// Why nothing is sealed.
#[derive(Debug, thiserror::Error)]
enum SealerError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the database failed the sealer")]
    Database(#[from] sqlx::Error),
    /// Somebody else sealed here, or somebody has a forged checkpoint put there. To sign after it would be
    /// to vouch for it.
    #[error(
        "the newest checkpoint, in the row of seals with size {size}, is not ours: {reason}; see ORION_LOG_KEY"
    )]
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
            let mut wait = BACK_OFF;
            if let Err(error) = self.lead().await {
                self.tell(&error);
                if error.needs_somebody() {
                    wait = BACK_OFF_LONG;
                }
            }
            tokio::time::sleep(wait).await;
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
        let log = self.log.clone();
        let mut leader = elected(&log, &mut Standby { sealer: self, looks: 0 }).await?;
        let mut sealed = newest(&mut leader.connection, &self.keys).await?;
        let position = |checkpoint: &Checkpoint| Position(checkpoint.size.cast_signed());
        if head(self.log.pool()).await? < position(&sealed) {
            return Err(StoreError::Unsealable { position: position(&sealed) }.into());
        }
        if self.told.is_empty() {
            info!(position = sealed.size, "sealer leads");
        }
        // What is stored of the tree is a cache. Its edge is looked at before each seal, the rest once.
        let mut look = Walk::new(sealed.size, sealed.size);
        loop {
            if look.is_through() {
                let beyond = async { Ok(self.log.tail().beyond(position(&sealed)).await) };
                if leader.idle::<_, SealerError>(beyond).await?.is_none() {
                    // The tail was stopped, and with it soon this task.
                    return std::future::pending().await;
                }
            }
            let connection = &mut leader.connection;
            // Somebody may have put another row there since.
            let newest = newest(connection, &self.keys).await?;
            if newest.size > sealed.size {
                sealed = newest;
            }
            let (began, before) = (Instant::now(), sealed.size);
            sealed = seal(connection, &self.key, sealed).await?;
            histogram!("orion_seal_duration_seconds").record(began.elapsed());
            if !is_whole(connection, &mut look).await? {
                mend_the_rest(connection, &sealed).await?;
            }
            self.all_is_well();
            // Whoever is far behind hurries.
            if sealed.size - before < BATCH_MAX {
                tokio::time::sleep(SEAL_EVERY).await;
            }
        }
    }
}

/// A sealer that does not lead.
struct Standby<'a> {
    sealer: &'a mut Sealer,
    looks: u32,
}

impl Office for Standby<'_> {
    type Error = SealerError;

    // It hashes what is stored, whatever it means.
    const READS_EVENTS: bool = false;

    fn name(&self) -> &'static str {
        "sealer"
    }

    fn lock(&self) -> Lock {
        Lock::Number(locks::SEALER)
    }

    async fn look_on(&mut self, connection: &mut PgConnection) -> Result<Option<i64>, SealerError> {
        if self.looks == STANDBY_LOOKS {
            self.sealer.all_is_well();
        }
        self.looks = self.looks.saturating_add(1);
        let sealed = sqlx::query_scalar("SELECT coalesce(max(size), 0) FROM seals")
            .fetch_one(connection)
            .await?;
        Ok(behind(Position(sealed), &self.sealer.log))
    }
}

/// The newest seal, whose signature must be one of ours; the empty tree where there is none.
async fn newest(
    connection: &mut PgConnection,
    keys: &[LogPublicKey],
) -> Result<Checkpoint, SealerError> {
    let newest = async { Ok::<_, SealerError>(seals::newest(connection).await?) };
    let Some(seal) = in_time(newest).await? else {
        return Ok(Checkpoint { size: 0, root: Frontier::default().root() });
    };
    seal.open(keys).map_err(|reason| SealerError::Foreign { size: Position(seal.size), reason })
}

/// Seals the events after the newest seal, in one transaction. Gives the new one.
async fn seal(
    connection: &mut PgConnection,
    key: &LogKey,
    sealed: Checkpoint,
) -> Result<Checkpoint, StoreError> {
    let failed = || StoreError::database("sealing the log");
    // Nobody gets a signature under hashes that were changed behind our back.
    let mut edge = match stored_edge(connection, &sealed).await? {
        Some(edge) => edge,
        None => mend(connection, &sealed).await?,
    };
    let mut transaction = connection.begin().await.map_err(failed())?;
    edge.grow(&mut transaction, &sealed, BATCH_MAX).await?;
    let checkpoint = Checkpoint { size: edge.frontier.size(), root: edge.frontier.root() };
    if checkpoint == sealed {
        return Ok(sealed);
    }
    edge.save(&mut transaction).await?;
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

/// Looks at the next leaves of the stored tree and what is above them; false where it is damaged.
async fn is_whole(connection: &mut PgConnection, look: &mut Walk) -> Result<bool, StoreError> {
    for _ in 0..LOOK {
        if look.is_through() {
            break;
        }
        look.pass_stored(connection).await?;
    }
    Ok(!look.is_through() || look.end().next().is_none())
}

/// Computes the stored tree anew where its edge is good. Where the events are not those that were signed, that is
/// for `verify` to tell: sealing can go on.
async fn mend_the_rest(
    connection: &mut PgConnection,
    sealed: &Checkpoint,
) -> Result<(), StoreError> {
    match mend(connection, sealed).await {
        Err(StoreError::Unsealable { position }) => {
            error!(
                %position,
                "the stored tree is damaged and the events are not those that were sealed; orion-replay verify names them"
            );
            Ok(())
        }
        mended => mended.map(drop),
    }
}

/// Computes the stored tree anew and gives its edge.
async fn mend(connection: &mut PgConnection, sealed: &Checkpoint) -> Result<Edge, StoreError> {
    let failed = || StoreError::database("mending the tree");
    let mut transaction = connection.begin().await.map_err(failed())?;
    compute_anew(&mut transaction, sealed).await?;
    let position = Position(sealed.size.cast_signed());
    let edge = stored_edge(&mut transaction, sealed).await?;
    let edge = edge.ok_or(StoreError::Unsealable { position })?;
    transaction.commit().await.map_err(failed())?;
    counter!("orion_seal_trees_mended_total").increment(1);
    warn!(%position, "the stored tree was damaged and was computed anew from the events");
    Ok(edge)
}
