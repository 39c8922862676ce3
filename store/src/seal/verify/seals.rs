//! The seals, as a verification goes through them.

use std::collections::VecDeque;

use sqlx::PgConnection;

use super::super::checkpoint::{Checkpoint, CheckpointError, LogPublicKey};
use crate::error::StoreError;

/// How many seals are read at a time.
const READ_MAX: i64 = 1_000;

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

/// The seals in order, some at a time.
#[derive(Default)]
pub(super) struct Seals {
    waiting: VecDeque<Seal>,
    last: i64,
    is_end: bool,
    /// How many were taken.
    pub count: u64,
}

impl Seals {
    /// True while the next one may be of this size or a smaller one.
    pub fn may_have(&self, size: u64) -> bool {
        match self.waiting.front() {
            Some(seal) => seal.size <= size.cast_signed(),
            None => !self.is_end,
        }
    }

    /// The next one, if it is of this size or a smaller one.
    pub async fn take(
        &mut self,
        snapshot: &mut PgConnection,
        size: u64,
    ) -> Result<Option<Seal>, StoreError> {
        if self.waiting.is_empty() && !self.is_end {
            let seals: Vec<Seal> = sqlx::query_as(
                "SELECT size, root, checkpoint FROM seals WHERE size > $1 ORDER BY size LIMIT $2",
            )
            .bind(self.last)
            .bind(READ_MAX)
            .fetch_all(snapshot)
            .await
            .map_err(StoreError::database("reading the seals"))?;
            self.is_end = seals.is_empty();
            self.last = seals.last().map_or(self.last, |seal| seal.size);
            self.waiting.extend(seals);
        }
        let next = self.waiting.pop_front_if(|seal| seal.size <= size.cast_signed());
        self.count += u64::from(next.is_some());
        Ok(next)
    }
}
