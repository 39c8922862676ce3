//! The log in PostgreSQL: append, read, follow, and load aggregates from it.
//!
//! [`Log`] is the append-only log, [`EventStore`] loads and commits aggregates by the contract of
//! cqrs-es, [`Embedded`](embedded::Embedded) is a PostgreSQL of Orion's own.

mod append;
mod claims;
mod clock;
mod commit;
mod connect;
mod database;
pub mod embedded;
mod error;
mod event_store;
mod kept;
pub mod keys;
pub mod leadership;
mod line;
pub mod locks;
pub mod log;
mod outdated;
mod page;
mod record;
mod rotation;
pub mod seal;
mod selection;
mod streams;
mod tail;
#[cfg(feature = "testing")]
pub mod testing;
pub mod transfer;
mod vault;
mod within;

pub use clock::now;
pub use commit::{AppendError, Appended, Commit, Receipt, ReceiptKey};
pub use connect::{
    ConnectError, connect, connect_alone, connect_to_read, connect_to_replica, migrate,
};
pub use database::{Access, Database, OpenDatabaseError, create_database, open_database};
pub use error::{StoreError, blames_a_value};
pub use event_store::{EventStore, Loaded, SNAPSHOT_EVERY};
pub use kept::{Begun, Kept, Taken, is_overload};
pub use keys::{Keys, KeysError, MasterKeys, OpenError};
pub use line::{Line, Overload, Turn};
pub use log::Log;
pub use outdated::Outdated;
pub use page::LogReader;
pub use record::{Fact, Metadata, Position, RecordedEvent, StreamId};
pub use rotation::{rewrap_keys, rotate_claims_key};
pub use selection::{Selection, UnknownName, select};
pub use streams::{StreamRange, StreamReader, ranges};
pub use tail::Tail;
pub use vault::{KeyRing, ReadError, Vault, destroyed_keys, hold_keys};
pub use within::within;
