//! `orion.user_settings`: one document of preferences for each user.

use chrono::{DateTime, Utc};
use orion_domain::values::Json;
use orion_domain::{Event, UserEvent};
use orion_store::Fact;
use serde_json::Value;
use uuid::Uuid;

use super::column::ToColumn;
use crate::table::{Table, row};

row! {
    /// The preferences of one user.
    UserSettingsRow in "orion.user_settings" {
        /// The user's id as well: there is one row for each.
        id: Uuid,
        /// Whose preferences they are.
        user_id: Uuid,
        /// All of them, as an object.
        settings: Value,
        /// When the user registered.
        created_at: DateTime<Utc>,
        /// When the preferences last changed.
        updated_at: DateTime<Utc>,
    }
}

impl Table for UserSettingsRow {
    const NAME: &'static str = Self::TABLE;
    const COLUMNS: &'static [&'static str] = Self::COLUMNS;
    const PERSONAL: &'static [&'static str] = &["settings"];

    fn id(&self) -> Uuid {
        self.id
    }

    fn keys(fact: &Fact) -> Vec<Uuid> {
        let Event::User(event) = &fact.event else { return vec![] };
        match event {
            UserEvent::Registered { .. }
            | UserEvent::SettingsUpdated { .. }
            | UserEvent::Erased { .. } => vec![fact.aggregate_id],
            UserEvent::ProfileUpdated { .. } // shown in users
            | UserEvent::EmailVerified {}
            | UserEvent::NotificationsRead { .. }
            | UserEvent::VerificationRequested { .. }
            | UserEvent::PasswordChanged { .. }
            | UserEvent::RoleChanged { .. }
            | UserEvent::Deactivated {}
            | UserEvent::Reactivated {}
            | UserEvent::LoggedIn { .. }
            | UserEvent::OAuthAccountLinked { .. }
            | UserEvent::OAuthAccountUnlinked { .. } => vec![], // shown in oauth_accounts
        }
    }

    fn fold(row: Option<Self>, _: Uuid, fact: &Fact) -> Option<Self> {
        let Event::User(event) = &fact.event else { return row };
        match event {
            UserEvent::Registered { .. } => Some(Self {
                id: fact.aggregate_id,
                user_id: fact.aggregate_id,
                settings: Json::empty_object().to_column(),
                created_at: fact.recorded_at,
                updated_at: fact.recorded_at,
            }),
            UserEvent::Erased { .. } => row.map(|row| Self {
                settings: Json::empty_object().to_column(),
                updated_at: fact.recorded_at,
                ..row
            }),
            UserEvent::SettingsUpdated { settings } => row.map(|row| Self {
                settings: settings
                    .to_column()
                    .map_or_else(|| Json::empty_object().to_column(), as_jsonb),
                updated_at: fact.recorded_at,
                ..row
            }),
            UserEvent::ProfileUpdated { .. }
            | UserEvent::EmailVerified {}
            | UserEvent::NotificationsRead { .. }
            | UserEvent::VerificationRequested { .. }
            | UserEvent::PasswordChanged { .. }
            | UserEvent::RoleChanged { .. }
            | UserEvent::Deactivated {}
            | UserEvent::Reactivated {}
            | UserEvent::LoggedIn { .. }
            | UserEvent::OAuthAccountLinked { .. }
            | UserEvent::OAuthAccountUnlinked { .. } => row,
        }
    }
}

/// A value as the type `jsonb` gives it back: it knows no exponents, so `1e16` returns as the integer
/// 10000000000000000, which JSON keeps apart from the float.
fn as_jsonb(value: Value) -> Value {
    match value {
        Value::Number(number) => {
            // Rust writes floats without an exponent too, unlike JSON's own `Display`.
            let plain = number.as_f64().filter(|_| number.to_string().contains('e'));
            let plain = plain.and_then(|float| float.to_string().parse().ok());
            Value::Number(plain.unwrap_or(number))
        }
        Value::Array(items) => items.into_iter().map(as_jsonb).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(key, value)| (key, as_jsonb(value))).collect()
        }
        Value::Null | Value::Bool(_) | Value::String(_) => value,
    }
}
