//! An inclusion proof: a file that proves, with the public key only, that an event is in the log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use super::checkpoint::{Checkpoint, CheckpointError, LogPublicKey};
use super::leaf::{STORED_COLUMNS, StoredEvent};
use super::merkle::{Hash, path, root_from_path};
use super::tiles::Tiles;
use crate::error::StoreError;
use crate::record::Position;

/// The name of the format, with its version.
const FORMAT: &str = "orion-proof/1";

/// What is handed to somebody who shall be convinced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    format: String,
    /// The event, each column as it is stored.
    pub event: StoredEvent,
    /// The hashes beside the way to the root, from the bottom, in base64.
    path: Vec<String>,
    /// The signed head of the tree.
    checkpoint: String,
}

/// Why an event is not proved.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The log has no such event.
    #[error("there is no event at position {0}")]
    NoEvent(Position),
    /// It is too new.
    #[error("the event at position {0} is not sealed yet")]
    NotSealed(Position),
    /// The tree's nodes are not all there.
    #[error("the tree has no hashes for position {0}; run verify")]
    Incomplete(Position),
    /// The file is of another kind.
    #[error("the file is not a proof of format {FORMAT}")]
    Format,
    /// The head is not to be believed.
    #[error("the checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The event is not the one that was sealed, or the path was changed.
    #[error("the event and the path do not lead to the sealed root")]
    Mismatch,
    /// The database failed.
    #[error("reading the log")]
    Store(#[from] StoreError),
}

/// Makes the proof of an event, under the newest seal.
pub async fn prove(pool: &PgPool, position: Position) -> Result<Proof, ProofError> {
    let failed = || StoreError::database("reading the log for a proof");
    let mut connection = pool.acquire().await.map_err(failed())?;
    let event: Option<StoredEvent> =
        sqlx::query_as(&format!("SELECT {STORED_COLUMNS} FROM events WHERE position = $1"))
            .bind(position.0)
            .fetch_optional(&mut *connection)
            .await
            .map_err(failed())?;
    let event = event.ok_or(ProofError::NoEvent(position))?;
    let seal: Option<(i64, String)> =
        sqlx::query_as("SELECT size, checkpoint FROM seals ORDER BY size DESC LIMIT 1")
            .fetch_optional(&mut *connection)
            .await
            .map_err(failed())?;
    let (size, checkpoint) =
        seal.filter(|(size, _)| *size >= position.0).ok_or(ProofError::NotSealed(position))?;
    let (index, size) = ((position.0 - 1).cast_unsigned(), size.cast_unsigned());
    let tiles = Tiles::for_ranges(&mut connection, &path(index, size)).await.map_err(failed())?;
    let hashes = tiles.proof(index, size).ok_or(ProofError::Incomplete(position))?;
    let path = hashes.iter().map(|hash| BASE64.encode(hash)).collect();
    Ok(Proof { format: FORMAT.to_owned(), event, path, checkpoint })
}

impl Proof {
    /// Checks the proof against the keys of the log; no database is needed. Gives the head that
    /// the event is proved under.
    pub fn verify(&self, keys: &[LogPublicKey]) -> Result<Checkpoint, ProofError> {
        if self.format != FORMAT {
            return Err(ProofError::Format);
        }
        let checkpoint = Checkpoint::open(&self.checkpoint, keys)?;
        let index = u64::try_from(self.event.position - 1).map_err(|_| ProofError::Mismatch)?;
        let hash = |text: &String| Hash::try_from(BASE64.decode(text).ok()?).ok();
        let hashes: Option<Vec<Hash>> = self.path.iter().map(hash).collect();
        let root = hashes.and_then(|hashes| {
            root_from_path(index, checkpoint.size, &self.event.leaf_hash(), &hashes)
        });
        if root == Some(checkpoint.root) { Ok(checkpoint) } else { Err(ProofError::Mismatch) }
    }
}
