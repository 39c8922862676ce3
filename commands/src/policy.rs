//! Who may do what, and who may touch what, in one place.

use orion_domain::values::{Role, Scope, Scopes, UserId};

use crate::actor::Actor;
use crate::error::CommandError;

/// Everything that can be asked of Orion and that has a rule of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Open an account, sign in, renew or end a session.
    Authenticate,
    /// Read what one may see.
    Read,
    /// Read the log, the users, the providers and the service tokens.
    Audit,
    /// Change the own account.
    ManageOwnAccount,
    /// Forget a person: an admin anyone else, others themselves.
    EraseUser,
    /// Change others' accounts.
    ManageUsers,
    /// Issue and revoke service tokens.
    ManageServiceTokens,
    /// Detect, rescore, expire and archive trends.
    ManageTrends,
    /// Draft contents, change the own, hand them to the pipeline and to the reviewers.
    ManageContents,
    /// Start and end the stages of contents, and bring what they make.
    RunPipeline,
    /// Approve and reject contents.
    ReviewContents,
    /// Register and configure providers.
    ManageProviders,
    /// Connect social accounts, and change the own.
    ManageSocialAccounts,
    /// Publish the own contents, and try again.
    Publish,
    /// Record how attempts to publish went.
    RecordPublish,
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
        Self::ManageServiceTokens,
        Self::ManageTrends,
        Self::ManageContents,
        Self::RunPipeline,
        Self::ReviewContents,
        Self::ManageProviders,
        Self::ManageSocialAccounts,
        Self::Publish,
        Self::RecordPublish,
        Self::Internal,
    ];
}

/// Checks the actor's role or scopes. What belongs to whom is asked of [`may_touch`].
pub fn allow(actor: &Actor, action: Action) -> Result<(), CommandError> {
    let allowed = match actor {
        Actor::System => true,
        Actor::Anonymous if action == Action::Authenticate => true,
        Actor::Anonymous => return Err(CommandError::Unauthenticated),
        Actor::User { role, .. } => role_allows(*role, action),
        Actor::Service { scopes, .. } => scopes_allow(*scopes, action),
    };
    if allowed { Ok(()) } else { Err(CommandError::Forbidden) }
}

fn role_allows(role: Role, action: Action) -> bool {
    match action {
        Action::Authenticate | Action::Read | Action::ManageOwnAccount | Action::EraseUser => true,
        Action::ManageTrends
        | Action::ManageContents
        | Action::RunPipeline
        | Action::ManageSocialAccounts
        | Action::Publish
        | Action::RecordPublish => role != Role::Viewer,
        Action::Audit
        | Action::ManageUsers
        | Action::ManageServiceTokens
        | Action::ReviewContents
        | Action::ManageProviders => role == Role::Admin,
        Action::Internal => false,
    }
}

/// A machine has no account and decides nothing that is a person's to decide.
fn scopes_allow(scopes: Scopes, action: Action) -> bool {
    match action {
        Action::Read => true,
        Action::ManageTrends => scopes.contain(Scope::Trends),
        Action::RunPipeline => scopes.contain(Scope::Pipeline),
        Action::RecordPublish => scopes.contain(Scope::Publish),
        Action::Authenticate
        | Action::Audit
        | Action::ManageOwnAccount
        | Action::EraseUser
        | Action::ManageUsers
        | Action::ManageServiceTokens
        | Action::ManageContents
        | Action::ReviewContents
        | Action::ManageProviders
        | Action::ManageSocialAccounts
        | Action::Publish
        | Action::Internal => false,
    }
}

/// A part of Orion whose things are seen and commanded by the same rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Area {
    /// Trends: nobody's.
    Trends,
    /// Contents, with their media assets, runs, publish requests and records.
    Contents,
    /// Users, with their settings, sessions, linked identities and social accounts.
    Accounts,
    /// Providers and service tokens: Orion's.
    Administration,
}

impl Area {
    /// Every area, for tests that must not miss one.
    pub const ALL: &'static [Self] =
        &[Self::Trends, Self::Contents, Self::Accounts, Self::Administration];
}

/// How much of an area an actor sees and commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// All of it.
    All,
    /// What belongs to this user.
    Own(UserId),
    /// Nothing.
    Nothing,
}

/// How far an actor reaches into an area; what the actor may do there is asked of [`allow`].
pub fn reach(actor: &Actor, area: Area) -> Reach {
    match actor {
        Actor::System | Actor::User { role: Role::Admin, .. } => Reach::All,
        Actor::User { id, role: Role::Editor | Role::Viewer, .. } => match area {
            Area::Trends => Reach::All,
            Area::Contents | Area::Accounts => Reach::Own(*id),
            Area::Administration => Reach::Nothing,
        },
        Actor::Service { scopes, .. } => match area {
            Area::Trends => Reach::All,
            Area::Contents if scopes.contain(Scope::Pipeline) || scopes.contain(Scope::Publish) => {
                Reach::All
            }
            Area::Contents | Area::Accounts | Area::Administration => Reach::Nothing,
        },
        Actor::Anonymous => Reach::Nothing,
    }
}

