//! A user: who may sign in, under which role, and how the person wants to appear.

mod command;
mod error;
mod event;
mod profile;

use std::collections::BTreeMap;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use self::command::UserCommand;
pub use self::error::UserError;
pub use self::event::UserEvent;
pub use self::profile::{OAuthAccount, ProfileChange};
use crate::aggregate::{AggregateRoot, Claim, ClaimChange};
use crate::values::{Email, Json, OAuthAccountId, OAuthProvider, Patch, Personal, Role, Username};

/// The state that decisions about a user need; `None` before the user was registered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct User(Option<State>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    password_hash: Option<Personal<String>>,
    role: Role,
    active: bool,
    email_verified: bool,
    settings: Personal<Json>,
    username: Option<Personal<Username>>,
    /// Provider and provider's user id of each linked identity.
    oauth_accounts: BTreeMap<OAuthAccountId, (OAuthProvider, Personal<String>)>,
}

impl User {
    /// What the user may do; `None` while the user may do nothing.
    pub fn active_role(&self) -> Option<Role> {
        self.0.as_ref().filter(|state| state.active).map(|state| state.role)
    }

    /// The bcrypt hash, for one who signs in by password.
    pub fn password_hash(&self) -> Option<&Personal<String>> {
        self.0.as_ref().and_then(|state| state.password_hash.as_ref())
    }

    /// True when the user may sign in by this identity.
    pub fn has_identity(&self, provider: OAuthProvider, user_id: &Personal<String>) -> bool {
        self.0.as_ref().is_some_and(|state| state.has_identity(provider, user_id))
    }

    /// The preferences as they are.
    pub fn settings(&self) -> Option<&Json> {
        self.0.as_ref().map(|state| state.settings.expose())
    }
}

impl State {
    fn active(&self) -> Result<(), UserError> {
        if self.active { Ok(()) } else { Err(UserError::Inactive) }
    }

    fn has_identity(&self, provider: OAuthProvider, user_id: &Personal<String>) -> bool {
        self.oauth_accounts.values().any(|known| *known == (provider, user_id.clone()))
    }

    fn decide(&self, command: UserCommand) -> Result<Vec<UserEvent>, UserError> {
        Ok(vec![match command {
            UserCommand::Register { .. } => return Err(UserError::AlreadyExists),
            UserCommand::UpdateProfile(change) => {
                self.active()?;
                if change == ProfileChange::default() {
                    return Ok(Vec::new());
                }
                UserEvent::ProfileUpdated { change }
            }
            UserCommand::VerifyEmail => {
                self.active()?;
                if self.email_verified {
                    return Err(UserError::AlreadyVerified);
                }
                UserEvent::EmailVerified {}
            }
            UserCommand::ChangePassword { password_hash } => {
                self.active()?;
                UserEvent::PasswordChanged { password_hash }
            }
            UserCommand::UpdateSettings { settings } => {
                self.active()?;
                if settings == self.settings {
                    return Ok(Vec::new());
                }
                UserEvent::SettingsUpdated { settings }
            }
            UserCommand::ChangeRole { role } => {
                if role == self.role {
                    return Ok(Vec::new());
                }
                UserEvent::RoleChanged { role }
            }
            UserCommand::Deactivate => {
                self.active()?;
                UserEvent::Deactivated {}
            }
            UserCommand::Reactivate => {
                if self.active {
                    return Err(UserError::AlreadyActive);
                }
                UserEvent::Reactivated {}
            }
            UserCommand::LogIn { session_id } => {
                self.active()?;
                UserEvent::LoggedIn { session_id }
            }
            UserCommand::LinkOAuthAccount(account) => {
                self.active()?;
                if self.oauth_accounts.contains_key(&account.account_id)
                    || self.has_identity(account.provider, &account.provider_user_id)
                {
                    return Err(UserError::AlreadyLinked);
                }
                UserEvent::OAuthAccountLinked { account }
            }
            UserCommand::UnlinkOAuthAccount { account_id } => {
                self.active()?;
                if !self.oauth_accounts.contains_key(&account_id) {
                    return Err(UserError::UnknownOAuthAccount);
                }
                if self.password_hash.is_none() && self.oauth_accounts.len() == 1 {
                    return Err(UserError::LastLogin);
                }
                UserEvent::OAuthAccountUnlinked { account_id }
            }
        }])
    }
}

/// The claim that makes an e-mail address the login of one user only.
pub fn email_claim(email: &Personal<Email>) -> Claim {
    Claim {
        namespace: "user.email",
        value: email.expose().as_str().to_owned(),
        personal: true,
        taken_code: "EMAIL_TAKEN",
        field: "email",
    }
}

