//! `projection.publishes`: requests to publish a content, also those without an attempt yet.

use chrono::{DateTime, Utc};
use orion_domain::publish::RequestStatus;
use orion_domain::{Event, PublishEvent};
use orion_store::Fact;
use uuid::Uuid;

use super::column::ToColumn;
use crate::table::{Table, row};

row! {
    /// One request.
    PublishRow in "projection.publishes" {
        /// The request's id.
        id: Uuid,
        /// What is to be published.
        content_id: Uuid,
        /// Through which account; none where a person posts by hand.
        social_account_id: Option<Uuid>,
        /// The platform.
        platform: String,
        /// Who asked.
        requested_by: Uuid,
        /// Where it is in its life.
        status: RequestStatus,
        /// How many attempts have ended, well or not.
        attempts: i32,
        /// When it was asked for.
        created_at: DateTime<Utc>,
        /// When it last changed.
        updated_at: DateTime<Utc>,
    }
}

impl Table for PublishRow {
    const NAME: &'static str = Self::TABLE;
    const COLUMNS: &'static [&'static str] = Self::COLUMNS;

    fn id(&self) -> Uuid {
        self.id
    }

    fn keys(fact: &Fact) -> Vec<Uuid> {
        let Event::Publish(event) = &fact.event else { return vec![] };
        match event {
            PublishEvent::Requested { .. }
            | PublishEvent::Succeeded { .. }
            | PublishEvent::Failed { .. }
            | PublishEvent::Retried {} => vec![fact.aggregate_id],
        }
    }

    fn fold(row: Option<Self>, _: Uuid, fact: &Fact) -> Option<Self> {
        let Event::Publish(event) = &fact.event else { return row };
        if let PublishEvent::Requested { destination, requested_by } = event {
            return Some(Self {
                id: fact.aggregate_id,
                content_id: destination.content_id.0,
                social_account_id: destination.social_account_id.map(|id| id.0),
                platform: destination.platform.to_column(),
                requested_by: requested_by.0,
                status: RequestStatus::Pending,
                attempts: 0,
                created_at: fact.recorded_at,
                updated_at: fact.recorded_at,
            });
        }
        let mut row = row?;
        row.updated_at = fact.recorded_at;
        match event {
            PublishEvent::Succeeded { .. } => {
                row.status = RequestStatus::Published;
                row.attempts += 1;
            }
            PublishEvent::Failed { .. } => {
                row.status = RequestStatus::Failed;
                row.attempts += 1;
            }
            PublishEvent::Retried {} => row.status = RequestStatus::Pending,
            PublishEvent::Requested { .. } => {}
        }
        Some(row)
    }
}
