//! Commands that bring credentials: they are encrypted under the account's own key before they become
//! part of an event.

use orion_domain::values::{DisplayName, Personal, PlatformName, SocialAccountId};
use orion_domain::{SocialAccount, SocialAccountCommand, User};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use uuid::Uuid;

use crate::error::CommandError;
use crate::policy::Action;
use crate::unit::{Unit, UseCase};

/// What the credentials of an account are encrypted for; whoever publishes opens them with it.
pub fn credentials_place(id: SocialAccountId) -> String {
    format!("credentials of social_account {id}")
}

/// Connects a social account of the actor.
#[derive(Clone, Debug)]
pub struct ConnectSocialAccount {
    /// The account that will be.
    pub id: SocialAccountId,
    /// The platform.
    pub platform: PlatformName,
    /// What the owner calls it.
    pub display_name: DisplayName,
    /// What the platform wants to see.
    pub credentials: SecretString,
}

impl UseCase for ConnectSocialAccount {
    fn action(&self) -> Action {
        Action::ManageSocialAccounts
    }

    async fn decide(&self, unit: &mut Unit<'_>) -> Result<(), CommandError> {
        let user_id = unit.actor().user_id().ok_or(CommandError::Forbidden)?;
        // Whoever is erased meanwhile must not be left with an account that nobody erases.
        let user = unit.load::<User>(user_id.0).await?;
        if user.aggregate.is_erased() {
            return Err(CommandError::Unauthenticated);
        }
        unit.require_unchanged(&user);
        let mut account = unit.load::<SocialAccount>(self.id.0).await?;
        let credentials = sealed(unit, self.id, &self.credentials).await?;
        let connect = SocialAccountCommand::Connect {
            user_id,
            platform: self.platform.clone(),
            display_name: Personal::new(self.display_name.clone()),
            credentials,
        };
        unit.handle(&mut account, connect).await
    }

    fn ids(&self) -> serde_json::Value {
        json!({ "socialAccountId": self.id })
    }
}

/// Replaces the credentials of a social account.
#[derive(Clone, Debug)]
pub struct RotateCredentials {
    /// The account.
    pub id: SocialAccountId,
    /// The new credentials.
    pub credentials: SecretString,
}

impl UseCase for RotateCredentials {
    fn action(&self) -> Action {
        Action::ManageSocialAccounts
    }

    async fn decide(&self, unit: &mut Unit<'_>) -> Result<(), CommandError> {
        let mut account = unit.load_to_change::<SocialAccount>(self.id.0).await?;
        // Before anything is sealed: there may be no such account, and no key.
        account.aggregate.active_platform().map_err(crate::Refusal::from)?;
        let credentials = sealed(unit, self.id, &self.credentials).await?;
        unit.handle(&mut account, SocialAccountCommand::RotateCredentials { credentials }).await
    }

    fn subject(&self) -> Option<&'static str> {
        Some("socialAccountId")
    }

    fn contended(&self) -> Option<Uuid> {
        Some(self.id.0)
    }
}

async fn sealed(
    unit: &mut Unit<'_>,
    id: SocialAccountId,
    clear: &SecretString,
) -> Result<orion_domain::values::Ciphertext, CommandError> {
    Ok(unit.seal_text(id.0, &credentials_place(id), clear.expose_secret()).await?)
}
