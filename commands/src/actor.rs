//! Who sends a command, and what is known of the circumstances.

use orion_domain::values::{Role, Scopes, ServiceTokenId, SessionId, UserId};
use orion_store::{Metadata, Position};
use uuid::Uuid;

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// Nobody has signed in.
    Anonymous,
    /// A person.
    User {
        /// Who.
        id: UserId,
        /// What the person may do now.
        role: Role,
        /// The session that the access token belongs to.
        session_id: SessionId,
    },
    /// A machine, by its service token.
    Service {
        /// The token.
        id: ServiceTokenId,
        /// What it is for.
        scopes: Scopes,
    },
    /// Orion itself: the first start and the reactors.
    System,
}

impl Actor {
    /// The user who acts, if one does.
    pub fn user_id(&self) -> Option<UserId> {
        match self {
            Self::User { id, .. } => Some(*id),
            Self::Anonymous | Self::Service { .. } | Self::System => None,
        }
    }

    /// True for those who see and command everything.
    pub fn is_admin(&self) -> bool {
        match self {
            Self::User { role, .. } => *role == Role::Admin,
            Self::System => true,
            Self::Anonymous | Self::Service { .. } => false,
        }
    }

    /// The name in `metadata.actor` and in receipts.
    pub fn name(&self) -> String {
        match self {
            Self::Anonymous => "anonymous".to_owned(),
            Self::User { id, .. } => id.to_string(),
            Self::Service { id, .. } => format!("service:{id}"),
            Self::System => "system".to_owned(),
        }
    }
}

/// A command's circumstances. It has no `Debug`: an input may hold a password.
#[derive(Clone)]
pub struct Envelope {
    /// Who sends it.
    pub actor: Actor,
    /// The id that the sender gave the command, with the input as bytes, to know it again.
    pub command: Option<(Uuid, Vec<u8>)>,
    /// The version that the sender decided on.
    pub expected_version: Option<i64>,
    /// Ties together what belongs to one request.
    pub correlation_id: Option<String>,
    /// The event that caused it.
    pub causation_id: Option<Position>,
    /// The trace that it belongs to, as W3C writes it.
    pub traceparent: Option<String>,
}

impl Envelope {
    /// The plainest envelope of an actor.
    pub fn of(actor: Actor) -> Self {
        Self {
            actor,
            command: None,
            expected_version: None,
            correlation_id: None,
            causation_id: None,
            traceparent: None,
        }
    }

    /// What the events of this command say of it. `command_id` is the sender's, or a fresh one:
    /// it tells the store its own events from others' after a broken connection.
    pub(crate) fn metadata(&self, command_id: Uuid) -> Metadata {
        let mut metadata = Metadata::from([
            ("actor".to_owned(), self.actor.name()),
            ("command_id".to_owned(), command_id.to_string()),
        ]);
        let optional = [
            ("correlation_id", self.correlation_id.clone()),
            ("causation_id", self.causation_id.map(|position| position.to_string())),
            ("traceparent", self.traceparent.clone()),
        ];
        for (key, value) in optional {
            if let Some(value) = value {
                metadata.insert(key.to_owned(), value);
            }
        }
        metadata
    }
}
