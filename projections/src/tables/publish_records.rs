//! `orion.publish_records`: every attempt to publish a content, with how it ended.

use chrono::{DateTime, Utc};
use orion_domain::publish::Destination;
use orion_domain::values::{PublishRecordId, PublishStatus};
use orion_domain::{Event, PublishEvent};
use orion_store::Fact;
use uuid::Uuid;

use super::column::ToColumn;
use crate::table::{Table, row};

row! {
    /// One attempt.
    PublishRecordRow in "orion.publish_records" {
        /// The attempt's id.
        id: Uuid,
        /// What was to be published.
        content_id: Uuid,
        /// Through which account; none where a person posted by hand.
        social_account_id: Option<Uuid>,
        /// The platform.
        platform: String,
        /// The post's id there.
        platform_post_id: Option<String>,
        /// How it ended.
        status: PublishStatus,
        /// What went wrong.
        error_message: Option<String>,
        /// When it was published.
        published_at: Option<DateTime<Utc>>,
        /// When it ended.
        created_at: DateTime<Utc>,
    }
}

impl PublishRecordRow {
    fn ended(
        status: PublishStatus,
        id: PublishRecordId,
        destination: &Destination,
        fact: &Fact,
    ) -> Self {
        Self {
            id: id.0,
            content_id: destination.content_id.0,
            social_account_id: destination.social_account_id.map(|id| id.0),
            platform: destination.platform.to_column(),
            platform_post_id: None,
            status,
            error_message: None,
            published_at: None,
            created_at: fact.recorded_at,
        }
    }
}

impl Table for PublishRecordRow {
    const NAME: &'static str = Self::TABLE;
    const COLUMNS: &'static [&'static str] = Self::COLUMNS;

    fn id(&self) -> Uuid {
        self.id
    }

    fn keys(fact: &Fact) -> Vec<Uuid> {
        let Event::Publish(event) = &fact.event else { return vec![] };
        match event {
            PublishEvent::Succeeded { record_id, .. } | PublishEvent::Failed { record_id, .. } => {
                vec![record_id.0]
            }
            // Not an attempt yet: shown in projection.publishes.
            PublishEvent::Requested { .. } | PublishEvent::Retried {} => vec![],
        }
    }

    fn fold(row: Option<Self>, _: Uuid, fact: &Fact) -> Option<Self> {
        let Event::Publish(event) = &fact.event else { return row };
        match event {
            PublishEvent::Succeeded { record_id, destination, platform_post_id } => Some(Self {
                platform_post_id: platform_post_id.to_column(),
                published_at: Some(fact.recorded_at),
                ..Self::ended(PublishStatus::Published, *record_id, destination, fact)
            }),
            PublishEvent::Failed { record_id, destination, error } => Some(Self {
                error_message: Some(error.to_column()),
                ..Self::ended(PublishStatus::Failed, *record_id, destination, fact)
            }),
            PublishEvent::Requested { .. } | PublishEvent::Retried {} => row,
        }
    }
}
