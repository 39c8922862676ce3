//! Forgetting a person: the key of everything personal is destroyed with the event that says so.

use orion_domain::values::{Role, SocialAccountId, UserId};
use orion_domain::{SocialAccount, SocialAccountCommand, User, UserCommand};
use uuid::Uuid;

use crate::error::{CommandError, Refusal};
use crate::policy::Action;
use crate::unit::{Unit, UseCase};
use crate::users::require_admin;

/// Forgets a user; for admins, and for oneself.
///
/// One commit writes the event, destroys the user's key, and drops claims and snapshots. The reactor
/// [`EraseBelongings`](crate::reactors::EraseBelongings) does the rest.
#[derive(Clone, Copy, Debug)]
pub struct EraseUser {
    /// Who is forgotten.
    pub user_id: UserId,
}

impl UseCase for EraseUser {
    fn action(&self) -> Action {
        Action::EraseUser
    }

    async fn decide(&self, unit: &mut Unit<'_>) -> Result<(), CommandError> {
        let mut user = unit.load_to_change::<User>(self.user_id.0).await?;
        if unit.actor().user_id() != Some(self.user_id) {
            if user.version > 0 {
                require_admin(unit).await?;
            }
        } else if user.aggregate.active_role() == Some(Role::Admin) {
            // One admin always stays.
            let message = "ask another admin to erase your own account";
            return Err(Refusal::new("OWN_ACCOUNT", message).at("userId").into());
        }
        unit.handle(&mut user, UserCommand::Erase).await?;
        unit.erase(self.user_id.0);
        Ok(())
    }

    fn subject(&self) -> Option<&'static str> {
        Some("userId")
    }

    fn contended(&self) -> Option<Uuid> {
        Some(self.user_id.0)
    }
}

/// Forgets a social account, whose owner was erased.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EraseSocialAccount {
    pub id: SocialAccountId,
}

impl UseCase for EraseSocialAccount {
    fn action(&self) -> Action {
        Action::Internal
    }

    async fn decide(&self, unit: &mut Unit<'_>) -> Result<(), CommandError> {
        let mut account = unit.load::<SocialAccount>(self.id.0).await?;
        let before = account.version;
        unit.handle(&mut account, SocialAccountCommand::Erase).await?;
        if account.version > before {
            unit.erase(self.id.0);
        }
        Ok(())
    }

    fn contended(&self) -> Option<Uuid> {
        Some(self.id.0)
    }
}
