//! Notifications: rows per user, made of the events of all streams in the order of their positions.
//!
//! Who is told of an event depends on what all users had chosen by then, so this is no fold of one
//! stream. The projection keeps that choice, and whose contents and sessions they are, in tables of
//! its own, which move with its checkpoint: the same log gives the same rows, whenever it is read.

mod check;
mod notice;
mod rebuild;

use orion_domain::notification::NotificationPreferences;
use orion_domain::user::SYSTEM_ID;
use orion_domain::values::{Json, NotificationId, NotificationKind, Personal};
use orion_domain::{ContentEvent, Event, SessionEvent, UserEvent};
use orion_store::Fact;
use sqlx::PgConnection;
use uuid::Uuid;

pub use self::check::check_notifications;
use self::notice::{Audience, Notice};
pub use self::rebuild::rebuild_notifications;

/// Where the living tables are.
const LIVE: &str = "projection";

/// The tables of the projection by their names in a schema and in full, each with the primary key `id`.
const TABLES: [(&str, &str); 3] = [
    ("notifications", "projection.notifications"),
    ("notification_recipients", "projection.notification_recipients"),
    ("notification_subjects", "projection.notification_subjects"),
];

/// Applies events to the living tables, within the caller's transaction.
pub(crate) async fn apply(
    connection: &mut PgConnection,
    facts: &[Fact],
) -> Result<(), sqlx::Error> {
    Writer { connection, schema: LIVE }.apply_all(facts).await
}

/// Writes into the tables of one schema.
struct Writer<'a> {
    connection: &'a mut PgConnection,
    schema: &'static str,
}

