//! The documented tables as folds of the log: live, and compared with the log.
//!
//! [`Table`] is a table as pure functions, [`tables`] holds one file for each, [`Projector`] keeps
//! them up to date, [`Progress`] says how far it is, [`check()`] folds the log again and compares.

mod apply;
mod check;
mod progress;
mod projector;
mod table;
pub mod tables;
mod trace;

pub use check::{CheckError, Difference, check};
pub use progress::{Checkpoint, Progress, ProgressError, Status, checkpoint, resume};
pub use projector::Projector;
pub use table::Table;

/// The name of the projection that builds the documented tables.
pub const READ_MODEL: &str = "read_model";