fn username_claim(username: &Personal<Username>) -> Claim {
    Claim {
        namespace: "user.username",
        value: username.expose().as_str().to_owned(),
        personal: true,
        taken_code: "USERNAME_TAKEN",
        field: "username",
    }
}

/// The claim that makes an identity at a provider the login of one user only.
pub fn oauth_claim(provider: OAuthProvider, provider_user_id: &Personal<String>) -> Claim {
    Claim {
        namespace: "user.oauth",
        value: format!("{provider}:{}", provider_user_id.expose()),
        personal: true,
        taken_code: "OAUTH_ACCOUNT_TAKEN",
        field: "provider",
    }
}

impl AggregateRoot for User {
    const EVENT_TYPES: &'static [(&'static str, &'static str)] = UserEvent::TYPES;
    const SNAPSHOT_SHAPE: i32 = 1;

    fn exists(&self) -> bool {
        self.0.is_some()
    }

    fn decide(&self, command: UserCommand) -> Result<Vec<UserEvent>, UserError> {
        match (&self.0, command) {
            (Some(state), command) => state.decide(command),
            (None, UserCommand::Register { email, password_hash, name, role, email_verified }) => {
                Ok(vec![UserEvent::Registered { email, password_hash, name, role, email_verified }])
            }
            (None, _) => Err(UserError::NotFound),
        }
    }

    fn claims(&self, event: &UserEvent) -> Vec<ClaimChange> {
        match event {
            UserEvent::Registered { email, .. } => vec![ClaimChange::Take(email_claim(email))],
            UserEvent::ProfileUpdated { change } => {
                let current = self.0.as_ref().and_then(|state| state.username.as_ref());
                let change = change.username.clone().against(current);
                let released = match &change {
                    Patch::Keep => None,
                    Patch::Clear | Patch::Set(_) => current,
                };
                let released = released.map(|old| ClaimChange::Release(username_claim(old)));
                let taken = change.set_value().map(|new| ClaimChange::Take(username_claim(new)));
                released.into_iter().chain(taken).collect()
            }
            UserEvent::OAuthAccountLinked { account } => {
                vec![ClaimChange::Take(oauth_claim(account.provider, &account.provider_user_id))]
            }
            UserEvent::OAuthAccountUnlinked { account_id } => {
                let linked = self.0.as_ref().and_then(|state| state.oauth_accounts.get(account_id));
                linked
                    .map(|(provider, id)| ClaimChange::Release(oauth_claim(*provider, id)))
                    .into_iter()
                    .collect()
            }
            UserEvent::EmailVerified {}
            | UserEvent::PasswordChanged { .. }
            | UserEvent::SettingsUpdated { .. }
            | UserEvent::RoleChanged { .. }
            | UserEvent::Deactivated {}
            | UserEvent::Reactivated {}
            | UserEvent::LoggedIn { .. } => Vec::new(),
        }
    }
}

impl Aggregate for User {
    const TYPE: &'static str = "user";
    type Command = UserCommand;
    type Event = UserEvent;
    type Error = UserError;
    type Services = ();

    async fn handle(
        &mut self,
        command: UserCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), UserError> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: UserEvent) {
        let (state, event) = match (&mut self.0, event) {
            (empty @ None, UserEvent::Registered { password_hash, role, email_verified, .. }) => {
                *empty = Some(State {
                    password_hash,
                    role,
                    active: true,
                    email_verified,
                    settings: Personal::new(Json::empty_object()),
                    username: None,
                    oauth_accounts: BTreeMap::new(),
                });
                return;
            }
            (None, _) => return,
            (Some(state), event) => (state, event),
        };
        match event {
            UserEvent::Registered { .. } | UserEvent::LoggedIn { .. } => {}
            UserEvent::ProfileUpdated { change } => change.username.apply_to(&mut state.username),
            UserEvent::EmailVerified {} => state.email_verified = true,
            UserEvent::PasswordChanged { password_hash } => {
                state.password_hash = Some(password_hash);
            }
            UserEvent::SettingsUpdated { settings } => state.settings = settings,
            UserEvent::RoleChanged { role } => state.role = role,
            UserEvent::Deactivated {} => state.active = false,
            UserEvent::Reactivated {} => state.active = true,
            UserEvent::OAuthAccountLinked { account } => {
                state
                    .oauth_accounts
                    .insert(account.account_id, (account.provider, account.provider_user_id));
            }
            UserEvent::OAuthAccountUnlinked { account_id } => {
                state.oauth_accounts.remove(&account_id);
            }
        }
    }
}
