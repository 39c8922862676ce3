//! `projection.service_tokens`: the tokens of machines, and what a request's token is compared with.

use chrono::{DateTime, Utc};
use orion_domain::values::{Scopes, TokenHash};
use orion_domain::{Event, ServiceTokenEvent};
use orion_store::Fact;
use uuid::Uuid;

use super::column::ToColumn;
use crate::table::{Table, row};

row! {
    /// One service token.
    ServiceTokenRow in "projection.service_tokens" {
        /// The token's id.
        id: Uuid,
        /// What admins call it.
        name: String,
        /// What it is for.
        scopes: Scopes,
        /// SHA-256 of the token.
        token_hash: TokenHash,
        /// The admin who handed it out.
        issued_by: Uuid,
        /// When that was.
        created_at: DateTime<Utc>,
        /// From when on it is refused, if it ends by itself.
        expires_at: Option<DateTime<Utc>>,
        /// When it was revoked.
        revoked_at: Option<DateTime<Utc>>,
    }
}

impl Table for ServiceTokenRow {
    const NAME: &'static str = Self::TABLE;
    const COLUMNS: &'static [&'static str] = Self::COLUMNS;
    const SECRET: &'static [&'static str] = &["token_hash"];

    fn id(&self) -> Uuid {
        self.id
    }

    fn keys(fact: &Fact) -> Vec<Uuid> {
        let Event::ServiceToken(event) = &fact.event else { return vec![] };
        match event {
            ServiceTokenEvent::Issued { .. } | ServiceTokenEvent::Revoked {} => {
                vec![fact.aggregate_id]
            }
        }
    }

    fn fold(row: Option<Self>, _: Uuid, fact: &Fact) -> Option<Self> {
        let Event::ServiceToken(event) = &fact.event else { return row };
        match event {
            ServiceTokenEvent::Issued { name, scopes, token_hash, issued_by, expires_at } => {
                Some(Self {
                    id: fact.aggregate_id,
                    name: name.to_column(),
                    scopes: *scopes,
                    token_hash: token_hash.clone(),
                    issued_by: issued_by.0,
                    created_at: fact.recorded_at,
                    expires_at: expires_at.to_column(),
                    revoked_at: None,
                })
            }
            ServiceTokenEvent::Revoked {} => {
                row.map(|row| Self { revoked_at: Some(fact.recorded_at), ..row })
            }
        }
    }
}