impl Writer<'_> {
    async fn apply_all(&mut self, facts: &[Fact]) -> Result<(), sqlx::Error> {
        for fact in facts {
            self.remember(fact).await?;
            if let Some(notice) = Notice::of(fact) {
                self.tell(fact, &notice).await?;
            }
        }
        Ok(())
    }

    /// What later events need to know of this one.
    async fn remember(&mut self, fact: &Fact) -> Result<(), sqlx::Error> {
        match &fact.event {
            Event::User(event) => self.remember_user(fact, event).await,
            Event::Session(event) => match event {
                SessionEvent::Started { user_id, .. } => {
                    self.own(fact.aggregate_id, user_id.0).await
                }
                SessionEvent::Removed { .. } => {
                    let sql = format!(
                        "DELETE FROM {}.notification_subjects WHERE id = $1",
                        self.schema
                    );
                    let delete = sqlx::query(&sql).bind(fact.aggregate_id);
                    delete.execute(&mut *self.connection).await.map(drop)
                }
                SessionEvent::Rotated { .. }
                | SessionEvent::ReuseDetected { .. }
                | SessionEvent::Revoked { .. }
                | SessionEvent::TokensExpired { .. } => Ok(()),
            },
            Event::Content(ContentEvent::Drafted { created_by, .. }) => {
                self.own(fact.aggregate_id, created_by.0).await
            }
            Event::Content(_) // whose it is never changes
            | Event::Trend(_)
            | Event::Publish(_)
            | Event::SocialAccount(_)
            | Event::Provider(_)
            | Event::ServiceToken(_) => Ok(()),
        }
    }

    async fn remember_user(&mut self, fact: &Fact, event: &UserEvent) -> Result<(), sqlx::Error> {
        let user_id = fact.aggregate_id;
        match event {
            UserEvent::Registered { .. } if user_id == SYSTEM_ID.0 => Ok(()),
            UserEvent::Registered { .. } => self.receive(user_id).await,
            UserEvent::SettingsUpdated { settings } => self.prefer(user_id, settings).await,
            UserEvent::Deactivated {} => self.set_active(user_id, false).await,
            UserEvent::Reactivated {} => self.set_active(user_id, true).await,
            UserEvent::NotificationsRead { up_to, ids } => self.read(fact, *up_to, ids).await,
            UserEvent::Erased { .. } => self.forget(user_id).await,
            UserEvent::ProfileUpdated { .. }
            | UserEvent::EmailVerified {}
            | UserEvent::VerificationRequested { .. }
            | UserEvent::PasswordChanged { .. }
            | UserEvent::RoleChanged { .. }
            | UserEvent::LoggedIn { .. }
            | UserEvent::OAuthAccountLinked { .. }
            | UserEvent::OAuthAccountUnlinked { .. } => Ok(()),
        }
    }

    async fn own(&mut self, subject: Uuid, user_id: Uuid) -> Result<(), sqlx::Error> {
        let sql = format!(
            "INSERT INTO {}.notification_subjects (id, user_id) VALUES ($1, $2)",
            self.schema
        );
        let insert = sqlx::query(&sql).bind(subject).bind(user_id);
        insert.execute(&mut *self.connection).await.map(drop)
    }

    async fn receive(&mut self, user_id: Uuid) -> Result<(), sqlx::Error> {
        let sql = format!(
            "INSERT INTO {}.notification_recipients (id, is_active, unwanted, quiet)
             VALUES ($1, true, '{{}}', '{{}}')",
            self.schema
        );
        sqlx::query(&sql).bind(user_id).execute(&mut *self.connection).await.map(drop)
    }

    async fn prefer(
        &mut self,
        user_id: Uuid,
        settings: &Personal<Json>,
    ) -> Result<(), sqlx::Error> {
        // Of a person who is erased by now nothing can be read; the rows that follow from that go
        // when the projection comes to the erasure.
        let preferences = NotificationPreferences::of(settings.expose());
        let sql = format!(
            "UPDATE {}.notification_recipients SET unwanted = $2, quiet = $3 WHERE id = $1",
            self.schema
        );
        let update = sqlx::query(&sql)
            .bind(user_id)
            .bind(labels(&preferences.unwanted))
            .bind(labels(&preferences.quiet));
        update.execute(&mut *self.connection).await.map(drop)
    }

    async fn set_active(&mut self, user_id: Uuid, is_active: bool) -> Result<(), sqlx::Error> {
        let sql = format!(
            "UPDATE {}.notification_recipients SET is_active = $2 WHERE id = $1",
            self.schema
        );
        let update = sqlx::query(&sql).bind(user_id).bind(is_active);
        update.execute(&mut *self.connection).await.map(drop)
    }

    async fn read(
        &mut self,
        fact: &Fact,
        up_to: i64,
        ids: &[NotificationId],
    ) -> Result<(), sqlx::Error> {
        let sql = format!(
            "UPDATE {}.notifications SET read_at = $4
             WHERE user_id = $1 AND read_at IS NULL AND (position <= $2 OR id = ANY ($3))",
            self.schema
        );
        let update = sqlx::query(&sql)
            .bind(fact.aggregate_id)
            .bind(up_to)
            .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())
            .bind(fact.recorded_at);
        update.execute(&mut *self.connection).await.map(drop)
    }

    async fn forget(&mut self, user_id: Uuid) -> Result<(), sqlx::Error> {
        for condition in [
            "notifications WHERE user_id",
            "notification_subjects WHERE user_id",
            "notification_recipients WHERE id",
        ] {
            let sql = format!("DELETE FROM {}.{condition} = $1", self.schema);
            sqlx::query(&sql).bind(user_id).execute(&mut *self.connection).await?;
        }
        Ok(())
    }

    /// One row for each user who is to be told, in one statement for all of them. Its id is the hash
    /// of the position and the user, as a UUID of version 8.
    async fn tell(&mut self, fact: &Fact, notice: &Notice<'_>) -> Result<(), sqlx::Error> {
        let owner = format!(
            "r.id = (SELECT s.user_id FROM {}.notification_subjects s WHERE s.id = $10)",
            self.schema
        );
        let (whom, subject) = match notice.audience {
            Audience::Everyone => ("r.is_active AND $10::uuid IS NULL".to_owned(), None),
            Audience::OwnerOf(subject) => (format!("r.is_active AND {owner}"), Some(subject)),
            // Whoever is kept out finds it when coming back.
            Audience::KeeperOf(subject) => (owner, Some(subject)),
        };
        let sql = format!(
            "INSERT INTO {schema}.notifications
                 (id, user_id, position, kind, event_type, stage, trend_id, content_id, run_id,
                  session_id, real_time, created_at)
             SELECT overlay(overlay(left(encode(sha256(convert_to(
                        'orion notification 1 ' || $1::bigint || ' ' || r.id, 'UTF8')), 'hex'), 32)
                        PLACING '8' FROM 13) PLACING '8' FROM 17)::uuid,
                    r.id, $1, k.kind, $2, $3, $4, $5, $6, $7, k.kind <> ALL (r.quiet), $8
             FROM {schema}.notification_recipients r
             CROSS JOIN LATERAL (
                 SELECT kind FROM unnest($9::text[]) WITH ORDINALITY AS wanted (kind, rank)
                 WHERE kind <> ALL (r.unwanted) ORDER BY rank LIMIT 1
             ) k
             WHERE {whom}",
            schema = self.schema,
        );
        let insert = sqlx::query(&sql)
            .bind(fact.position.0)
            .bind(notice.event_type)
            .bind(notice.stage)
            .bind(notice.trend_id)
            .bind(notice.content_id)
            .bind(notice.run_id)
            .bind(notice.session_id)
            .bind(fact.recorded_at)
            .bind(labels(notice.kinds))
            .bind(subject);
        insert.execute(&mut *self.connection).await.map(drop)
    }
}

fn labels(kinds: &[NotificationKind]) -> Vec<&'static str> {
    kinds.iter().map(|kind| kind.as_str()).collect()
}
