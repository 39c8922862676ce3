//! `orion.refresh_tokens`: hashes of the refresh tokens that were handed out, never the tokens.

use chrono::{DateTime, Utc};
use orion_domain::session::Token;
use orion_domain::values::UserId;
use orion_domain::{Event, SessionEvent};
use orion_store::Fact;
use uuid::Uuid;

use super::column::ToColumn;
use crate::table::{Table, row};

row! {
    /// One refresh token.
    RefreshTokenRow in "orion.refresh_tokens" {
        /// The token's id.
        id: Uuid,
        /// Whose token it is.
        user_id: Uuid,
        /// SHA-256 of the token, in hex.
        token_hash: String,
        /// From when on it is refused.
        expires_at: DateTime<Utc>,
        /// Whether it was used, or its session has ended.
        revoked: bool,
        /// When that was.
        revoked_at: Option<DateTime<Utc>>,
        /// When it was handed out.
        created_at: DateTime<Utc>,
    }
}

impl RefreshTokenRow {
    fn handed_out(user_id: UserId, token: &Token, fact: &Fact) -> Self {
        Self {
            id: token.token_id.0,
            user_id: user_id.0,
            token_hash: token.token_hash.to_column(),
            expires_at: token.expires_at.to_column(),
            revoked: false,
            revoked_at: None,
            created_at: fact.recorded_at,
        }
    }

    fn revoked(self, fact: &Fact) -> Self {
        Self { revoked: true, revoked_at: Some(fact.recorded_at), ..self }
    }
}

impl Table for RefreshTokenRow {
    const NAME: &'static str = Self::TABLE;
    const COLUMNS: &'static [&'static str] = Self::COLUMNS;
    const SECRET: &'static [&'static str] = &["token_hash"];

    fn id(&self) -> Uuid {
        self.id
    }

    fn keys(fact: &Fact) -> Vec<Uuid> {
        let Event::Session(event) = &fact.event else { return vec![] };
        match event {
            SessionEvent::Started { token, .. } => vec![token.token_id.0],
            SessionEvent::Rotated { previous, token, .. } => vec![previous.0, token.token_id.0],
            SessionEvent::Revoked { token_id, .. } => vec![token_id.0],
            SessionEvent::TokensExpired { token_ids } | SessionEvent::Removed { token_ids } => {
                token_ids.iter().map(|token_id| token_id.0).collect()
            }
            SessionEvent::ReuseDetected { .. } => vec![], // the revocation shows
        }
    }

    fn fold(row: Option<Self>, key: Uuid, fact: &Fact) -> Option<Self> {
        let Event::Session(event) = &fact.event else { return row };
        match event {
            SessionEvent::Started { user_id, token, .. } => {
                Some(Self::handed_out(*user_id, token, fact))
            }
            SessionEvent::Rotated { user_id, token, .. } if key == token.token_id.0 => {
                Some(Self::handed_out(*user_id, token, fact))
            }
            SessionEvent::Rotated { .. } | SessionEvent::Revoked { .. } => {
                row.map(|row| row.revoked(fact))
            }
            SessionEvent::TokensExpired { .. } | SessionEvent::Removed { .. } => None,
            SessionEvent::ReuseDetected { .. } => row,
        }
    }
}
