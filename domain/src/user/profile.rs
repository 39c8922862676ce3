//! How a user appears, and who vouches for the user elsewhere.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::values::{
    AvatarUrl, Bio, Ciphertext, FirstName, LastName, Name, OAuthAccountId, OAuthProvider, Patch,
    Personal, TimeZone, Username,
};

/// A change of how a user appears; what is missing stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProfileChange {
    /// The display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Personal<Name>>,
    /// The unique short name.
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    pub username: Patch<Personal<Username>>,
    /// The given name.
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    pub first_name: Patch<Personal<FirstName>>,
    /// The family name.
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    pub last_name: Patch<Personal<LastName>>,
    /// Where the picture is.
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    pub avatar_url: Patch<Personal<AvatarUrl>>,
    /// A few words.
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    pub bio: Patch<Personal<Bio>>,
    /// Where the person lives, in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<TimeZone>,
}

/// An external identity that belongs to a user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OAuthAccount {
    /// The row of `oauth_accounts`.
    pub account_id: OAuthAccountId,
    /// Who vouches for it.
    pub provider: OAuthProvider,
    /// The id there.
    pub provider_user_id: Personal<String>,
    /// The address there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_email: Option<Personal<String>>,
    /// Ciphertext of the access token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token: Option<Ciphertext>,
    /// Ciphertext of the refresh token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<Ciphertext>,
    /// When the access token ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_expires_at: Option<DateTime<Utc>>,
}
