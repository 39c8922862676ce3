//! An inclusion proof: a file that proves, with the public key only, that an event is in the log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use super::checkpoint::{Checkpoint, CheckpointError, LogPublicKey};
use super::leaf::{STORED_COLUMNS, StoredEvent};
use super::merkle::{Hash, path, root_from_path};
use super::seals;
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
    #[error("the event at position {0} is not sealed yet; a server seals it within a second")]
    NotSealed(Position),
    /// The stored tree does not give the root that was signed.
    #[error(
        "position {0}: the stored tree (seal_tiles) is damaged, which says nothing about the event; \
         the next server that begins to seal computes the tree anew, and verify says what else is wrong"
    )]
    Tree(Position),
    /// The file is of another kind.
    #[error("the file is not a proof of format {FORMAT}")]
    Format,
    /// The head is not to be believed.
    #[error("the checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The newest head is not to be believed.
    #[error("the newest checkpoint, in the row of seals with size {size}: {reason}")]
    Seal {
        /// The size under which it is kept.
        size: Position,
        /// Why.
        reason: CheckpointError,
    },
    /// The event is not the one that was sealed, or the path was changed.
    #[error("position {0}: the event is not the one that was sealed")]
    Mismatch(Position),
    /// The database failed.
    #[error("reading the log")]
    Store(#[from] StoreError),
}

impl ProofError {
    /// True where something is wrong with what was to be proved, and not with the question or the database.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::Tree(_)
            | Self::Format
            | Self::Checkpoint(_)
            | Self::Seal { .. }
            | Self::Mismatch(_) => true,
            Self::NoEvent(_) | Self::NotSealed(_) | Self::Store(_) => false,
        }
    }
}

/// Makes the proof of an event, under the newest seal. One of `keys` must have signed it; where none is known,
/// the signature is left to whoever verifies the proof.
///
/// What is read may be of different moments: sealed hashes never change.
pub async fn prove(
    pool: &PgPool,
    keys: &[LogPublicKey],
    position: Position,
) -> Result<Proof, ProofError> {
    let failed = || StoreError::database("reading the log for a proof");
    let mut connection = pool.acquire().await.map_err(failed())?;
    let event: Option<StoredEvent> =
        sqlx::query_as(&format!("SELECT {STORED_COLUMNS} FROM events WHERE position = $1"))
            .bind(position.0)
            .fetch_optional(&mut *connection)
            .await
            .map_err(failed())?;
    let event = event.ok_or(ProofError::NoEvent(position))?;
    let seal = seals::newest(&mut *connection).await?;
    let seal =
        seal.filter(|seal| seal.size >= position.0).ok_or(ProofError::NotSealed(position))?;
    let signed = if keys.is_empty() { seal.unverified() } else { seal.open(keys) };
    let not_believed = |reason| ProofError::Seal { size: Position(seal.size), reason };
    let signed = signed.map_err(not_believed)?;
    let index = (position.0 - 1).cast_unsigned();
    let mut beside = path(index, signed.size);
    beside.push((index, index + 1));
    let tiles = Tiles::for_ranges(&mut connection, &beside).await.map_err(failed())?;
    let hashes = tiles.proof(index, signed.size).ok_or(ProofError::Tree(position))?;
    // What proves nothing is not handed out.
    let leads_to_the_root =
        |leaf: &Hash| root_from_path(index, signed.size, leaf, &hashes) == Some(signed.root);
    if !leads_to_the_root(&event.leaf_hash()) {
        // The event is accused only where the hash of then proves that it was another one.
        let was_another = tiles.hash(0, index).is_some_and(|leaf| leads_to_the_root(&leaf));
        let at_fault = if was_another { ProofError::Mismatch } else { ProofError::Tree };
        return Err(at_fault(position));
    }
    let path = hashes.iter().map(|hash| BASE64.encode(hash)).collect();
    Ok(Proof { format: FORMAT.to_owned(), event, path, checkpoint: seal.checkpoint })
}

