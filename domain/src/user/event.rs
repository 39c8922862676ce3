//! What happens to a user.

use chrono::{DateTime, Utc};

use super::{OAuthAccount, ProfileChange};
use crate::event::events;
use crate::values::{
    Email, Json, Name, NotificationId, OAuthAccountId, Personal, RegisteredVia, Role, SessionId,
};

events! {
    /// What happened to a user.
    UserEvent {
        /// Rows of `users` and `user_settings` begin.
        "user.registered" "2" => Registered {
            /// The login identifier.
            email: Personal<Email>,
            /// bcrypt hash.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            password_hash: Option<Personal<String>>,
            /// The display name.
            name: Personal<Name>,
            /// What the user may do.
            role: Role,
            /// True where somebody trusted vouches for the address.
            email_verified: bool,
            /// How the account was opened.
            via: RegisteredVia,
        },
        /// The user appears otherwise; what is missing stays.
        "user.profile_updated" "1" => ProfileUpdated {
            /// What changed.
            change: ProfileChange,
        },
        /// The address is the user's.
        "user.email_verified" "1" => EmailVerified {},
        /// Another mail to verify the address is wanted.
        "user.verification_requested" "1" => VerificationRequested {
            /// When it was asked for: the next one has to wait.
            requested_at: DateTime<Utc>,
        },
        /// Another password holds.
        "user.password_changed" "1" => PasswordChanged {
            /// bcrypt hash.
            password_hash: Personal<String>,
        },
        /// Other preferences hold.
        "user.settings_updated" "1" => SettingsUpdated {
            /// All of them.
            settings: Personal<Json>,
        },
        /// The user has read notifications: all up to a position, and some others.
        "user.notifications_read" "1" => NotificationsRead {
            /// The position in the log; 0 for none.
            up_to: i64,
            /// The others.
            ids: Vec<NotificationId>,
        },
        /// The user may do other things.
        "user.role_changed" "1" => RoleChanged {
            /// The new role.
            role: Role,
        },
        /// The user is kept out.
        "user.deactivated" "1" => Deactivated {},
        /// The user may come in again.
        "user.reactivated" "1" => Reactivated {},
        /// The user signed in.
        "user.logged_in" "1" => LoggedIn {
            /// The session that began.
            session_id: SessionId,
        },
        /// Row of `oauth_accounts` begins.
        "user.oauth_account_linked" "1" => OAuthAccountLinked {
            /// The identity.
            account: OAuthAccount,
        },
        /// Row of `oauth_accounts` ends.
        "user.oauth_account_unlinked" "1" => OAuthAccountUnlinked {
            /// Which.
            account_id: OAuthAccountId,
        },
        /// The person is forgotten: the key of everything personal was destroyed. The rows of `users`
        /// and `user_settings` stay, without what was personal.
        "user.erased" "1" => Erased {
            /// The rows of `oauth_accounts` that end.
            oauth_account_ids: Vec<OAuthAccountId>,
        },
    }
}
