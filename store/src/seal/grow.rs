//! Makes the tree from the events: lets it grow by new ones, and computes it anew where what is stored of it
//! is damaged.

use futures::TryStreamExt as _;
use sqlx::PgConnection;

use super::checkpoint::Checkpoint;
use super::leaf::{STORED_COLUMNS, StoredEvent};
use super::merkle::Frontier;
use super::tiles::Tiles;
use crate::error::StoreError;
use crate::record::Position;

/// The most events that are added at a time.
pub(super) const BATCH_MAX: u64 = 20_000;

/// The tree of some size, as far as it is needed to let it grow.
#[derive(Debug, Default)]
pub(super) struct Edge {
    pub tiles: Tiles,
    pub frontier: Frontier,
}

/// The edge of the stored tree; `None` where it does not give the root that was signed.
pub(super) async fn stored_edge(
    connection: &mut PgConnection,
    signed: &Checkpoint,
) -> Result<Option<Edge>, StoreError> {
    let tiles = Tiles::edge(connection, signed.size)
        .await
        .map_err(StoreError::database("reading the tree"))?;
    let frontier = tiles.frontier(signed.size).filter(|frontier| frontier.root() == signed.root);
    Ok(frontier.map(|frontier| Edge { tiles, frontier }))
}

/// Computes the stored tree anew from the events. They must give the root that was signed; where they do not,
/// the log was changed, and nothing of this may be kept.
///
/// In one transaction of the caller's; the memory that it needs does not grow with the log.
pub(super) async fn compute_anew(
    transaction: &mut PgConnection,
    signed: &Checkpoint,
) -> Result<(), StoreError> {
    let mut edge = Edge::default();
    while edge.frontier.size() < signed.size {
        let (before, wanted) = (edge.frontier.size(), signed.size - edge.frontier.size());
        edge.grow(transaction, signed, wanted.min(BATCH_MAX)).await?;
        if edge.frontier.size() == before {
            break;
        }
        edge.save(transaction).await?;
        edge.tiles.forget_full();
    }
    let computed = Checkpoint { size: edge.frontier.size(), root: edge.frontier.root() };
    if computed == *signed { Ok(()) } else { Err(unsealable(signed)) }
}

impl Edge {
    /// Adds the events that follow, at most `limit`.
    pub async fn grow(
        &mut self,
        transaction: &mut PgConnection,
        signed: &Checkpoint,
        limit: u64,
    ) -> Result<(), StoreError> {
        let select = format!(
            "SELECT {STORED_COLUMNS} FROM events WHERE position > $1 ORDER BY position LIMIT $2"
        );
        // One at a time: payloads may be large.
        let mut events = sqlx::query_as::<_, StoredEvent>(&select)
            .bind(self.frontier.size().cast_signed())
            .bind(limit.cast_signed())
            .fetch(transaction);
        let failed = || StoreError::database("reading the log to seal it");
        while let Some(event) = events.try_next().await.map_err(failed())? {
            let size = self.frontier.size();
            // The tree counts from 0, the log from 1.
            if event.position != size.cast_signed() + 1 {
                return Err(unsealable(signed));
            }
            let leaf = event.leaf_hash();
            self.tiles.push(size, leaf);
            self.frontier.push(leaf);
        }
        Ok(())
    }

    /// Stores what is new.
    pub async fn save(&self, transaction: &mut PgConnection) -> Result<(), StoreError> {
        self.tiles.save(transaction).await.map_err(StoreError::database("storing the tree"))
    }
}

fn unsealable(signed: &Checkpoint) -> StoreError {
    StoreError::Unsealable { position: Position(signed.size.cast_signed()) }
}
