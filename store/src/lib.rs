//! The log in PostgreSQL: append, read, follow, and load aggregates from it.
//!
//! [`Log`] is the append-only log, [`EventStore`] loads and commits aggregates by the contract of
//! cqrs-es, [`Embedded`](embedded::Embedded) is a PostgreSQL of Orion's own.

mod append;
mod commit;
mod connect;
pub mod embedded;
mod error;
mod event_store;
pub mod keys;
pub mod log;
mod record;
mod selection;
mod tail;
#[cfg(feature = "testing")]
pub mod testing;

pub use commit::{AppendError, Appended, Commit, Receipt, ReceiptKey};
pub use connect::{ConnectError, connect, migrate};
pub use error::{StoreError, blames_a_value};
pub use event_store::{EventStore, Loaded, SNAPSHOT_EVERY};
pub use keys::{Keys, KeysError};
pub use log::Log;
pub use record::{Fact, Metadata, Position, RecordedEvent, StreamId};
pub use selection::Selection;
pub use tail::Tail;
