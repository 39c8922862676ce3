//! Seals: the log as a Merkle tree whose signed heads prove that it was only ever appended to.
//!
//! Leaf n of the tree is the event at position n + 1. `docs/proofs.md` says exactly what is hashed and
//! signed, so that others can verify it by a program of their own.

mod checkpoint;
mod grow;
mod leaf;
mod merkle;
mod proof;
mod sealer;
mod seals;
mod tiles;
mod verify;
mod walk;

pub use checkpoint::{Checkpoint, CheckpointError, LogKey, LogPublicKey, ORIGIN};
pub(crate) use leaf::STORED_COLUMNS;
pub use leaf::StoredEvent;
pub(crate) use merkle::Frontier;
pub use merkle::Hash;
pub use proof::{Proof, ProofError, prove};
pub use sealer::run_sealer;
pub use seals::{NewestSeal, newest_seal, newest_seal_by};
pub use verify::{Fault, Verdict, Verification};
