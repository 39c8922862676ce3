//! An AI provider that the pipeline may use, for everyone alike.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregate::{AggregateRoot, Claim, ClaimChange, Rejection};
use crate::event::events;
use crate::values::{Json, Personal, ProviderName, ProviderType};

/// What may be asked of a provider.
#[derive(Clone, Debug)]
pub enum ProviderCommand {
    /// Makes a provider known.
    Register {
        /// Its name, unique among providers.
        name: ProviderName,
        /// What it makes: `llm`, `image`, `tts`.
        provider_type: ProviderType,
        /// Keys, endpoints, models, limits.
        config: Option<Personal<Json>>,
        /// Higher is preferred.
        priority: i32,
    },
    /// Replaces its configuration.
    Configure {
        /// The new one, or none.
        config: Option<Personal<Json>>,
    },
    /// Lets the pipeline use it.
    Enable,
    /// Keeps the pipeline from using it.
    Disable,
    /// Changes how much it is preferred.
    Prioritize {
        /// Higher is preferred.
        priority: i32,
    },
}

events! {
    /// What happened to a provider.
    ProviderEvent {
        /// Row of `providers` begins, active.
        "provider.registered" "1" => Registered {
            /// Its name.
            name: ProviderName,
            /// What it makes.
            provider_type: ProviderType,
            /// Keys, endpoints, models, limits.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            config: Option<Personal<Json>>,
            /// Higher is preferred.
            priority: i32,
        },
        /// The configuration was replaced.
        "provider.configured" "1" => Configured {
            /// The new one.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            config: Option<Personal<Json>>,
        },
        /// The pipeline may use it.
        "provider.enabled" "1" => Enabled {},
        /// The pipeline may not use it.
        "provider.disabled" "1" => Disabled {},
        /// It is preferred more or less.
        "provider.prioritized" "1" => Prioritized {
            /// Higher is preferred.
            priority: i32,
        },
    }
}

/// Why a command on a provider was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ProviderError {
    /// No such provider.
    #[error("there is no such provider")]
    NotFound,
    /// The id is taken.
    #[error("a provider with this id exists already")]
    AlreadyExists,
    /// It may be used already.
    #[error("the provider is enabled already")]
    AlreadyEnabled,
    /// It may not be used already.
    #[error("the provider is disabled already")]
    AlreadyDisabled,
}

impl Rejection for ProviderError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::AlreadyEnabled => "ALREADY_ENABLED",
            Self::AlreadyDisabled => "ALREADY_DISABLED",
        }
    }
}

/// The state that decisions about a provider need.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// `None` before it was registered.
    active: Option<bool>,
}

impl AggregateRoot for Provider {
    const EVENT_TYPES: &'static [(&'static str, &'static str)] = ProviderEvent::TYPES;
    const SNAPSHOT_SHAPE: i32 = 1;

    fn exists(&self) -> bool {
        self.active.is_some()
    }

    fn subject(&self, id: Uuid) -> Option<Uuid> {
        Some(id)
    }

    fn decide(&self, command: ProviderCommand) -> Result<Vec<ProviderEvent>, ProviderError> {
        let event = match (self.active, command) {
            (None, ProviderCommand::Register { name, provider_type, config, priority }) => {
                ProviderEvent::Registered { name, provider_type, config, priority }
            }
            (Some(_), ProviderCommand::Register { .. }) => {
                return Err(ProviderError::AlreadyExists);
            }
            (None, _) => return Err(ProviderError::NotFound),
            (Some(_), ProviderCommand::Configure { config }) => {
                ProviderEvent::Configured { config }
            }
            (Some(_), ProviderCommand::Prioritize { priority }) => {
                ProviderEvent::Prioritized { priority }
            }
            (Some(false), ProviderCommand::Enable) => ProviderEvent::Enabled {},
            (Some(true), ProviderCommand::Enable) => return Err(ProviderError::AlreadyEnabled),
            (Some(true), ProviderCommand::Disable) => ProviderEvent::Disabled {},
            (Some(false), ProviderCommand::Disable) => return Err(ProviderError::AlreadyDisabled),
        };
        Ok(vec![event])
    }

    fn claims(&self, event: &ProviderEvent) -> Vec<ClaimChange> {
        match event {
            ProviderEvent::Registered { name, .. } => vec![ClaimChange::Take(Claim {
                namespace: "provider.name",
                value: name.as_str().to_owned(),
                personal: false,
                taken_code: "NAME_TAKEN",
                field: "name",
            })],
            ProviderEvent::Configured { .. }
            | ProviderEvent::Enabled {}
            | ProviderEvent::Disabled {}
            | ProviderEvent::Prioritized { .. } => Vec::new(),
        }
    }
}

impl Aggregate for Provider {
    const TYPE: &'static str = "provider";
    type Command = ProviderCommand;
    type Event = ProviderEvent;
    type Error = ProviderError;
    type Services = ();

    async fn handle(
        &mut self,
        command: ProviderCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), ProviderError> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: ProviderEvent) {
        match event {
            ProviderEvent::Registered { .. } | ProviderEvent::Enabled {} => {
                self.active = Some(true);
            }
            ProviderEvent::Disabled {} => self.active = Some(false),
            ProviderEvent::Configured { .. } | ProviderEvent::Prioritized { .. } => {}
        }
    }
}
