//! An admin's commands on others' accounts.

use orion_domain::values::{Role, UserId};
use orion_domain::{User, UserCommand};
use uuid::Uuid;

use crate::error::{CommandError, Refusal};
use crate::policy::Action;
use crate::unit::{Unit, UseCase};

/// A command of an admin on somebody else's account.
///
/// The admin's own account is part of the commit: of two admins who take each other's rights at
/// the same time, one succeeds. And nobody changes the own account, so that one admin always stays.
#[derive(Clone, Debug)]
pub struct ManageUser {
    /// Whose account.
    pub user_id: UserId,
    /// The command.
    pub command: UserCommand,
}

impl UseCase for ManageUser {
    fn action(&self) -> Action {
        Action::ManageUsers
    }

    async fn decide(&self, unit: &mut Unit<'_>) -> Result<(), CommandError> {
        if unit.actor().user_id() == Some(self.user_id) {
            let message = "ask another admin to change your own account";
            return Err(Refusal::new("OWN_ACCOUNT", message).at("userId").into());
        }
        require_admin(unit).await?;
        let mut user = unit.load_to_change::<User>(self.user_id.0).await?;
        unit.handle(&mut user, self.command.clone()).await
    }

    fn subject(&self) -> Option<&'static str> {
        Some("userId")
    }

    fn contended(&self) -> Option<Uuid> {
        Some(self.user_id.0)
    }
}

/// Lets the commit succeed only while the actor is an admin.
pub(crate) async fn require_admin(unit: &mut Unit<'_>) -> Result<(), CommandError> {
    let Some(admin) = unit.actor().user_id() else { return Ok(()) };
    let admin = unit.load::<User>(admin.0).await?;
    if admin.aggregate.active_role() != Some(Role::Admin) {
        return Err(CommandError::Forbidden);
    }
    unit.require_unchanged(&admin);
    Ok(())
}
