//! Values that are right by construction: parse once at the edge, never check again.

mod email;
mod enums;
mod ids;
mod json;
mod patch;
mod personal;
mod scopes;
mod score;
pub(crate) mod settings;
mod text;
mod time_zone;
mod token_hash;

pub use email::Email;
pub use enums::{
    AssetType, ContentStatus, NotificationKind, OAuthProvider, PublishStatus, RegisteredVia,
    RevocationReason, Role, RunStatus, Scope, TrendStatus,
};
pub use ids::{
    ContentId, MediaAssetId, NotificationId, OAuthAccountId, ProviderId, PublishId,
    PublishRecordId, RefreshTokenId, RunId, ServiceTokenId, SessionId, SocialAccountId, TrendId,
    UserId,
};
pub use json::Json;
pub use patch::Patch;
pub use personal::{Ciphertext, MARK, Personal};
pub use scopes::Scopes;
pub use score::Score;
pub use settings::{SettingsError, check_settings, effective_settings};
pub use text::{
    AvatarUrl, Bio, DisplayName, ErrorMessage, FilePath, FirstName, Hook, LastName, Name,
    PlatformName, PlatformPostId, ProviderName, ProviderType, Reason, ScriptBody, ServiceTokenName,
    Source, StageName, Title, Topic, Username,
};
pub use time_zone::TimeZone;
pub use token_hash::TokenHash;

use crate::aggregate::Rejection;

/// Why a raw value is not one of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Nothing but white space.
    #[error("{what} must not be empty")]
    Empty {
        /// The kind of value, in words.
        what: &'static str,
    },
    /// Longer than the documented column holds.
    #[error("{what} must be at most {max_chars} characters, not {chars}")]
    TooLong {
        /// The kind of value, in words.
        what: &'static str,
        /// The limit in Unicode scalar values.
        max_chars: usize,
        /// What came in, in Unicode scalar values.
        chars: usize,
    },
    /// Has U+0000, which PostgreSQL's text cannot hold.
    #[error("{what} must not contain the character U+0000")]
    NulCharacter {
        /// The kind of value, in words.
        what: &'static str,
    },
    /// Not of the form that its kind has.
    #[error("{what} must be {expected}")]
    Malformed {
        /// The kind of value, in words.
        what: &'static str,
        /// The form it should have.
        expected: &'static str,
    },
    /// A number outside its bounds.
    #[error("{what} must be {expected}")]
    OutOfRange {
        /// The kind of value, in words.
        what: &'static str,
        /// The bounds in words.
        expected: &'static str,
    },
    /// A JSON value with too many lists and objects within each other.
    #[error("{what} must be nested at most {max_depth} levels deep")]
    TooDeep {
        /// The kind of value, in words.
        what: &'static str,
        /// The limit.
        max_depth: usize,
    },
    /// A JSON value whose text is too large to keep.
    #[error("{what} must be at most {max_bytes} bytes of JSON")]
    TooLarge {
        /// The kind of value, in words.
        what: &'static str,
        /// The limit in bytes.
        max_bytes: usize,
    },
}

impl Rejection for ValueError {
    fn code(&self) -> &'static str {
        match self {
            Self::Empty { .. } => "EMPTY",
            Self::TooLong { .. } | Self::TooLarge { .. } => "TOO_LONG",
            Self::TooDeep { .. } => "TOO_DEEP",
            Self::NulCharacter { .. } => "INVALID_CHARACTER",
            Self::Malformed { .. } => "MALFORMED",
            Self::OutOfRange { .. } => "OUT_OF_RANGE",
        }
    }
}
