//! What the mutations of accounts take.

use async_graphql::{ID, InputObject, Json, MaybeUndefined};
use orion_commands::{Password, Refusal};
use orion_domain::user::ProfileChange;
use orion_domain::values::{
    AvatarUrl, Bio, Email, FirstName, LastName, Name, Personal, TimeZone, Username,
};
use serde_json::Value;

use crate::graphql::content::patch;
use crate::graphql::context::naming_inputs;
use crate::graphql::error::AtField as _;
use crate::graphql::user::Role;

/// A new account.
#[derive(InputObject)]
pub struct RegisterInput {
    /// The address to sign in with, at most 512 characters.
    pub(super) email: String,
    /// The password: at least 12 characters, at most 72 bytes.
    pub(super) password: String,
    /// The display name, at most 256 characters.
    pub(super) name: String,
}

/// An address and its password.
#[derive(InputObject)]
pub struct LoginInput {
    /// The address that the account was opened with.
    pub(super) email: String,
    /// The password.
    pub(super) password: String,
}

/// A refresh token.
#[derive(InputObject)]
pub struct RefreshSessionInput {
    /// The newest refresh token of the session; it is over afterwards.
    pub(super) refresh_token: String,
}

/// The end of a session.
#[derive(InputObject)]
pub struct LogoutInput {
    /// The newest refresh token of the session.
    pub(super) refresh_token: String,
    /// True to end all of the user's sessions.
    #[graphql(default_with = "Some(false)")]
    pub(super) everywhere: Option<bool>,
}

/// The use of a link that verifies an address.
#[derive(InputObject)]
pub struct VerifyEmailInput {
    /// The `token` of the link that was sent to the address.
    pub(super) token: String,
}

/// The wish for another mail with such a link.
#[derive(InputObject)]
pub struct RequestEmailVerificationInput {
    /// Repeat it to get the first answer again.
    pub(super) command_id: Option<ID>,
    /// The user's version that the decision was made on.
    pub(super) expected_version: Option<i32>,
}

/// Changes of how the caller appears; what is not given stays, null removes.
#[derive(InputObject)]
pub struct UpdateProfileInput {
    /// A new display name, at most 256 characters.
    pub(super) name: Option<String>,
    /// A new unique short name of letters, digits, `.`, `_` and `-`, at most 64; or null for none.
    pub(super) username: MaybeUndefined<String>,
    /// A new given name, at most 128 characters; or null for none.
    pub(super) first_name: MaybeUndefined<String>,
    /// A new family name, at most 128 characters; or null for none.
    pub(super) last_name: MaybeUndefined<String>,
    /// A new http or https address of a picture, at most 2048 characters; or null for none.
    pub(super) avatar_url: MaybeUndefined<String>,
    /// New words about oneself, at most 10,000 characters; or null for none.
    pub(super) bio: MaybeUndefined<String>,
    /// A new time zone: an IANA name such as `Europe/Berlin`.
    pub(super) timezone: Option<String>,
    /// Repeat it to get the first answer again.
    pub(super) command_id: Option<ID>,
    /// The user's version that the decision was made on.
    pub(super) expected_version: Option<i32>,
}

/// A new password of the caller.
#[derive(InputObject)]
pub struct ChangePasswordInput {
    /// The present password.
    pub(super) current_password: String,
    /// The new one: at least 12 characters, at most 72 bytes.
    pub(super) new_password: String,
    /// Repeat it to get the first answer again.
    pub(super) command_id: Option<ID>,
    /// The user's version that the decision was made on.
    pub(super) expected_version: Option<i32>,
}

/// Changes of the caller's preferences.
#[derive(InputObject)]
pub struct UpdateSettingsInput {
    /// An object that is merged into the present one, key by key; null removes a key.
    pub(super) settings: Json<Value>,
    /// Repeat it to get the first answer again.
    pub(super) command_id: Option<ID>,
    /// The user's version that the decision was made on.
    pub(super) expected_version: Option<i32>,
}

/// Names a linked identity of the caller.
#[derive(InputObject)]
pub struct UnlinkOAuthAccountInput {
    /// The link.
    pub(super) oauth_account_id: ID,
    /// Repeat it to get the first answer again.
    pub(super) command_id: Option<ID>,
    /// The user's version that the decision was made on.
    pub(super) expected_version: Option<i32>,
}

/// Names a session.
#[derive(InputObject)]
pub struct RevokeSessionInput {
    /// The session.
    pub(super) session_id: ID,
    /// Repeat it to get the first answer again.
    pub(super) command_id: Option<ID>,
    /// The session's version that the decision was made on.
    pub(super) expected_version: Option<i32>,
}

/// A new role of a user.
#[derive(InputObject)]
pub struct ChangeRoleInput {
    /// The user; not the caller.
    pub(super) user_id: ID,
    /// What the user may do from now on.
    pub(super) role: Role,
    /// Repeat it to get the first answer again.
    pub(super) command_id: Option<ID>,
    /// The user's version that the decision was made on.
    pub(super) expected_version: Option<i32>,
}

naming_inputs! {
    /// The closing of another's account.
    DeactivateUserInput {
        /// The user.
        user_id
    }
    /// The forgetting of a person.
    EraseUserInput {
        /// The user.
        user_id
    }
    /// The opening of a closed account.
    ReactivateUserInput {
        /// The user.
        user_id
    }
}

impl RegisterInput {
    pub(super) fn parse(&self) -> Result<(Email, Password, Name), Refusal> {
        let email = Email::parse(&self.email).at("email")?;
        let name = Name::parse(&self.name).at("name")?;
        Ok((email, Password::parse(&self.password)?, name))
    }
}

impl UpdateProfileInput {
    pub(super) fn parse(self) -> Result<ProfileChange, Refusal> {
        // A macro because each field has a type of its own.
        macro_rules! personal {
            ($raw:expr, $value:ident, $field:literal) => {
                patch($raw).try_map(|raw| $value::parse(&raw).map(Personal::new)).at($field)?
            };
        }
        let name = self.name.as_deref().map(Name::parse).transpose().at("name")?;
        let timezone = self.timezone.as_deref().map(TimeZone::parse).transpose();
        Ok(ProfileChange {
            name: name.map(Personal::new),
            username: personal!(self.username, Username, "username"),
            first_name: personal!(self.first_name, FirstName, "firstName"),
            last_name: personal!(self.last_name, LastName, "lastName"),
            avatar_url: personal!(self.avatar_url, AvatarUrl, "avatarUrl"),
            bio: personal!(self.bio, Bio, "bio"),
            timezone: timezone.at("timezone")?,
        })
    }
}
