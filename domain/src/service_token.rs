//! A service token: how a machine, such as a worker of the pipeline, shows who it is.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

use crate::aggregate::{AggregateRoot, Claim, ClaimChange, Rejection};
use crate::event::events;
use crate::values::{Scopes, ServiceTokenName, TokenHash, UserId};

/// What may be asked of a service token.
#[derive(Clone, Debug)]
pub enum ServiceTokenCommand {
    /// Hands out a token.
    Issue {
        /// What admins call it, unique among living tokens.
        name: ServiceTokenName,
        /// What it is for.
        scopes: Scopes,
        /// SHA-256 of the token.
        token_hash: TokenHash,
        /// The admin who hands it out.
        issued_by: UserId,
        /// From when on it is refused; never, if not given.
        expires_at: Option<DateTime<Utc>>,
        /// When it is handed out.
        now: DateTime<Utc>,
    },
    /// Refuses the token from now on.
    Revoke,
}

events! {
    /// What happened to a service token.
    ServiceTokenEvent {
        /// Row of `service_tokens` begins.
        "service_token.issued" "1" => Issued {
            /// What admins call it.
            name: ServiceTokenName,
            /// What it is for.
            scopes: Scopes,
            /// SHA-256 of the token.
            token_hash: TokenHash,
            /// The admin who handed it out.
            issued_by: UserId,
            /// From when on it is refused.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            expires_at: Option<DateTime<Utc>>,
        },
        /// The token is refused, and its name is free.
        "service_token.revoked" "1" => Revoked {},
    }
}

/// Why a command on a service token was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ServiceTokenError {
    /// No such token.
    #[error("there is no such service token")]
    NotFound,
    /// The id is taken.
    #[error("a service token with this id exists already")]
    AlreadyExists,
    /// It would have expired before it was handed out.
    #[error("the expiry must be in the future")]
    ExpiryPassed,
    /// It is refused already.
    #[error("the service token is revoked already")]
    AlreadyRevoked,
}

impl Rejection for ServiceTokenError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::ExpiryPassed => "EXPIRY_PASSED",
            Self::AlreadyRevoked => "ALREADY_REVOKED",
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::ExpiryPassed => Some("expiresAt"),
            Self::NotFound | Self::AlreadyExists | Self::AlreadyRevoked => None,
        }
    }
}

/// The state that decisions about a service token need; `None` before it was issued.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServiceToken(Option<State>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    name: ServiceTokenName,
    credential: Credential,
}

/// What decides whether a token that somebody shows is accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// SHA-256 of the token.
    pub token_hash: TokenHash,
    /// What it is for.
    pub scopes: Scopes,
    /// From when on it is refused.
    pub expires_at: Option<DateTime<Utc>>,
    /// True when it is refused already.
    pub revoked: bool,
}

impl Credential {
    /// What the bearer of a token with this hash may do now; `None` when it is refused.
    pub fn admits(&self, presented: &TokenHash, now: DateTime<Utc>) -> Option<Scopes> {
        let is_alive = !self.revoked && self.expires_at.is_none_or(|end| now < end);
        (self.token_hash == *presented && is_alive).then_some(self.scopes)
    }
}

impl ServiceToken {
    /// What a token that somebody shows is compared with; `None` before it was issued.
    pub fn credential(&self) -> Option<&Credential> {
        self.0.as_ref().map(|state| &state.credential)
    }
}

impl AggregateRoot for ServiceToken {
    const EVENT_TYPES: &'static [(&'static str, &'static str)] = ServiceTokenEvent::TYPES;
    const SNAPSHOT_SHAPE: i32 = 1;

    fn exists(&self) -> bool {
        self.0.is_some()
    }

    fn decide(
        &self,
        command: ServiceTokenCommand,
    ) -> Result<Vec<ServiceTokenEvent>, ServiceTokenError> {
        let event = match (&self.0, command) {
            (
                None,
                ServiceTokenCommand::Issue { name, scopes, token_hash, issued_by, expires_at, now },
            ) => {
                if expires_at.is_some_and(|end| end <= now) {
                    return Err(ServiceTokenError::ExpiryPassed);
                }
                ServiceTokenEvent::Issued { name, scopes, token_hash, issued_by, expires_at }
            }
            (Some(_), ServiceTokenCommand::Issue { .. }) => {
                return Err(ServiceTokenError::AlreadyExists);
            }
            (None, ServiceTokenCommand::Revoke) => return Err(ServiceTokenError::NotFound),
            (Some(state), ServiceTokenCommand::Revoke) if state.credential.revoked => {
                return Err(ServiceTokenError::AlreadyRevoked);
            }
            (Some(_), ServiceTokenCommand::Revoke) => ServiceTokenEvent::Revoked {},
        };
        Ok(vec![event])
    }

    fn claims(&self, event: &ServiceTokenEvent) -> Vec<ClaimChange> {
        match event {
            ServiceTokenEvent::Issued { name, .. } => vec![ClaimChange::Take(name_claim(name))],
            ServiceTokenEvent::Revoked {} => {
                let held = self.0.iter().map(|state| name_claim(&state.name));
                held.map(ClaimChange::Release).collect()
            }
        }
    }
}

/// A name is taken until the token is revoked, also when it has expired.
fn name_claim(name: &ServiceTokenName) -> Claim {
    Claim {
        namespace: "service_token.name",
        value: name.as_str().to_owned(),
        personal: false,
        taken_code: "NAME_TAKEN",
        field: "name",
    }
}

impl Aggregate for ServiceToken {
    const TYPE: &'static str = "service_token";
    type Command = ServiceTokenCommand;
    type Event = ServiceTokenEvent;
    type Error = ServiceTokenError;
    type Services = ();

    async fn handle(
        &mut self,
        command: ServiceTokenCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), ServiceTokenError> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: ServiceTokenEvent) {
        match event {
            ServiceTokenEvent::Issued { name, scopes, token_hash, expires_at, .. } => {
                let credential = Credential { token_hash, scopes, expires_at, revoked: false };
                self.0 = Some(State { name, credential });
            }
            ServiceTokenEvent::Revoked {} => {
                if let Some(state) = &mut self.0 {
                    state.credential.revoked = true;
                }
            }
        }
    }
}
