//! A publish request: one content to one social account, or by hand to one platform.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

use crate::aggregate::{AggregateRoot, Rejection};
use crate::event::events;
use crate::values::{
    ContentId, ErrorMessage, PlatformName, PlatformPostId, PublishRecordId, SocialAccountId, UserId,
};

/// Where a content goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// The content.
    pub content_id: ContentId,
    /// The account that posts it; none when a person posts it by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub social_account_id: Option<SocialAccountId>,
    /// The platform.
    pub platform: PlatformName,
}

/// What may be asked of a publish request.
#[derive(Clone, Debug)]
pub enum PublishCommand {
    /// Asks for a content to be published.
    Request {
        /// What goes where; the caller has checked content and account.
        destination: Destination,
        /// Who asked.
        requested_by: UserId,
    },
    /// The platform took it.
    RecordPublished {
        /// The row of `publish_records` of this attempt.
        record_id: PublishRecordId,
        /// The post's id on the platform, where it is known.
        platform_post_id: Option<PlatformPostId>,
    },
    /// The attempt failed.
    RecordFailure {
        /// The row of `publish_records` of this attempt.
        record_id: PublishRecordId,
        /// What went wrong.
        error: ErrorMessage,
    },
    /// Tries a failed request again.
    Retry,
}

events! {
    /// What happened to a publish request.
    PublishEvent {
        /// A content is to be published.
        "publish.requested" "1" => Requested {
            /// What goes where.
            destination: Destination,
            /// Who asked.
            requested_by: UserId,
        },
        /// Row of `publish_records`, published.
        "publish.succeeded" "1" => Succeeded {
            /// The row of `publish_records`.
            record_id: PublishRecordId,
            /// What went where.
            destination: Destination,
            /// The post's id on the platform.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            platform_post_id: Option<PlatformPostId>,
        },
        /// Row of `publish_records`, failed.
        "publish.failed" "1" => Failed {
            /// The row of `publish_records`.
            record_id: PublishRecordId,
            /// What should have gone where.
            destination: Destination,
            /// What went wrong.
            error: ErrorMessage,
        },
        /// A failed request is tried again.
        "publish.retried" "1" => Retried {},
    }
}

/// Why a command on a publish request was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PublishError {
    /// No such request, or not one that the caller may see.
    #[error("there is no such publish request")]
    NotFound,
    /// The id is taken.
    #[error("a publish request with this id exists already")]
    AlreadyExists,
    /// A result is recorded once for each attempt.
    #[error("no attempt is open: {status}")]
    NotPending {
        /// What the request is instead.
        status: RequestStatus,
    },
    /// Only a failed request is tried again.
    #[error("the request has not failed: {status}")]
    NotFailed {
        /// What the request is instead.
        status: RequestStatus,
    },
}

impl Rejection for PublishError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::NotPending { .. } => "NOT_PENDING",
            Self::NotFailed { .. } => "NOT_FAILED",
        }
    }
}

/// Where a publish request is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestStatus {
    /// An attempt is open.
    Pending,
    /// The platform took it; nothing more happens.
    Published,
    /// The newest attempt failed.
    Failed,
}

impl RequestStatus {
    /// The label as the read model keeps it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Published => "published",
            Self::Failed => "failed",
        }
    }
}

impl std::fmt::Display for RequestStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The state that decisions about a publish request need; `None` before it was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Publish(Option<State>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    destination: Destination,
    requested_by: UserId,
    status: RequestStatus,
}

impl Publish {
    /// The content that is to be published; `None` before the request was made.
    pub fn content_id(&self) -> Option<ContentId> {
        self.0.as_ref().map(|state| state.destination.content_id)
    }
}

impl State {
    fn decide(&self, command: PublishCommand) -> Result<PublishEvent, PublishError> {
        let status = self.status;
        let destination = self.destination.clone();
        match command {
            PublishCommand::Request { .. } => Err(PublishError::AlreadyExists),
            PublishCommand::RecordPublished { record_id, platform_post_id } => match status {
                RequestStatus::Pending => {
                    Ok(PublishEvent::Succeeded { record_id, destination, platform_post_id })
                }
                RequestStatus::Published | RequestStatus::Failed => {
                    Err(PublishError::NotPending { status })
                }
            },
            PublishCommand::RecordFailure { record_id, error } => match status {
                RequestStatus::Pending => {
                    Ok(PublishEvent::Failed { record_id, destination, error })
                }
                RequestStatus::Published | RequestStatus::Failed => {
                    Err(PublishError::NotPending { status })
                }
            },
            PublishCommand::Retry => match status {
                RequestStatus::Failed => Ok(PublishEvent::Retried {}),
                RequestStatus::Pending | RequestStatus::Published => {
                    Err(PublishError::NotFailed { status })
                }
            },
        }
    }
}

impl AggregateRoot for Publish {
    const EVENT_TYPES: &'static [(&'static str, &'static str)] = PublishEvent::TYPES;
    const SNAPSHOT_SHAPE: i32 = 1;

    fn exists(&self) -> bool {
        self.0.is_some()
    }

    fn owner(&self) -> Option<UserId> {
        self.0.as_ref().map(|state| state.requested_by)
    }

    fn decide(&self, command: PublishCommand) -> Result<Vec<PublishEvent>, PublishError> {
        match (&self.0, command) {
            (Some(state), command) => state.decide(command).map(|event| vec![event]),
            (None, PublishCommand::Request { destination, requested_by }) => {
                Ok(vec![PublishEvent::Requested { destination, requested_by }])
            }
            (None, _) => Err(PublishError::NotFound),
        }
    }
}

impl Aggregate for Publish {
    const TYPE: &'static str = "publish";
    type Command = PublishCommand;
    type Event = PublishEvent;
    type Error = PublishError;
    type Services = ();

    async fn handle(
        &mut self,
        command: PublishCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), PublishError> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: PublishEvent) {
        let status = match event {
            PublishEvent::Requested { destination, requested_by } => {
                self.0 = Some(State { destination, requested_by, status: RequestStatus::Pending });
                return;
            }
            PublishEvent::Succeeded { .. } => RequestStatus::Published,
            PublishEvent::Failed { .. } => RequestStatus::Failed,
            PublishEvent::Retried {} => RequestStatus::Pending,
        };
        if let Some(state) = &mut self.0 {
            state.status = status;
        }
    }
}
