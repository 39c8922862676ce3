//! `orion.trends`: topics that outside sources report as rising.

use chrono::{DateTime, Utc};
use orion_domain::values::TrendStatus;
use orion_domain::{Event, TrendEvent};
use orion_store::Fact;
use serde_json::Value;
use uuid::Uuid;

use super::column::ToColumn;
use crate::table::{Table, row};

row! {
    /// One trend.
    TrendRow in "orion.trends" {
        /// The trend's id.
        id: Uuid,
        /// What is trending.
        topic: String,
        /// Who reported it.
        source: String,
        /// How relevant it is, from 0.0 to 1.0.
        score: f64,
        /// The source's answer as it came.
        raw_data: Option<Value>,
        /// When it was first reported.
        detected_at: DateTime<Utc>,
        /// When it stopped trending; none where a person put it away before.
        expired_at: Option<DateTime<Utc>>,
        /// Where it is in its life.
        status: TrendStatus,
    }
}

impl Table for TrendRow {
    const NAME: &'static str = Self::TABLE;
    const COLUMNS: &'static [&'static str] = Self::COLUMNS;

    fn id(&self) -> Uuid {
        self.id
    }

    fn keys(fact: &Fact) -> Vec<Uuid> {
        let Event::Trend(event) = &fact.event else { return vec![] };
        match event {
            TrendEvent::Detected { .. }
            | TrendEvent::Rescored { .. }
            | TrendEvent::Expired {}
            | TrendEvent::Archived {} => vec![fact.aggregate_id],
        }
    }

    fn fold(row: Option<Self>, _: Uuid, fact: &Fact) -> Option<Self> {
        let Event::Trend(event) = &fact.event else { return row };
        if let TrendEvent::Detected { topic, source, score, raw_data } = event {
            return Some(Self {
                id: fact.aggregate_id,
                topic: topic.to_column(),
                source: source.to_column(),
                score: score.get(),
                raw_data: raw_data.to_column(),
                detected_at: fact.recorded_at,
                expired_at: None,
                status: TrendStatus::Active,
            });
        }
        let mut row = row?;
        match event {
            TrendEvent::Rescored { score } => row.score = score.get(),
            TrendEvent::Expired {} => {
                row.status = TrendStatus::Expired;
                row.expired_at = Some(fact.recorded_at);
            }
            TrendEvent::Archived {} => row.status = TrendStatus::Archived,
            TrendEvent::Detected { .. } => {}
        }
        Some(row)
    }
}
