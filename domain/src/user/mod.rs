//! A user: who may sign in, under which role, and how the person wants to appear.

mod command;
mod error;
mod event;
mod profile;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::command::UserCommand;
pub use self::error::UserError;
pub use self::event::UserEvent;
pub use self::profile::{OAuthAccount, ProfileChange};
use crate::aggregate::{AggregateRoot, Claim, ClaimChange};
use crate::notification::NotificationPreferences;
use crate::values::{
    Email, Json, OAuthAccountId, OAuthProvider, Patch, Personal, RegisteredVia, Role, UserId,
    Username,
};

/// How long after one mail to verify the address another may be asked for.
const VERIFICATION_EVERY: TimeDelta = TimeDelta::minutes(1);

/// How many such mails may be asked for within [`VERIFICATION_PERIOD`]: the address may be that of
/// somebody who never wanted any.
const VERIFICATIONS_MAX: usize = 5;

/// See [`VERIFICATIONS_MAX`].
const VERIFICATION_PERIOD: TimeDelta = TimeDelta::hours(24);

/// How many notifications may be marked as read by their ids at once.
pub const MARKED_READ_MAX: usize = 100;

/// The user in whose name Orion itself acts; nobody can sign in as it.
pub const SYSTEM_ID: UserId = UserId(Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0001));

/// The state that decisions about a user need; `None` before the user was registered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct User(Option<State>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    email: Personal<Email>,
    password_hash: Option<Personal<String>>,
    role: Role,
    active: bool,
    email_verified: bool,
    /// When the last mails to verify the address were asked for, at most [`VERIFICATIONS_MAX`].
    verifications: Vec<DateTime<Utc>>,
    settings: Personal<Json>,
    /// Everything up to this position of the log was marked as read.
    notifications_read_up_to: i64,
    username: Option<Personal<Username>>,
    erased: bool,
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

    /// True once the person is forgotten.
    pub fn is_erased(&self) -> bool {
        self.0.as_ref().is_some_and(|state| state.erased)
    }

    /// The login identifier.
    pub fn email(&self) -> Option<&Email> {
        self.0.as_ref().and_then(|state| state.email.expose())
    }

    /// True when the user has shown to read the mail of the address.
    pub fn is_email_verified(&self) -> bool {
        self.0.as_ref().is_some_and(|state| state.email_verified)
    }

    /// True when the user may sign in by this identity.
    pub fn has_identity(&self, provider: OAuthProvider, user_id: &Personal<String>) -> bool {
        self.0.as_ref().is_some_and(|state| state.has_identity(provider, user_id))
    }

    /// What the user wants to be told of, and how.
    pub fn notification_preferences(&self) -> NotificationPreferences {
        NotificationPreferences::of(self.settings())
    }

    /// The preferences as they are.
    pub fn settings(&self) -> Option<&Json> {
        self.0.as_ref().and_then(|state| state.settings.expose())
    }
}

impl State {
    fn active(&self) -> Result<(), UserError> {
        if self.active { Ok(()) } else { Err(UserError::Inactive) }
    }

    fn unverified(&self) -> Result<(), UserError> {
        if self.email_verified { Err(UserError::AlreadyVerified) } else { Ok(()) }
    }

    /// From when on another mail to verify the address may be asked for.
    fn next_verification(&self) -> Option<DateTime<Utc>> {
        let rested = *self.verifications.last()? + VERIFICATION_EVERY;
        let oldest = self.verifications.len().checked_sub(VERIFICATIONS_MAX);
        let oldest = oldest.and_then(|index| self.verifications.get(index));
        Some(oldest.map_or(rested, |oldest| rested.max(*oldest + VERIFICATION_PERIOD)))
    }

    fn has_identity(&self, provider: OAuthProvider, user_id: &Personal<String>) -> bool {
        self.oauth_accounts.values().any(|known| *known == (provider, user_id.clone()))
    }

    fn decide(&self, command: UserCommand) -> Result<Vec<UserEvent>, UserError> {
        if self.erased {
            return Err(UserError::Erased);
        }
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
                self.unverified()?;
                UserEvent::EmailVerified {}
            }
            UserCommand::RequestVerification { now } => {
                self.active()?;
                self.unverified()?;
                if let Some(not_before) = self.next_verification().filter(|next| now < *next) {
                    return Err(UserError::RequestedTooSoon { not_before });
                }
                UserEvent::VerificationRequested { requested_at: now }
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
            UserCommand::MarkNotificationsRead { up_to, ids } => {
                self.active()?;
                if ids.len() > MARKED_READ_MAX {
                    return Err(UserError::TooManyNotifications { count: ids.len() });
                }
                let up_to = if up_to > self.notifications_read_up_to { up_to } else { 0 };
                if up_to == 0 && ids.is_empty() {
                    return Ok(Vec::new());
                }
                UserEvent::NotificationsRead { up_to, ids }
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
            UserCommand::Erase => UserEvent::Erased {
                oauth_account_ids: self.oauth_accounts.keys().copied().collect(),
            },
        }])
    }
}

