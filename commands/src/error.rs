//! How a command can end without events.

use orion_domain::Rejection;
use orion_store::{AppendError, StoreError};

/// A command was refused by a rule; the caller can act on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Stable, in SCREAMING_SNAKE_CASE.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// The field of the input that it is about, in camelCase.
    pub field: Option<&'static str>,
}

impl Refusal {
    /// A refusal that is not about one field.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: None }
    }

    /// The same about a field of the input.
    #[must_use]
    pub fn at(self, field: &'static str) -> Self {
        Self { field: Some(field), ..self }
    }
}

impl<R: Rejection> From<R> for Refusal {
    fn from(rejection: R) -> Self {
        Self { code: rejection.code(), message: rejection.to_string(), field: rejection.field() }
    }
}

/// Why a command did not happen.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A rule refused it.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// Others kept changing the same streams; nothing is wrong with the command.
    #[error("others keep changing the same")]
    Conflict,
    /// Nobody has signed in, and somebody must.
    #[error("nobody is signed in")]
    Unauthenticated,
    /// The actor's role does not do this.
    #[error("the role does not allow it")]
    Forbidden,
    /// Too many wait for the same: a place in the queue of commits, a connection, or a core to hash a password.
    #[error("too many commands are waiting")]
    Overloaded,
    /// The log could not be read.
    #[error("reading the log")]
    Store(#[source] StoreError),
    /// The log could not be written.
    #[error("writing the log")]
    Append(#[source] AppendError),
    /// A password could not be hashed or compared.
    #[error("hashing a password")]
    Hash(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        if error.is_overload() { Self::Overloaded } else { Self::Store(error) }
    }
}

impl From<Refusal> for CommandError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
