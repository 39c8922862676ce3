//! What is computed from the log: live, and compared with the log.
//!
//! Most of it are the documented tables, the projection [`READ_MODEL`]: [`Table`] is a table as pure
//! functions, [`tables`] holds one file for each, [`check()`] folds the log again and compares. What
//! users are told of is another projection, [`NOTIFICATIONS`]: rows per user, in the order of the log.
//! A [`Projector`] keeps one of them up to date, and [`Progress`] says how far it is.

mod apply;
mod check;
mod copy;
mod facts;
mod history;
mod notifications;
mod place;
mod progress;
mod projector;
mod rebuild;
mod table;
pub mod tables;
mod trace;

pub use check::{CheckError, Difference, check};
pub use facts::FactsError;
pub use history::{Change, changes};
pub use notifications::{check_notifications, rebuild_notifications};
pub use progress::{Checkpoint, Progress, ProgressError, Status, checkpoint, resume};
pub use projector::Projector;
pub use rebuild::{RebuildError, Rebuilt, leftover, materialize, rebuild};
pub use table::Table;

/// The name of the projection that builds the documented tables.
pub const READ_MODEL: &str = "read_model";

/// The name of the projection of what users are told of.
pub const NOTIFICATIONS: &str = "notifications";

/// Every projection by its name.
pub const PROJECTIONS: [&str; 2] = [READ_MODEL, NOTIFICATIONS];
