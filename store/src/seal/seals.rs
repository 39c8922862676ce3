//! The rows of `seals`: the signed heads of the tree, as they are kept.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sqlx::{PgConnection, PgExecutor, PgPool};

use super::checkpoint::{Checkpoint, CheckpointError, LogPublicKey};
use crate::error::StoreError;
use crate::kept::Kept;
use crate::record::Position;

/// How many seals are read at a time, where it is not known how many there are.
pub(super) const READ_MAX: i64 = 1_000;

/// A row of the table.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Seal {
    pub size: i64,
    root: Vec<u8>,
    /// The signed text.
    pub checkpoint: String,
}

impl Seal {
    /// The checkpoint, if one of these keys has signed it and it is the one that the row says.
    pub fn open(&self, keys: &[LogPublicKey]) -> Result<Checkpoint, CheckpointError> {
        self.as_the_row_says(Checkpoint::open(&self.checkpoint, keys)?)
    }

    /// What the checkpoint says, for those who leave it to others to look at its signature.
    pub fn unverified(&self) -> Result<Checkpoint, CheckpointError> {
        self.as_the_row_says(Checkpoint::unverified(&self.checkpoint)?)
    }

    fn as_the_row_says(&self, checkpoint: Checkpoint) -> Result<Checkpoint, CheckpointError> {
        let is_said =
            checkpoint.size.cast_signed() == self.size && checkpoint.root.as_slice() == self.root;
        if is_said { Ok(checkpoint) } else { Err(CheckpointError::Misfiled) }
    }
}

/// The newest row, whatever it is.
pub(super) async fn newest(executor: impl PgExecutor<'_>) -> Result<Option<Seal>, StoreError> {
    sqlx::query_as("SELECT size, root, checkpoint FROM seals ORDER BY size DESC LIMIT 1")
        .fetch_optional(executor)
        .await
        .map_err(StoreError::database("reading the newest seal"))
}

/// The newest seal that one of these keys has signed.
pub(super) async fn newest_signed(
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

/// A seal as it is handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewestSeal {
    /// How many events it covers.
    pub size: Position,
    /// The root of their tree, in base64.
    pub root: String,
    /// The signed checkpoint.
    pub checkpoint: String,
}

impl From<Seal> for NewestSeal {
    fn from(Seal { size, root, checkpoint }: Seal) -> Self {
        Self { size: Position(size), root: BASE64.encode(root), checkpoint }
    }
}

/// The newest row, whoever has signed it; `None` where nothing is sealed.
pub async fn newest_seal(pool: &PgPool) -> Result<Option<NewestSeal>, StoreError> {
    Ok(newest(pool).await?.map(NewestSeal::from))
}

/// The newest seal that one of these keys has signed, which can be handed out; `None` where none of the newest
/// thousand is: whoever asks is nobody in particular, and must not have all of them read.
pub async fn newest_seal_by(
    kept: &Kept,
    keys: &[LogPublicKey],
) -> Result<Option<NewestSeal>, StoreError> {
    let database = StoreError::database("reading the newest seals");
    let mut connection = kept.take().await.map_err(database)?;
    // The first one will do, but for a forged one.
    for limit in [1, READ_MAX] {
        let seals: Vec<Seal> =
            sqlx::query_as("SELECT size, root, checkpoint FROM seals ORDER BY size DESC LIMIT $1")
                .bind(limit)
                .fetch_all(&mut *connection)
                .await
                .map_err(database)?;
        if let Some(seal) = seals.into_iter().find(|seal| seal.open(keys).is_ok()) {
            return Ok(Some(seal.into()));
        }
    }
    Ok(None)
}
