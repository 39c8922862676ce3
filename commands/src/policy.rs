//! Who may do what, in one place.

use orion_domain::values::{Role, UserId};

use crate::actor::Actor;
use crate::error::CommandError;

/// Everything that can be asked of Orion and that has a rule of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Open an account, sign in, renew or end a session.
    Authenticate,
    /// Read what one may see.
    Read,
    /// Read the log, the users and the providers.
    Audit,
    /// Change the own account.
    ManageOwnAccount,
    /// Forget a person: an admin anyone else, others themselves.
    EraseUser,
    /// Change others' accounts.
    ManageUsers,
    /// Detect, rescore, expire and archive trends.
    ManageTrends,
    /// Draft contents, and change and generate the own.
    ManageContents,
    /// Approve and reject contents.
    ReviewContents,
    /// Register and configure providers.
    ManageProviders,
    /// Connect social accounts, and change the own.
    ManageSocialAccounts,
    /// Publish the own contents and record the results.
    Publish,
    /// What only Orion itself does.
    Internal,
}

impl Action {
    /// Every action, for tests that must not miss one.
    pub const ALL: &'static [Self] = &[
        Self::Authenticate,
        Self::Read,
        Self::Audit,
        Self::ManageOwnAccount,
        Self::EraseUser,
        Self::ManageUsers,
        Self::ManageTrends,
        Self::ManageContents,
        Self::ReviewContents,
        Self::ManageProviders,
        Self::ManageSocialAccounts,
        Self::Publish,
        Self::Internal,
    ];
}

/// Checks the actor's role. What belongs to whom is asked of [`may_touch`].
pub fn allow(actor: &Actor, action: Action) -> Result<(), CommandError> {
    let role = match actor {
        Actor::System => return Ok(()),
        Actor::Anonymous if action == Action::Authenticate => return Ok(()),
        Actor::Anonymous => return Err(CommandError::Unauthenticated),
        Actor::User { role, .. } => *role,
    };
    let allowed = match action {
        Action::Authenticate | Action::Read | Action::ManageOwnAccount | Action::EraseUser => true,
        Action::ManageTrends
        | Action::ManageContents
        | Action::ManageSocialAccounts
        | Action::Publish => role != Role::Viewer,
        Action::Audit | Action::ManageUsers | Action::ReviewContents | Action::ManageProviders => {
            role == Role::Admin
        }
        Action::Internal => false,
    };
    if allowed { Ok(()) } else { Err(CommandError::Forbidden) }
}

/// True when the actor may see and command what belongs to `owner`; `None` belongs to everyone.
/// What one may not touch is, to him, not there.
pub fn may_touch(actor: &Actor, owner: Option<UserId>) -> bool {
    owner.is_none() || actor.is_admin() || actor.user_id() == owner
}

#[cfg(test)]
mod tests {
    use super::*;
    use orion_domain::values::SessionId;
    use uuid::Uuid;

    fn user(role: Role) -> Actor {
        Actor::User { id: UserId(Uuid::from_u128(1)), role, session_id: SessionId(Uuid::nil()) }
    }

    /// Action, and whether anonymous, viewer, editor, admin may do it.
    const TABLE: &[(Action, [bool; 4])] = &[
        (Action::Authenticate, [true, true, true, true]),
        (Action::Read, [false, true, true, true]),
        (Action::Audit, [false, false, false, true]),
        (Action::ManageOwnAccount, [false, true, true, true]),
        (Action::EraseUser, [false, true, true, true]),
        (Action::ManageUsers, [false, false, false, true]),
        (Action::ManageTrends, [false, false, true, true]),
        (Action::ManageContents, [false, false, true, true]),
        (Action::ReviewContents, [false, false, false, true]),
        (Action::ManageProviders, [false, false, false, true]),
        (Action::ManageSocialAccounts, [false, false, true, true]),
        (Action::Publish, [false, false, true, true]),
        (Action::Internal, [false, false, false, false]),
    ];

    #[test]
    fn roles_may_do_what_the_table_says() {
        assert_eq!(TABLE.len(), Action::ALL.len());
        for (action, expected) in TABLE {
            let actors =
                [Actor::Anonymous, user(Role::Viewer), user(Role::Editor), user(Role::Admin)];
            let found = actors.map(|actor| allow(&actor, *action).is_ok());
            assert_eq!(found, *expected, "{action:?}");
            assert!(allow(&Actor::System, *action).is_ok());
        }
    }

    #[test]
    fn only_owners_and_admins_touch_what_is_owned() {
        let (own, other) = (Some(UserId(Uuid::from_u128(1))), Some(UserId(Uuid::from_u128(2))));
        assert!(may_touch(&user(Role::Editor), own) && !may_touch(&user(Role::Editor), other));
        assert!(may_touch(&user(Role::Admin), other) && may_touch(&user(Role::Viewer), None));
        assert!(!may_touch(&Actor::Anonymous, own));
    }
}
