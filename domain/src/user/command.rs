//! What may be asked of a user.

use chrono::{DateTime, Utc};

use super::{OAuthAccount, ProfileChange};
use crate::values::{Email, Json, Name, NotificationId, OAuthAccountId, Personal, Role, SessionId};

/// What may be asked of a user.
#[derive(Clone, Debug)]
pub enum UserCommand {
    /// Opens an account.
    Register {
        /// The login identifier.
        email: Personal<Email>,
        /// bcrypt hash; none for those who sign in elsewhere.
        password_hash: Option<Personal<String>>,
        /// The display name.
        name: Personal<Name>,
        /// What the user may do.
        role: Role,
        /// True where somebody trusted vouches for the address.
        email_verified: bool,
    },
    /// Changes how the user appears.
    UpdateProfile(ProfileChange),
    /// The user has shown to read the mail of the address.
    VerifyEmail,
    /// The user wants another mail to verify the address.
    RequestVerification {
        /// When it is asked for.
        now: DateTime<Utc>,
    },
    /// Replaces the password.
    ChangePassword {
        /// bcrypt hash of the new one.
        password_hash: Personal<String>,
    },
    /// Replaces the preferences.
    UpdateSettings {
        /// All of them, as an object.
        settings: Personal<Json>,
    },
    /// The user has read what Orion told.
    MarkNotificationsRead {
        /// Everything up to this position, which the log has reached; 0 for nothing.
        up_to: i64,
        /// And these, at most [`super::MARKED_READ_MAX`].
        ids: Vec<NotificationId>,
    },
    /// Changes what the user may do.
    ChangeRole {
        /// The new role.
        role: Role,
    },
    /// Keeps the user out.
    Deactivate,
    /// Lets the user in again.
    Reactivate,
    /// The user signed in.
    LogIn {
        /// The session that began.
        session_id: SessionId,
    },
    /// Links an external identity.
    LinkOAuthAccount(OAuthAccount),
    /// Removes an external identity.
    UnlinkOAuthAccount {
        /// Which.
        account_id: OAuthAccountId,
    },
    /// Forgets the person.
    Erase,
}
