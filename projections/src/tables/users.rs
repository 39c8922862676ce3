//! `orion.users`: who can sign in, and how each person appears.

use chrono::{DateTime, Utc};
use orion_domain::user::ProfileChange;
use orion_domain::values::{Personal, Role, TimeZone};
use orion_domain::{Event, UserEvent};
use orion_store::Fact;
use uuid::Uuid;

use super::column::ToColumn;
use super::erased;
use crate::table::{Table, row};

row! {
    /// One user.
    UserRow in "orion.users" {
        /// The user's id.
        id: Uuid,
        /// The login identifier.
        email: String,
        /// bcrypt hash; none for those who sign in elsewhere.
        password_hash: Option<String>,
        /// The display name.
        name: String,
        /// Where the picture is.
        avatar_url: Option<String>,
        /// A few words.
        bio: Option<String>,
        /// An IANA name such as `Europe/Berlin`.
        timezone: String,
        /// What the user may do.
        role: Role,
        /// Whether the address is known to be the user's.
        email_verified: bool,
        /// Whether the user may come in.
        is_active: bool,
        /// When the user last signed in.
        last_login_at: Option<DateTime<Utc>>,
        /// When the user registered.
        created_at: DateTime<Utc>,
        /// When the row last changed; signing in is no change.
        updated_at: DateTime<Utc>,
        /// The given name.
        first_name: Option<String>,
        /// The family name.
        last_name: Option<String>,
        /// The unique short name.
        username: Option<String>,
    }
}

impl Table for UserRow {
    const NAME: &'static str = Self::TABLE;
    const COLUMNS: &'static [&'static str] = Self::COLUMNS;
    const PERSONAL: &'static [&'static str] =
        &["email", "name", "avatar_url", "bio", "first_name", "last_name", "username"];
    const SECRET: &'static [&'static str] = &["password_hash"];

    fn id(&self) -> Uuid {
        self.id
    }

    fn keys(fact: &Fact) -> Vec<Uuid> {
        let Event::User(event) = &fact.event else { return vec![] };
        match event {
            UserEvent::Registered { .. }
            | UserEvent::ProfileUpdated { .. }
            | UserEvent::EmailVerified {}
            | UserEvent::PasswordChanged { .. }
            | UserEvent::RoleChanged { .. }
            | UserEvent::Deactivated {}
            | UserEvent::Reactivated {}
            | UserEvent::LoggedIn { .. }
            | UserEvent::Erased { .. } => vec![fact.aggregate_id],
            UserEvent::SettingsUpdated { .. } // shown in user_settings
            | UserEvent::NotificationsRead { .. }
            | UserEvent::VerificationRequested { .. } // a mail, no column
            | UserEvent::OAuthAccountLinked { .. }
            | UserEvent::OAuthAccountUnlinked { .. } => vec![], // shown in oauth_accounts
        }
    }

    fn fold(row: Option<Self>, _: Uuid, fact: &Fact) -> Option<Self> {
        let Event::User(event) = &fact.event else { return row };
        if let UserEvent::Registered {
            email,
            password_hash,
            name,
            role,
            email_verified,
            via: _, // not shown
        } = event
        {
            return Some(Self {
                id: fact.aggregate_id,
                email: email.to_column().unwrap_or_else(|| erased::email(fact.aggregate_id)),
                password_hash: password_hash.to_column().flatten(),
                name: name.to_column().unwrap_or_else(|| erased::NAME.to_owned()),
                avatar_url: None,
                bio: None,
                timezone: TimeZone::default().to_column(),
                role: *role,
                email_verified: *email_verified,
                is_active: true,
                last_login_at: None,
                created_at: fact.recorded_at,
                updated_at: fact.recorded_at,
                first_name: None,
                last_name: None,
                username: None,
            });
        }
        let mut row = row?;
        if let UserEvent::LoggedIn { .. } = event {
            row.last_login_at = Some(fact.recorded_at);
            return Some(row);
        }
        row.updated_at = fact.recorded_at;
        match event {
            UserEvent::ProfileUpdated { change } => {
                let ProfileChange {
                    name,
                    username,
                    first_name,
                    last_name,
                    avatar_url,
                    bio,
                    timezone,
                } = change;
                if let Some(name) = name.to_column().flatten() {
                    row.name = name;
                }
                username.and_then_ref(Personal::to_column).apply_to(&mut row.username);
                first_name.and_then_ref(Personal::to_column).apply_to(&mut row.first_name);
                last_name.and_then_ref(Personal::to_column).apply_to(&mut row.last_name);
                avatar_url.and_then_ref(Personal::to_column).apply_to(&mut row.avatar_url);
                bio.and_then_ref(Personal::to_column).apply_to(&mut row.bio);
                if let Some(timezone) = timezone {
                    row.timezone = timezone.to_column();
                }
            }
            UserEvent::EmailVerified {} => row.email_verified = true,
            UserEvent::PasswordChanged { password_hash } => {
                row.password_hash = password_hash.to_column();
            }
            UserEvent::RoleChanged { role } => row.role = *role,
            UserEvent::Deactivated {} => row.is_active = false,
            UserEvent::Reactivated {} => row.is_active = true,
            UserEvent::Erased { .. } => {
                row = Self {
                    email: erased::email(row.id),
                    password_hash: None,
                    name: erased::NAME.to_owned(),
                    avatar_url: None,
                    bio: None,
                    timezone: TimeZone::default().to_column(),
                    email_verified: false,
                    is_active: false,
                    first_name: None,
                    last_name: None,
                    username: None,
                    ..row
                };
            }
            UserEvent::Registered { .. }
            | UserEvent::LoggedIn { .. }
            | UserEvent::NotificationsRead { .. }
            | UserEvent::VerificationRequested { .. }
            | UserEvent::SettingsUpdated { .. }
            | UserEvent::OAuthAccountLinked { .. }
            | UserEvent::OAuthAccountUnlinked { .. } => {}
        }
        Some(row)
    }
}
