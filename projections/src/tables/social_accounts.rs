//! `orion.social_accounts`: accounts on social platforms that users publish to.

use chrono::{DateTime, Utc};
use orion_domain::{Event, SocialAccountEvent};
use orion_store::Fact;
use uuid::Uuid;

use super::column::ToColumn;
use super::erased;
use crate::table::{Table, row};

row! {
    /// One connected account.
    SocialAccountRow in "orion.social_accounts" {
        /// The account's id.
        id: Uuid,
        /// Whose account it is.
        user_id: Uuid,
        /// The platform.
        platform: String,
        /// What the owner calls it.
        display_name: String,
        /// Ciphertext of what the platform wants to see.
        credentials: String,
        /// Whether it may be published through.
        is_active: bool,
        /// When it was connected.
        created_at: DateTime<Utc>,
    }
}

impl Table for SocialAccountRow {
    const NAME: &'static str = Self::TABLE;
    const COLUMNS: &'static [&'static str] = Self::COLUMNS;
    const PERSONAL: &'static [&'static str] = &["display_name"];
    const SECRET: &'static [&'static str] = &["credentials"];

    fn id(&self) -> Uuid {
        self.id
    }

    fn keys(fact: &Fact) -> Vec<Uuid> {
        let Event::SocialAccount(event) = &fact.event else { return vec![] };
        match event {
            SocialAccountEvent::Connected { .. }
            | SocialAccountEvent::CredentialsRotated { .. }
            | SocialAccountEvent::Deactivated {}
            | SocialAccountEvent::Erased {} => vec![fact.aggregate_id],
        }
    }

    fn fold(row: Option<Self>, _: Uuid, fact: &Fact) -> Option<Self> {
        let Event::SocialAccount(event) = &fact.event else { return row };
        match event {
            SocialAccountEvent::Connected { user_id, platform, display_name, credentials } => {
                Some(Self {
                    id: fact.aggregate_id,
                    user_id: user_id.0,
                    platform: platform.to_column(),
                    display_name: display_name
                        .to_column()
                        .unwrap_or_else(|| erased::DISPLAY_NAME.to_owned()),
                    credentials: credentials.to_column(),
                    is_active: true,
                    created_at: fact.recorded_at,
                })
            }
            SocialAccountEvent::CredentialsRotated { credentials } => {
                row.map(|row| Self { credentials: credentials.to_column(), ..row })
            }
            SocialAccountEvent::Deactivated {} => row.map(|row| Self { is_active: false, ..row }),
            SocialAccountEvent::Erased {} => row.map(|row| Self {
                display_name: erased::DISPLAY_NAME.to_owned(),
                credentials: String::new(),
                is_active: false,
                ..row
            }),
        }
    }
}
