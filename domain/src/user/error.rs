//! Why commands on a user are refused.

use chrono::{DateTime, SecondsFormat, Utc};

use super::MARKED_READ_MAX;
use crate::aggregate::Rejection;

/// Why a command on a user was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum UserError {
    /// No such user, or not one that the caller may see.
    #[error("there is no such user")]
    NotFound,
    /// The id is taken.
    #[error("a user with this id exists already")]
    AlreadyExists,
    /// The account is closed.
    #[error("the user is not active")]
    Inactive,
    /// The account is open.
    #[error("the user is active already")]
    AlreadyActive,
    /// The address is verified.
    #[error("the e-mail is verified already")]
    AlreadyVerified,
    /// A mail has only just been asked for, or too many were in a day.
    #[error("ask for another mail after {}", not_before.to_rfc3339_opts(SecondsFormat::Secs, true))]
    RequestedTooSoon {
        /// From when on another may be asked for.
        not_before: DateTime<Utc>,
    },
    /// No such external identity.
    #[error("there is no such linked account")]
    UnknownOAuthAccount,
    /// The identity is linked.
    #[error("this account is linked already")]
    AlreadyLinked,
    /// Too many at once.
    #[error("at most {MARKED_READ_MAX} notifications are marked as read by their ids, not {count}")]
    TooManyNotifications {
        /// How many there were.
        count: usize,
    },
    /// The person is forgotten.
    #[error("the user was erased")]
    Erased,
    /// Nobody may lock himself out.
    #[error("the last way to sign in cannot be removed")]
    LastLogin,
}

impl Rejection for UserError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound | Self::UnknownOAuthAccount => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::Inactive => "USER_INACTIVE",
            Self::AlreadyActive => "ALREADY_ACTIVE",
            Self::AlreadyVerified => "ALREADY_VERIFIED",
            Self::RequestedTooSoon { .. } => "REQUESTED_TOO_SOON",
            Self::AlreadyLinked => "ALREADY_LINKED",
            Self::TooManyNotifications { .. } => "TOO_MANY",
            Self::Erased => "USER_ERASED",
            Self::LastLogin => "LAST_LOGIN",
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::UnknownOAuthAccount | Self::LastLogin => Some("oauthAccountId"),
            Self::TooManyNotifications { .. } => Some("ids"),
            Self::NotFound
            | Self::AlreadyExists
            | Self::Inactive
            | Self::AlreadyActive
            | Self::AlreadyVerified
            | Self::Erased
            | Self::RequestedTooSoon { .. }
            | Self::AlreadyLinked => None,
        }
    }
}
