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

/// What is written together: events that do not change whom the others tell.
#[derive(Default)]
struct Gathered<'f> {
    /// New contents and sessions, and whose they are. None is told of before it is there.
    owned: Vec<(Uuid, Uuid)>,
    notices: Vec<(&'f Fact, Notice<'f>)>,
}

impl Writer<'_> {
    async fn apply_all(&mut self, facts: &[Fact]) -> Result<(), sqlx::Error> {
        let mut gathered = Gathered::default();
        for fact in facts {
            if let Some(owner) = owner_of(fact) {
                gathered.owned.push((fact.aggregate_id, owner));
            } else if changes_audience(fact) {
                self.write(std::mem::take(&mut gathered)).await?;
                self.remember(fact).await?;
            }
            gathered.notices.extend(Notice::of(fact).map(|notice| (fact, notice)));
        }
        self.write(gathered).await
    }

    async fn write(&mut self, gathered: Gathered<'_>) -> Result<(), sqlx::Error> {
        self.own(&gathered.owned).await?;
        self.tell(&gathered.notices).await
    }

    /// What later events need to know of this one.
    async fn remember(&mut self, fact: &Fact) -> Result<(), sqlx::Error> {
        match &fact.event {
            Event::User(event) => self.remember_user(fact, event).await,
            Event::Session(event) => match event {
                SessionEvent::Removed { .. } => {
                    let sql = format!(
                        "DELETE FROM {}.notification_subjects WHERE id = $1",
                        self.schema
                    );
                    let delete = sqlx::query(&sql).bind(fact.aggregate_id);
                    delete.execute(&mut *self.connection).await.map(drop)
                }
                SessionEvent::Started { .. } // gathered
                | SessionEvent::Rotated { .. }
                | SessionEvent::ReuseDetected { .. }
                | SessionEvent::Revoked { .. }
                | SessionEvent::TokensExpired { .. } => Ok(()),
            },
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

    async fn own(&mut self, owned: &[(Uuid, Uuid)]) -> Result<(), sqlx::Error> {
        if owned.is_empty() {
            return Ok(());
        }
        let (subjects, users): (Vec<Uuid>, Vec<Uuid>) = owned.iter().copied().unzip();
        let sql = format!(
            "INSERT INTO {}.notification_subjects (id, user_id) SELECT * FROM unnest($1::uuid[], $2::uuid[])",
            self.schema
        );
        let insert = sqlx::query(&sql).bind(subjects).bind(users);
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

    /// One row for each user who is to be told of each event, in one statement for all of them. Its id is the
    /// hash of the position and the user, as a UUID of version 8.
    async fn tell(&mut self, notices: &[(&Fact, Notice<'_>)]) -> Result<(), sqlx::Error> {
        if notices.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "WITH notices AS (
                 SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::uuid[], $5::uuid[], $6::uuid[],
                                      $7::uuid[], $8::timestamptz[], $9::text[], $10::uuid[], $11::boolean[])
                     AS n (position, event_type, stage, trend_id, content_id, run_id, session_id, created_at,
                           kinds, subject, to_inactive)
             ), told AS (
                 SELECT n.*, r.id AS user_id, r.unwanted, r.quiet
                 FROM notices n CROSS JOIN {schema}.notification_recipients r
                 WHERE n.subject IS NULL AND r.is_active
                 UNION ALL
                 SELECT n.*, r.id, r.unwanted, r.quiet
                 FROM notices n
                 JOIN {schema}.notification_subjects s ON s.id = n.subject
                 JOIN {schema}.notification_recipients r ON r.id = s.user_id
                 WHERE r.is_active OR n.to_inactive
             )
             INSERT INTO {schema}.notifications
                 (id, user_id, position, kind, event_type, stage, trend_id, content_id, run_id,
                  session_id, real_time, created_at)
             SELECT overlay(overlay(left(encode(sha256(convert_to(
                        'orion notification 1 ' || t.position || ' ' || t.user_id, 'UTF8')), 'hex'), 32)
                        PLACING '8' FROM 13) PLACING '8' FROM 17)::uuid,
                    t.user_id, t.position, k.kind, t.event_type, t.stage, t.trend_id, t.content_id, t.run_id,
                    t.session_id, k.kind <> ALL (t.quiet), t.created_at
             FROM told t
             CROSS JOIN LATERAL (
                 SELECT kind FROM string_to_table(t.kinds, ' ') WITH ORDINALITY AS wanted (kind, rank)
                 WHERE kind <> ALL (t.unwanted) ORDER BY rank LIMIT 1
             ) k",
            schema = self.schema,
        );
        let positions: Vec<i64> = notices.iter().map(|(fact, _)| fact.position.0).collect();
        let times: Vec<_> = notices.iter().map(|(fact, _)| fact.recorded_at).collect();
        let insert = sqlx::query(&sql)
            .bind(positions)
            .bind(column(notices, |notice| notice.event_type))
            .bind(column(notices, |notice| notice.stage))
            .bind(column(notices, |notice| notice.trend_id))
            .bind(column(notices, |notice| notice.content_id))
            .bind(column(notices, |notice| notice.run_id))
            .bind(column(notices, |notice| notice.session_id))
            .bind(times)
            .bind(column(notices, |notice| labels(notice.kinds).join(" ")))
            .bind(column(notices, |notice| notice.audience.subject()))
            .bind(column(notices, |notice| matches!(notice.audience, Audience::KeeperOf(_))));
        insert.execute(&mut *self.connection).await.map(drop)
    }
}

/// A value of each notice.
fn column<'n, V>(
    notices: &'n [(&Fact, Notice<'_>)],
    value: impl Fn(&'n Notice<'_>) -> V,
) -> Vec<V> {
    notices.iter().map(|(_, notice)| value(notice)).collect()
}

/// Whose a content or session is that begins with the event.
fn owner_of(fact: &Fact) -> Option<Uuid> {
    if let Event::Session(SessionEvent::Started { user_id, .. }) = &fact.event {
        return Some(user_id.0);
    }
    if let Event::Content(ContentEvent::Drafted { created_by, .. }) = &fact.event {
        return Some(created_by.0);
    }
    None
}

/// True of what [`Writer::remember`] writes down.
fn changes_audience(fact: &Fact) -> bool {
    matches!(&fact.event, Event::User(_) | Event::Session(SessionEvent::Removed { .. }))
}

fn labels(kinds: &[NotificationKind]) -> Vec<&'static str> {
    kinds.iter().map(|kind| kind.as_str()).collect()
}
