//! `orion.oauth_accounts`: identities at other providers that users have linked.

use chrono::{DateTime, Utc};
use orion_domain::values::OAuthProvider;
use orion_domain::{Event, UserEvent};
use orion_store::Fact;
use uuid::Uuid;

use super::column::ToColumn;
use super::erased;
use crate::table::{Table, row};

row! {
    /// One linked identity.
    OAuthAccountRow in "orion.oauth_accounts" {
        /// The link's id.
        id: Uuid,
        /// Whose identity it is.
        user_id: Uuid,
        /// Who vouches for it.
        provider: OAuthProvider,
        /// The user's id there.
        provider_user_id: String,
        /// The user's address there.
        provider_email: Option<String>,
        /// Ciphertext of the access token.
        access_token: Option<String>,
        /// Ciphertext of the refresh token.
        refresh_token: Option<String>,
        /// When the access token ends.
        token_expires_at: Option<DateTime<Utc>>,
        /// When it was linked.
        created_at: DateTime<Utc>,
        /// When it last changed.
        updated_at: DateTime<Utc>,
    }
}

impl Table for OAuthAccountRow {
    const NAME: &'static str = Self::TABLE;
    const COLUMNS: &'static [&'static str] = Self::COLUMNS;
    const PERSONAL: &'static [&'static str] = &["provider_user_id", "provider_email"];
    const SECRET: &'static [&'static str] = &["access_token", "refresh_token"];

    fn id(&self) -> Uuid {
        self.id
    }

    fn keys(fact: &Fact) -> Vec<Uuid> {
        let Event::User(event) = &fact.event else { return vec![] };
        match event {
            UserEvent::OAuthAccountLinked { account } => vec![account.account_id.0],
            UserEvent::OAuthAccountUnlinked { account_id } => vec![account_id.0],
            UserEvent::Erased { oauth_account_ids } => {
                oauth_account_ids.iter().map(|account_id| account_id.0).collect()
            }
            UserEvent::Registered { .. } // shown in users
            | UserEvent::ProfileUpdated { .. }
            | UserEvent::EmailVerified {}
            | UserEvent::NotificationsRead { .. }
            | UserEvent::VerificationRequested { .. }
            | UserEvent::PasswordChanged { .. }
            | UserEvent::RoleChanged { .. }
            | UserEvent::Deactivated {}
            | UserEvent::Reactivated {}
            | UserEvent::LoggedIn { .. }
            | UserEvent::SettingsUpdated { .. } => vec![], // shown in user_settings
        }
    }

    fn fold(row: Option<Self>, _: Uuid, fact: &Fact) -> Option<Self> {
        let Event::User(event) = &fact.event else { return row };
        match event {
            UserEvent::OAuthAccountLinked { account } => Some(Self {
                id: account.account_id.0,
                user_id: fact.aggregate_id,
                provider: account.provider,
                provider_user_id: account
                    .provider_user_id
                    .to_column()
                    .unwrap_or_else(|| erased::provider_user_id(account.account_id.0)),
                provider_email: account.provider_email.to_column().flatten(),
                access_token: account.access_token.to_column(),
                refresh_token: account.refresh_token.to_column(),
                token_expires_at: account.token_expires_at.to_column(),
                created_at: fact.recorded_at,
                updated_at: fact.recorded_at,
            }),
            UserEvent::OAuthAccountUnlinked { .. } | UserEvent::Erased { .. } => None,
            UserEvent::Registered { .. }
            | UserEvent::ProfileUpdated { .. }
            | UserEvent::EmailVerified {}
            | UserEvent::NotificationsRead { .. }
            | UserEvent::VerificationRequested { .. }
            | UserEvent::PasswordChanged { .. }
            | UserEvent::SettingsUpdated { .. }
            | UserEvent::RoleChanged { .. }
            | UserEvent::Deactivated {}
            | UserEvent::Reactivated {}
            | UserEvent::LoggedIn { .. } => row,
        }
    }
}