/// True when the actor may see and command what belongs to `owner`.
/// What one may not touch is, to him, not there.
pub fn may_touch(actor: &Actor, area: Area, owner: Option<UserId>) -> bool {
    match reach(actor, area) {
        Reach::All => true,
        Reach::Own(user) => owner == Some(user),
        Reach::Nothing => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orion_domain::values::{ServiceTokenId, SessionId};
    use uuid::Uuid;

    fn user(role: Role) -> Actor {
        Actor::User { id: UserId(Uuid::from_u128(1)), role, session_id: SessionId(Uuid::nil()) }
    }

    fn service(scope: Scope) -> Actor {
        let scopes = Scopes::parse(&[scope]).unwrap();
        Actor::Service { id: ServiceTokenId(Uuid::from_u128(3)), scopes }
    }

    /// Action; whether anonymous, viewer, editor, admin may do it; and whether a machine with the
    /// scope trends, pipeline, publish may.
    #[rustfmt::skip] // One entry a line.
    const TABLE: &[(Action, [bool; 4], [bool; 3])] = &[
        (Action::Authenticate, [true, true, true, true], [false, false, false]),
        (Action::Read, [false, true, true, true], [true, true, true]),
        (Action::Audit, [false, false, false, true], [false, false, false]),
        (Action::ManageOwnAccount, [false, true, true, true], [false, false, false]),
        (Action::EraseUser, [false, true, true, true], [false, false, false]),
        (Action::ManageUsers, [false, false, false, true], [false, false, false]),
        (Action::ManageServiceTokens, [false, false, false, true], [false, false, false]),
        (Action::ManageTrends, [false, false, true, true], [true, false, false]),
        (Action::ManageContents, [false, false, true, true], [false, false, false]),
        (Action::RunPipeline, [false, false, true, true], [false, true, false]),
        (Action::ReviewContents, [false, false, false, true], [false, false, false]),
        (Action::ManageProviders, [false, false, false, true], [false, false, false]),
        (Action::ManageSocialAccounts, [false, false, true, true], [false, false, false]),
        (Action::Publish, [false, false, true, true], [false, false, false]),
        (Action::RecordPublish, [false, false, true, true], [false, false, true]),
        (Action::Internal, [false, false, false, false], [false, false, false]),
    ];

    #[test]
    fn roles_and_scopes_may_do_what_the_table_says() {
        assert_eq!(TABLE.len(), Action::ALL.len());
        for (action, by_role, by_scope) in TABLE {
            let actors =
                [Actor::Anonymous, user(Role::Viewer), user(Role::Editor), user(Role::Admin)];
            let found = actors.map(|actor| allow(&actor, *action).is_ok());
            assert_eq!(found, *by_role, "{action:?}");
            let machines = [Scope::Trends, Scope::Pipeline, Scope::Publish].map(service);
            let found = machines.map(|actor| allow(&actor, *action).is_ok());
            assert_eq!(found, *by_scope, "{action:?}");
            assert!(allow(&Actor::System, *action).is_ok());
        }
    }

    #[test]
    fn a_machine_with_more_scopes_may_do_what_each_allows_and_no_more() {
        for (action, _, by_scope) in TABLE {
            let id = ServiceTokenId(Uuid::from_u128(3));
            let all = Actor::Service { id, scopes: Scopes::parse(Scope::ALL).unwrap() };
            assert_eq!(allow(&all, *action).is_ok(), by_scope.contains(&true), "{action:?}");
        }
    }

    #[test]
    fn actors_reach_as_far_as_the_table_says() {
        use Reach::{All, Nothing, Own};
        let own = Own(UserId(Uuid::from_u128(1)));
        let table = [
            (Actor::System, [All, All, All, All]),
            (user(Role::Admin), [All, All, All, All]),
            (user(Role::Editor), [All, own, own, Nothing]),
            (user(Role::Viewer), [All, own, own, Nothing]),
            (service(Scope::Trends), [All, Nothing, Nothing, Nothing]),
            (service(Scope::Pipeline), [All, All, Nothing, Nothing]),
            (service(Scope::Publish), [All, All, Nothing, Nothing]),
            (Actor::Anonymous, [Nothing, Nothing, Nothing, Nothing]),
        ];
        for (actor, expected) in table {
            let found: Vec<_> = Area::ALL.iter().map(|area| reach(&actor, *area)).collect();
            assert_eq!(found, expected, "{actor:?}");
        }
    }

    #[test]
    fn only_owners_and_admins_touch_what_is_owned() {
        let (own, other) = (Some(UserId(Uuid::from_u128(1))), Some(UserId(Uuid::from_u128(2))));
        let touches = |actor: Actor, owner| may_touch(&actor, Area::Contents, owner);
        assert!(touches(user(Role::Editor), own) && !touches(user(Role::Editor), other));
        assert!(touches(user(Role::Admin), other) && !touches(user(Role::Viewer), None));
        assert!(touches(service(Scope::Pipeline), other) && !touches(service(Scope::Trends), own));
        assert!(!touches(Actor::Anonymous, own));
        assert!(may_touch(&user(Role::Viewer), Area::Trends, None));
    }
}
