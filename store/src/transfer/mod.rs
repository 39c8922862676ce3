//! The log as a file: events as `CloudEvents` 1.0, one JSON object on each line, between a first line, which
//! says what no event tells, and a last one, which says how many there were and the root of their tree.
//!
//! Data keys and server keys never stand in it. They travel in a file of their own (`keys.rs`), wrapped by
//! the master key; those of the erased have nothing to travel.

mod batch;
mod export;
mod import;
mod keys;
mod line;

pub use export::{ExportError, Exported, export};
pub use import::{ImportError, Imported, Importer, import};
pub use line::{JSON, SOURCE, SPEC_VERSION};
