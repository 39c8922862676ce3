//! `projection.sessions`: the refresh-token families, as their users see them.

use chrono::{DateTime, Utc};
use orion_domain::{Event, SessionEvent};
use orion_store::Fact;
use uuid::Uuid;

use super::column::ToColumn;
use crate::table::{Table, row};

row! {
    /// One session.
    SessionRow in "projection.sessions" {
        /// The session's id.
        id: Uuid,
        /// Who signed in.
        user_id: Uuid,
        /// When that was.
        created_at: DateTime<Utc>,
        /// When it was last begun or refreshed.
        last_used_at: DateTime<Utc>,
        /// When its newest token ends.
        expires_at: DateTime<Utc>,
        /// When it was ended.
        revoked_at: Option<DateTime<Utc>>,
        /// Why: `logout`, `revoked`, `reuse`, `erased`.
        revoked_reason: Option<String>,
        /// Where from, if known.
        ip: Option<String>,
        /// With which program, if known.
        user_agent: Option<String>,
    }
}

impl Table for SessionRow {
    const NAME: &'static str = Self::TABLE;
    const COLUMNS: &'static [&'static str] = Self::COLUMNS;
    const PERSONAL: &'static [&'static str] = &["ip", "user_agent"];

    fn id(&self) -> Uuid {
        self.id
    }

    fn keys(fact: &Fact) -> Vec<Uuid> {
        let Event::Session(event) = &fact.event else { return vec![] };
        match event {
            SessionEvent::Started { .. }
            | SessionEvent::Rotated { .. }
            | SessionEvent::Revoked { .. }
            | SessionEvent::Removed { .. } => vec![fact.aggregate_id],
            SessionEvent::TokensExpired { .. } // shown in refresh_tokens
            | SessionEvent::ReuseDetected { .. } => vec![], // the revocation shows
        }
    }

    fn fold(row: Option<Self>, _: Uuid, fact: &Fact) -> Option<Self> {
        let Event::Session(event) = &fact.event else { return row };
        match event {
            SessionEvent::Started { user_id, token, ip, user_agent } => Some(Self {
                id: fact.aggregate_id,
                user_id: user_id.0,
                created_at: fact.recorded_at,
                last_used_at: fact.recorded_at,
                expires_at: token.expires_at.to_column(),
                revoked_at: None,
                revoked_reason: None,
                ip: ip.to_column().flatten(),
                user_agent: user_agent.to_column().flatten(),
            }),
            SessionEvent::Rotated { token, .. } => row.map(|row| Self {
                last_used_at: fact.recorded_at,
                expires_at: token.expires_at.to_column(),
                ..row
            }),
            SessionEvent::Revoked { reason, .. } => row.map(|row| Self {
                revoked_at: Some(fact.recorded_at),
                revoked_reason: Some(reason.to_string()),
                ..row
            }),
            SessionEvent::Removed { .. } => None,
            SessionEvent::TokensExpired { .. } | SessionEvent::ReuseDetected { .. } => row,
        }
    }
}
