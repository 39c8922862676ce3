//! A social account that a user connected, to publish through it.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregate::{AggregateRoot, Rejection};
use crate::event::events;
use crate::values::{Ciphertext, DisplayName, Personal, PlatformName, UserId};

/// What may be asked of a social account.
#[derive(Clone, Debug)]
pub enum SocialAccountCommand {
    /// Connects an account.
    Connect {
        /// Whose account it is.
        user_id: UserId,
        /// The platform, such as `youtube`.
        platform: PlatformName,
        /// What the owner calls it.
        display_name: Personal<DisplayName>,
        /// What the platform wants to see; encrypted by the caller.
        credentials: Ciphertext,
    },
    /// Replaces the credentials.
    RotateCredentials {
        /// The new ones; encrypted by the caller.
        credentials: Ciphertext,
    },
    /// Stops publishing through it.
    Deactivate,
    /// Its owner was erased: nothing personal of it may stay.
    Erase,
}

events! {
    /// What happened to a social account.
    SocialAccountEvent {
        /// Row of `social_accounts` begins, active.
        "social_account.connected" "1" => Connected {
            /// Whose account it is.
            user_id: UserId,
            /// The platform.
            platform: PlatformName,
            /// What the owner calls it.
            display_name: Personal<DisplayName>,
            /// Ciphertext of the credentials.
            credentials: Ciphertext,
        },
        /// The credentials were replaced.
        "social_account.credentials_rotated" "1" => CredentialsRotated {
            /// Ciphertext of the new ones.
            credentials: Ciphertext,
        },
        /// Nothing is published through it any more.
        "social_account.deactivated" "1" => Deactivated {},
        /// Its key was destroyed; the row stays, without what was personal.
        "social_account.erased" "1" => Erased {},
    }
}

/// Why a command on a social account was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SocialAccountError {
    /// No such account, or not one that the caller may see.
    #[error("there is no such social account")]
    NotFound,
    /// The id is taken.
    #[error("a social account with this id exists already")]
    AlreadyExists,
    /// It is not used any more.
    #[error("the social account is not active")]
    Inactive,
}

impl Rejection for SocialAccountError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::Inactive => "SOCIAL_ACCOUNT_INACTIVE",
        }
    }
}

/// The state that decisions about a social account need; `None` before it was connected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SocialAccount(Option<State>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    user_id: UserId,
    platform: PlatformName,
    active: bool,
    erased: bool,
}

impl SocialAccount {
    /// The platform of an account that may be published through.
    pub fn active_platform(&self) -> Result<&PlatformName, SocialAccountError> {
        match &self.0 {
            None => Err(SocialAccountError::NotFound),
            Some(State { active: false, .. }) => Err(SocialAccountError::Inactive),
            Some(State { platform, .. }) => Ok(platform),
        }
    }
}

impl AggregateRoot for SocialAccount {
    const EVENT_TYPES: &'static [(&'static str, &'static str)] = SocialAccountEvent::TYPES;
    const SNAPSHOT_SHAPE: i32 = 2;

    fn exists(&self) -> bool {
        self.0.is_some()
    }

    fn owner(&self) -> Option<UserId> {
        self.0.as_ref().map(|state| state.user_id)
    }

    fn subject(&self, id: Uuid) -> Option<Uuid> {
        Some(id)
    }

    fn decide(
        &self,
        command: SocialAccountCommand,
    ) -> Result<Vec<SocialAccountEvent>, SocialAccountError> {
        let event = match command {
            SocialAccountCommand::Connect { user_id, platform, display_name, credentials } => {
                if self.exists() {
                    return Err(SocialAccountError::AlreadyExists);
                }
                SocialAccountEvent::Connected { user_id, platform, display_name, credentials }
            }
            SocialAccountCommand::RotateCredentials { credentials } => {
                self.active_platform()?;
                SocialAccountEvent::CredentialsRotated { credentials }
            }
            SocialAccountCommand::Deactivate => {
                self.active_platform()?;
                SocialAccountEvent::Deactivated {}
            }
            SocialAccountCommand::Erase => match &self.0 {
                None => return Err(SocialAccountError::NotFound),
                Some(State { erased: true, .. }) => return Ok(Vec::new()),
                Some(_) => SocialAccountEvent::Erased {},
            },
        };
        Ok(vec![event])
    }
}

impl Aggregate for SocialAccount {
    const TYPE: &'static str = "social_account";
    type Command = SocialAccountCommand;
    type Event = SocialAccountEvent;
    type Error = SocialAccountError;
    type Services = ();

    async fn handle(
        &mut self,
        command: SocialAccountCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), SocialAccountError> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: SocialAccountEvent) {
        match event {
            SocialAccountEvent::Connected { user_id, platform, .. } => {
                self.0 = Some(State { user_id, platform, active: true, erased: false });
            }
            SocialAccountEvent::CredentialsRotated { .. } => {}
            SocialAccountEvent::Deactivated {} => {
                if let Some(state) = &mut self.0 {
                    state.active = false;
                }
            }
            SocialAccountEvent::Erased {} => {
                if let Some(state) = &mut self.0 {
                    state.active = false;
                    state.erased = true;
                }
            }
        }
    }
}
