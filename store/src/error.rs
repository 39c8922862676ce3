//! What can go wrong between Orion and PostgreSQL.

use crate::kept::is_overload;
use crate::vault::ReadError;

/// A failure of the store, which is never the caller's.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// PostgreSQL refused or could not be reached.
    #[error("{doing}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// What sqlx says.
        #[source]
        source: sqlx::Error,
    },
    /// A stored event could not be read.
    #[error("reading the event {sequence} of {stream}")]
    Event {
        /// Aggregate type and id.
        stream: String,
        /// The event's place in its stream.
        sequence: usize,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// A stored event could not be opened or decoded.
    #[error("reading the event at position {position}")]
    Unreadable {
        /// Where.
        position: crate::record::Position,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// Nobody can read an event any more: its subject's key is neither there nor destroyed.
    #[error("the event at position {position} needs the key of {subject}, which is missing")]
    NoKey {
        /// The first event that needs it.
        position: crate::record::Position,
        /// Whose key.
        subject: uuid::Uuid,
    },
    /// The events and the tree of hashes do not go together; `verify` says what is wrong.
    #[error("the log cannot be sealed after position {position}")]
    Unsealable {
        /// The newest position that is sealed.
        position: crate::record::Position,
    },
    /// A stored event has an id or metadata that Orion never writes.
    #[error("the event at position {position} is malformed")]
    Malformed {
        /// Where.
        position: crate::record::Position,
    },
    /// A ciphertext or a wrapped key does not open.
    #[error(transparent)]
    Open(#[from] crate::keys::OpenError),
    /// A personal value would have gone into the log in clear.
    #[error("the event has personal values that were not sealed")]
    Unsealed,
    /// The subject was erased; nothing more can be sealed for it.
    #[error("{subject} was erased")]
    Erased {
        /// The user, social account or provider.
        subject: uuid::Uuid,
    },
    /// An event could not be written as JSON.
    #[error("encoding an event")]
    Encode(#[from] serde_json::Error),
}

impl StoreError {
    /// Type and version of the event that this program does not know, if that is what is wrong.
    pub fn unknown_event(&self) -> Option<(&str, &str)> {
        let (Self::Event { source, .. } | Self::Unreadable { source, .. }) = self else {
            return None;
        };
        source.unknown_event()
    }

    /// True where too many waited for a connection: nothing was asked of PostgreSQL.
    pub fn is_overload(&self) -> bool {
        matches!(self, Self::Database { source, .. } if is_overload(source))
    }

    /// Wraps sqlx's error with what was being done.
    pub(crate) fn database(doing: &'static str) -> impl Fn(sqlx::Error) -> Self + Copy {
        move |source| Self::Database { doing, source }
    }
}

/// True of an error that blames a value rather than the server, by its SQLSTATE class: data
/// exception, integrity violation, program limit. Trying again does not help.
pub fn blames_a_value(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
}

/// True when PostgreSQL's disk is full. If this ends PostgreSQL, the commit may be written all the same.
pub(crate) fn is_disk_full(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code == "53100")
}
