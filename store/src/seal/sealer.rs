//! The sealer: turns new events into leaves and signs the head of the tree.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, PgConnection, PgPool, Postgres};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::checkpoint::{Checkpoint, LogKey};
use super::leaf::{STORED_COLUMNS, StoredEvent};
use super::tiles::Tiles;
use crate::error::StoreError;
use crate::log::Log;
use crate::record::Position;

/// The advisory lock of the one that seals.
const SEALER_LOCK: i64 = 7_165_914_213;

/// The shortest time between two seals: a signature for each event would be waste.
const SEAL_EVERY: Duration = Duration::from_millis(500);

/// The most events that one seal adds.
const BATCH_MAX: i64 = 20_000;

/// How long to wait after a failure, and between two looks at the lock.
const BACK_OFF: Duration = Duration::from_secs(1);

/// Seals a log until `stop`. Every server may run it; one of them seals.
pub async fn run_sealer(log: Log, key: LogKey, stop: CancellationToken) {
    let forever = async {
        loop {
            if let Err(error) = lead(&log, &key).await {
                let error: &dyn std::error::Error = &error;
                warn!(error, "sealer failed, trying again");
            }
            tokio::time::sleep(BACK_OFF).await;
        }
    };
    stop.run_until_cancelled(forever).await;
}

async fn lead(log: &Log, key: &LogKey) -> Result<(), StoreError> {
    // The lock and the seals are on one connection: who lost the one cannot write the other.
    let connection = log.pool().acquire().await.map_err(StoreError::database("sealing"))?;
    let mut connection = PoolConnection::<Postgres>::detach(connection);
    while !try_lock(&mut connection).await.map_err(StoreError::database("sealing"))? {
        tokio::time::sleep(BACK_OFF).await;
    }
    info!("sealer leads");
    let mut sealed = sealed_size(&mut connection).await?;
    loop {
        if log.tail().beyond(sealed).await.is_none() {
            // The tail was stopped, and with it soon this task.
            return std::future::pending().await;
        }
        sealed = seal(&mut connection, key, sealed).await?;
        tokio::time::sleep(SEAL_EVERY).await;
    }
}

async fn try_lock(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
        .bind(SEALER_LOCK)
        .fetch_one(connection)
        .await
}

async fn sealed_size(connection: &mut PgConnection) -> Result<Position, StoreError> {
    sqlx::query_scalar("SELECT coalesce(max(size), 0) FROM seals")
        .fetch_one(connection)
        .await
        .map(Position)
        .map_err(StoreError::database("reading the newest seal"))
}

/// Seals the events after `sealed`, in one transaction. Says up to which.
async fn seal(
    connection: &mut PgConnection,
    key: &LogKey,
    sealed: Position,
) -> Result<Position, StoreError> {
    let failed = || StoreError::database("sealing the log");
    let mut transaction = connection.begin().await.map_err(failed())?;
    let events: Vec<StoredEvent> = sqlx::query_as(&format!(
        "SELECT {STORED_COLUMNS} FROM events WHERE position > $1 ORDER BY position LIMIT $2"
    ))
    .bind(sealed.0)
    .bind(BATCH_MAX)
    .fetch_all(&mut *transaction)
    .await
    .map_err(failed())?;
    let mut size = sealed.0.cast_unsigned();
    let mut tiles = Tiles::edge(&mut transaction, size).await.map_err(failed())?;
    let Some(mut frontier) = tiles.frontier(size) else {
        return Err(StoreError::Unsealable { position: sealed });
    };
    for event in &events {
        // The tree counts from 0, the log from 1.
        if event.position != size.cast_signed() + 1 {
            return Err(StoreError::Unsealable { position: Position(size.cast_signed() + 1) });
        }
        let leaf = event.leaf_hash();
        tiles.push(size, leaf);
        frontier.push(leaf);
        size += 1;
    }
    if events.is_empty() {
        return Ok(sealed);
    }
    tiles.save(&mut transaction).await.map_err(failed())?;
    let checkpoint = Checkpoint { size, root: frontier.root() };
    sqlx::query("INSERT INTO seals (size, root, checkpoint) VALUES ($1, $2, $3)")
        .bind(size.cast_signed())
        .bind(checkpoint.root.as_slice())
        .bind(key.sign(&checkpoint))
        .execute(&mut *transaction)
        .await
        .map_err(failed())?;
    transaction.commit().await.map_err(failed())?;
    Ok(Position(size.cast_signed()))
}

/// The newest checkpoint, as it is handed out.
pub async fn newest_checkpoint(pool: &PgPool) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar("SELECT checkpoint FROM seals ORDER BY size DESC LIMIT 1")
        .fetch_optional(pool)
        .await
        .map_err(StoreError::database("reading the newest seal"))
}