/// The claim that makes an e-mail address the login of one user only.
pub fn email_claim(email: &Email) -> Claim {
    Claim {
        namespace: "user.email",
        value: email.as_str().to_owned(),
        personal: true,
        taken_code: "EMAIL_TAKEN",
        field: "email",
    }
}

fn username_claim(username: &Username) -> Claim {
    Claim {
        namespace: "user.username",
        value: username.as_str().to_owned(),
        personal: true,
        taken_code: "USERNAME_TAKEN",
        field: "username",
    }
}

/// The claim that makes an external identity belong to one user only.
pub fn oauth_claim(provider: OAuthProvider, provider_user_id: &str) -> Claim {
    Claim {
        namespace: "user.oauth",
        value: format!("{provider}:{provider_user_id}"),
        personal: true,
        taken_code: "OAUTH_ACCOUNT_TAKEN",
        field: "provider",
    }
}

impl AggregateRoot for User {
    const EVENT_TYPES: &'static [(&'static str, &'static str)] = UserEvent::TYPES;
    const SNAPSHOT_SHAPE: i32 = 3;

    fn exists(&self) -> bool {
        self.0.is_some()
    }

    fn subject(&self, id: Uuid) -> Option<Uuid> {
        Some(id)
    }

    fn decide(&self, command: UserCommand) -> Result<Vec<UserEvent>, UserError> {
        match (&self.0, command) {
            (Some(state), command) => state.decide(command),
            (None, UserCommand::Register { email, password_hash, name, role, email_verified }) => {
                let via = RegisteredVia::of_password(password_hash.is_some());
                Ok(vec![UserEvent::Registered {
                    email,
                    password_hash,
                    name,
                    role,
                    email_verified,
                    via,
                }])
            }
            (None, _) => Err(UserError::NotFound),
        }
    }

    fn claims(&self, event: &UserEvent) -> Vec<ClaimChange> {
        // An erased value claims nothing: what its holder had was freed with the key.
        match event {
            UserEvent::Registered { email, .. } => email
                .expose()
                .map(|email| ClaimChange::Take(email_claim(email)))
                .into_iter()
                .collect(),
            UserEvent::ProfileUpdated { change } => {
                let current = self.0.as_ref().and_then(|state| state.username.as_ref());
                let change = change.username.clone().against(current);
                let released = match &change {
                    Patch::Keep => None,
                    Patch::Clear | Patch::Set(_) => current,
                };
                let released = released.and_then(Personal::expose);
                let taken = change.set_value().and_then(Personal::expose);
                let released = released.map(|old| ClaimChange::Release(username_claim(old)));
                let taken = taken.map(|new| ClaimChange::Take(username_claim(new)));
                released.into_iter().chain(taken).collect()
            }
            UserEvent::OAuthAccountLinked { account } => {
                let id = account.provider_user_id.expose();
                id.map(|id| ClaimChange::Take(oauth_claim(account.provider, id)))
                    .into_iter()
                    .collect()
            }
            UserEvent::OAuthAccountUnlinked { account_id } => {
                let linked = self.0.as_ref().and_then(|state| state.oauth_accounts.get(account_id));
                linked
                    .and_then(|(provider, id)| Some((provider, id.expose()?)))
                    .map(|(provider, id)| ClaimChange::Release(oauth_claim(*provider, id)))
                    .into_iter()
                    .collect()
            }
            UserEvent::EmailVerified {}
            | UserEvent::VerificationRequested { .. }
            | UserEvent::PasswordChanged { .. }
            | UserEvent::SettingsUpdated { .. }
            | UserEvent::NotificationsRead { .. }
            | UserEvent::RoleChanged { .. }
            | UserEvent::Deactivated {}
            | UserEvent::Reactivated {}
            | UserEvent::LoggedIn { .. }
            | UserEvent::Erased { .. } => Vec::new(),
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
            (
                empty @ None,
                UserEvent::Registered {
                    email,
                    password_hash,
                    role,
                    email_verified,
                    name: _,
                    via: _,
                },
            ) => {
                *empty = Some(State {
                    email,
                    password_hash,
                    role,
                    active: true,
                    email_verified,
                    verifications: Vec::new(),
                    settings: Personal::new(Json::empty_object()),
                    notifications_read_up_to: 0,
                    username: None,
                    erased: false,
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
            UserEvent::VerificationRequested { requested_at } => {
                state.verifications.push(requested_at);
                let superfluous = state.verifications.len().saturating_sub(VERIFICATIONS_MAX);
                state.verifications.drain(..superfluous);
            }
            UserEvent::PasswordChanged { password_hash } => {
                state.password_hash = Some(password_hash);
            }
            UserEvent::SettingsUpdated { settings } => state.settings = settings,
            UserEvent::NotificationsRead { up_to, .. } => {
                state.notifications_read_up_to = state.notifications_read_up_to.max(up_to);
            }
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
            UserEvent::Erased { .. } => {
                *state = State {
                    email: Personal::erased(),
                    password_hash: None,
                    role: state.role,
                    active: false,
                    email_verified: false,
                    verifications: Vec::new(),
                    settings: Personal::erased(),
                    notifications_read_up_to: 0,
                    username: None,
                    erased: true,
                    oauth_accounts: BTreeMap::new(),
                };
            }
        }
    }
}
