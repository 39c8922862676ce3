//! The seals, as a verification reads them.

use sqlx::PgConnection;

use super::super::checkpoint::{Checkpoint, CheckpointError, LogPublicKey};
use crate::error::StoreError;
use crate::record::Position;

/// How many seals are read at a time, where it is not known how many there are.
pub(super) const READ_MAX: i64 = 1_000;

/// A row of the table.
#[derive(sqlx::FromRow)]
pub(super) struct Seal {
    pub size: i64,
    root: Vec<u8>,
    checkpoint: String,
}

impl Seal {
    /// The checkpoint, if one of these keys has signed it and it is the one that the row says.
    pub fn open(&self, keys: &[LogPublicKey]) -> Result<Checkpoint, CheckpointError> {
        let checkpoint = Checkpoint::open(&self.checkpoint, keys)?;
        let is_as_signed =
            checkpoint.size.cast_signed() == self.size && checkpoint.root.as_slice() == self.root;
        if is_as_signed { Ok(checkpoint) } else { Err(CheckpointError::Malformed) }
    }
}

/// The newest seal that one of these keys has signed.
pub(super) async fn newest(
    snapshot: &mut PgConnection,
    keys: &[LogPublicKey],
) -> Result<Option<Checkpoint>, StoreError> {
    let mut below = i64::MAX;
    loop {
        let seals: Vec<Seal> = sqlx::query_as(
            "SELECT size, root, checkpoint FROM seals WHERE size < $1 ORDER BY size DESC LIMIT $2",
        )
        .bind(below)
        .bind(READ_MAX)
        .fetch_all(&mut *snapshot)
        .await
        .map_err(StoreError::database("reading the seals"))?;
        let Some(last) = seals.last() else { return Ok(None) };
        below = last.size;
        if let Some(newest) = seals.iter().find_map(|seal| seal.open(keys).ok()) {
            return Ok(Some(newest));
        }
    }
}

/// The seals of sizes after one position up to another, in order; at most `limit`.
pub(super) async fn between(
    snapshot: &mut PgConnection,
    after: Position,
    until: Position,
    limit: i64,
) -> Result<Vec<Seal>, StoreError> {
    sqlx::query_as(
        "SELECT size, root, checkpoint FROM seals WHERE size > $1 AND size <= $2 ORDER BY size LIMIT $3",
    )
    .bind(after.0)
    .bind(until.0)
    .bind(limit)
    .fetch_all(snapshot)
    .await
    .map_err(StoreError::database("reading the seals"))
}
