//! A user: who may sign in, under which role, and how the person wants to appear.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

use crate::aggregate::{AggregateRoot, Claim, ClaimChange, Rejection};
use crate::event::events;
use crate::values::{
    AvatarUrl, Bio, Email, FirstName, Json, LastName, Name, OAuthAccountId, OAuthProvider, Patch,
    Personal, Role, SessionId, TimeZone, Username,
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
    pub access_token: Option<Personal<String>>,
    /// Ciphertext of the refresh token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<Personal<String>>,
    /// When the access token ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_expires_at: Option<DateTime<Utc>>,
}

/// What may be asked of a user.
#[derive(Clone, Debug)]
pub enum UserCommand {
    /// Opens an account.
    Register {
        /// The login identifier.
        email: Personal<Email>,
        /// bcrypt hash; none for those who sign in elsewhere.
        password_hash: Option<Personal<String>>,
        /// The display name.
        name: Personal<Name>,
        /// What the user may do.
        role: Role,
        /// True where somebody trusted vouches for the address.
        email_verified: bool,
    },
    /// Changes how the user appears.
    UpdateProfile(ProfileChange),
    /// The user has shown to read the mail of the address.
    VerifyEmail,
    /// Replaces the password.
    ChangePassword {
        /// bcrypt hash of the new one.
        password_hash: Personal<String>,
    },
    /// Replaces the preferences.
    UpdateSettings {
        /// All of them, as an object.
        settings: Personal<Json>,
    },
    /// Changes what the user may do.
    ChangeRole {
        /// The new role.
        role: Role,
    },
    /// Keeps the user out.
    Deactivate,
    /// Lets the user in again.
    Reactivate,
    /// The user signed in.
    LogIn {
        /// The session that began.
        session_id: SessionId,
    },
    /// Links an external identity.
    LinkOAuthAccount(OAuthAccount),
    /// Removes an external identity.
    UnlinkOAuthAccount {
        /// Which.
        account_id: OAuthAccountId,
    },
}

events! {
    /// What happened to a user.
    UserEvent {
        /// Rows of `users` and `user_settings` begin.
        "user.registered" "1" => Registered {
            /// The login identifier.
            email: Personal<Email>,
            /// bcrypt hash.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            password_hash: Option<Personal<String>>,
            /// The display name.
            name: Personal<Name>,
            /// What the user may do.
            role: Role,
            /// True where somebody trusted vouches for the address.
            email_verified: bool,
        },
        /// The user appears otherwise; what is missing stays.
        "user.profile_updated" "1" => ProfileUpdated {
            /// What changed.
            change: ProfileChange,
        },
        /// The address is the user's.
        "user.email_verified" "1" => EmailVerified {},
        /// Another password holds.
        "user.password_changed" "1" => PasswordChanged {
            /// bcrypt hash.
            password_hash: Personal<String>,
        },
        /// Other preferences hold.
        "user.settings_updated" "1" => SettingsUpdated {
            /// All of them.
            settings: Personal<Json>,
        },
        /// The user may do other things.
        "user.role_changed" "1" => RoleChanged {
            /// The new role.
            role: Role,
        },
        /// The user is kept out.
        "user.deactivated" "1" => Deactivated {},
        /// The user may come in again.
        "user.reactivated" "1" => Reactivated {},
        /// The user signed in.
        "user.logged_in" "1" => LoggedIn {
            /// The session that began.
            session_id: SessionId,
        },
        /// Row of `oauth_accounts` begins.
        "user.oauth_account_linked" "1" => OAuthAccountLinked {
            /// The identity.
            account: OAuthAccount,
        },
        /// Row of `oauth_accounts` ends.
        "user.oauth_account_unlinked" "1" => OAuthAccountUnlinked {
            /// Which.
            account_id: OAuthAccountId,
        },
    }
}

/// Why a command on a user was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum UserError {
    /// No such user, or not one that the caller may see.
    #[error("there is no such user")]
    NotFound,
    /// The id is taken.
    #[error("a user with this id exists already")]
    AlreadyExists,
    /// The account is closed.
    #[error("the user is not active")]
    Inactive,
    /// The account is open.
    #[error("the user is active already")]
    AlreadyActive,
    /// The address is verified.
    #[error("the e-mail is verified already")]
    AlreadyVerified,
    /// No such external identity.
    #[error("there is no such linked account")]
    UnknownOAuthAccount,
    /// The identity is linked.
    #[error("this account is linked already")]
    AlreadyLinked,
    /// Nobody may lock himself out.
    #[error("the last way to sign in cannot be removed")]
    LastLogin,
}

impl Rejection for UserError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound | Self::UnknownOAuthAccount => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::Inactive => "USER_INACTIVE",
            Self::AlreadyActive => "ALREADY_ACTIVE",
            Self::AlreadyVerified => "ALREADY_VERIFIED",
            Self::AlreadyLinked => "ALREADY_LINKED",
            Self::LastLogin => "LAST_LOGIN",
        }
    }
}

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

    /// The preferences as they are.
    pub fn settings(&self) -> Option<&Json> {
        self.0.as_ref().map(|state| state.settings.expose())
    }
}

impl State {
    fn active(&self) -> Result<(), UserError> {
        if self.active { Ok(()) } else { Err(UserError::Inactive) }
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
                let linked = self.oauth_accounts.iter().any(|(id, (provider, user_id))| {
                    *id == account.account_id
                        || (*provider == account.provider && *user_id == account.provider_user_id)
                });
                if linked {
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

fn oauth_claim(provider: OAuthProvider, provider_user_id: &Personal<String>) -> Claim {
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