impl Proof {
    /// Reads the file that a proof is.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let proof: Self = serde_json::from_str(text).map_err(|_| ProofError::Format)?;
        if proof.format == FORMAT { Ok(proof) } else { Err(ProofError::Format) }
    }

    /// The file: JSON, one member on each line.
    pub fn text(&self) -> Result<String, StoreError> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// Checks the proof against the keys of the log; no database is needed. Gives the head that
    /// the event is proved under.
    pub fn verify(&self, keys: &[LogPublicKey]) -> Result<Checkpoint, ProofError> {
        let checkpoint = Checkpoint::open(&self.checkpoint, keys)?;
        let mismatch = || ProofError::Mismatch(self.event.position());
        let index = self.event.position.checked_sub(1).and_then(|index| u64::try_from(index).ok());
        let hash = |text: &String| Hash::try_from(BASE64.decode(text).ok()?).ok();
        let hashes: Option<Vec<Hash>> = self.path.iter().map(hash).collect();
        let (index, hashes) = index.zip(hashes).ok_or_else(mismatch)?;
        let root = root_from_path(index, checkpoint.size, &self.event.leaf_hash(), &hashes);
        if root == Some(checkpoint.root) { Ok(checkpoint) } else { Err(mismatch()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::checkpoint::LogKey;
    use super::super::merkle::{leaf_hash, node_hash};
    use super::*;

    const PAGE: &str = include_str!("../../../docs/proofs.md");

    fn event(position: i64, event_type: &str, payload: &str, recorded_at_us: i64) -> StoredEvent {
        StoredEvent {
            position,
            aggregate_type: "trend".to_owned(),
            aggregate_id: "0199d3a0-0000-7000-8000-000000000001".to_owned(),
            sequence: position,
            event_type: event_type.to_owned(),
            event_version: "1".to_owned(),
            payload: payload.to_owned(),
            metadata: r#"{"actor":"0199d3a0-0000-7000-8000-0000000000aa"}"#.to_owned(),
            recorded_at_us,
        }
    }

    fn is_on_the_page(what: &str, text: &str) {
        assert!(PAGE.contains(text), "docs/proofs.md should have {what}:\n{text}");
    }

    /// The example is computed here from the page's own words, step by step, and not by the code that it documents.
    #[test]
    fn the_example_in_the_docs_is_right() {
        let events = [
            event(
                1,
                "trend.detected",
                r#"{"topic":"Orion","source":"rss","score":0.5}"#,
                1_760_000_000_000_000,
            ),
            event(2, "trend.rescored", r#"{"score":0.75}"#, 1_760_000_060_123_456),
            event(3, "trend.archived", "{}", 1_760_000_061_000_000),
        ];
        let mut bytes = Vec::new();
        for column in [
            &b"trend"[..],
            b"0199d3a0-0000-7000-8000-000000000001",
            &2_i64.to_be_bytes(),
            b"trend.rescored",
            b"1",
            br#"{"score":0.75}"#,
            br#"{"actor":"0199d3a0-0000-7000-8000-0000000000aa"}"#,
            &1_760_000_060_123_456_i64.to_be_bytes(),
        ] {
            bytes.extend(u64::try_from(column.len()).unwrap().to_be_bytes());
            bytes.extend(column);
        }
        is_on_the_page("the first column", "`0000000000000005 7472656e64`");
        assert!(hex::encode(&bytes).starts_with("00000000000000057472656e64"));
        is_on_the_page("the last column", "`0000000000000008 000640b5f2636940`");
        assert!(hex::encode(&bytes).ends_with("0000000000000008000640b5f2636940"));
        let columns: Hash = <sha2::Sha256 as sha2::Digest>::digest(&bytes).into();
        let leaf = leaf_hash(&[b"orion event 1\n", &2_i64.to_be_bytes()[..], &columns].concat());
        assert_eq!(events[1].leaf_hash(), leaf);
        let (first, third) = (events[0].leaf_hash(), events[2].leaf_hash());
        let pair = node_hash(&first, &leaf);
        let root = node_hash(&pair, &third);
        for (what, hash) in [
            ("the columns", columns),
            ("leaf 0", first),
            ("leaf 1", leaf),
            ("leaf 2", third),
            ("the pair", pair),
            ("the root", root),
        ] {
            is_on_the_page(what, &hex::encode(hash));
        }

        let key = LogKey::from_seed(&[1; 32]);
        let checkpoint = key.sign(&Checkpoint { size: 3, root });
        let path = [first, third].iter().map(|hash| BASE64.encode(hash)).collect();
        let [_, event, _] = events;
        let proof = Proof { format: FORMAT.to_owned(), event, path, checkpoint };
        is_on_the_page("the key", &key.public().text());
        is_on_the_page("the checkpoint", &proof.checkpoint);
        is_on_the_page("the proof", &proof.text().unwrap());
        let read = Proof::parse(&proof.text().unwrap()).unwrap();
        assert_eq!(read.verify(&[key.public()]).unwrap(), Checkpoint { size: 3, root });
    }
}
