//! What users are told: of which events, in which order, as they wanted it at that position.

use orion_projections::{
    NOTIFICATIONS, Projector, Rebuilt, check_notifications, checkpoint, rebuild_notifications,
};
use orion_store::Position;
use orion_store::testing::vault;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::golden::id;
use crate::world::{PATIENCE, World};

const ADA: Uuid = id(0xada);
const BOB: Uuid = id(0xb0b);
const TREND: Uuid = id(0x201);
const CONTENT: Uuid = id(0x301);
const RUN: Uuid = id(0x311);

impl World {
    /// With these users.
    async fn with(users: &[Uuid]) -> Self {
        let mut world = Self::new().await;
        for user in users {
            world.register(*user).await;
        }
        world
    }

    async fn register(&mut self, user: Uuid) {
        let payload = json!({
            "email": format!("{user}@example.org"), "name": "A name", "role": "editor",
            "email_verified": true, "via": "provider",
        });
        self.happens(user, "user.registered", payload).await;
    }

    async fn choose(&mut self, user: Uuid, types: Value) {
        let settings = json!({ "notification_preferences": { "types": types } });
        self.happens(user, "user.settings_updated", json!({ "settings": settings })).await;
    }

    async fn detect(&mut self) -> i64 {
        let payload = json!({ "topic": "t", "source": "rss", "score": 0.5 });
        self.happens(Uuid::now_v7(), "trend.detected", payload).await
    }

    async fn draft(&mut self, content: Uuid, created_by: Uuid) -> i64 {
        let payload = json!({ "trend_id": TREND, "created_by": created_by, "title": "A title" });
        self.happens(content, "content.drafted", payload).await
    }

    async fn stage(&mut self, what: &str, stage: &str) -> i64 {
        let mut payload = json!({ "run_id": RUN, "stage": stage });
        if what == "failed" {
            payload["error"] = json!("quota");
        }
        self.happens(CONTENT, &format!("content.stage_{what}"), payload).await
    }

    /// Projects all that there is.
    async fn project(&self) {
        let log = self.store.log();
        self.run(Projector::of_notifications(log.clone())).await;
    }

    /// Position and kind of what a user was told, in order, and whether it was pushed.
    async fn told(&self, user: Uuid) -> Vec<(i64, String, bool)> {
        let sql = "SELECT position, kind, real_time FROM projection.notifications
                   WHERE user_id = $1 ORDER BY position";
        sqlx::query_as(sql).bind(user).fetch_all(&self.owner).await.unwrap()
    }

    async fn unread(&self, user: Uuid) -> Vec<i64> {
        let sql = "SELECT position FROM projection.notifications
                   WHERE user_id = $1 AND read_at IS NULL ORDER BY position";
        sqlx::query_scalar(sql).bind(user).fetch_all(&self.owner).await.unwrap()
    }

    /// All rows of the projection.
    async fn rows(&self) -> Vec<Value> {
        let mut rows = Vec::new();
        for table in ["notifications", "notification_recipients", "notification_subjects"] {
            let sql = format!("SELECT to_jsonb(t) FROM projection.{table} t ORDER BY id");
            rows.extend(sqlx::query_scalar::<_, Value>(&sql).fetch_all(&self.owner).await.unwrap());
        }
        rows
    }

    async fn differences(&self) -> usize {
        let vault = vault(&self.owner).await;
        check_notifications(&self.owner, &vault, &|_| ()).await.unwrap().1.len()
    }
}

impl World {
    async fn rebuild_notifications(&self, dry_run: bool) -> Rebuilt {
        let vault = vault(&self.owner).await;
        let pool = self.store.log().pool();
        rebuild_notifications(pool, &vault, dry_run, &|_| ()).await.unwrap()
    }
}

fn pushed(position: i64, kind: &str) -> (i64, String, bool) {
    (position, kind.to_owned(), true)
}

#[tokio::test]
async fn each_mapped_event_is_told_to_whom_it_concerns() {
    let mut world = World::with(&[ADA, BOB]).await;
    let trend = world.detect().await;
    let drafted = world.draft(CONTENT, ADA).await;
    let runs = json!([{ "run_id": RUN, "stage": "images" }]);
    world.happens(CONTENT, "content.generation_started", json!({ "runs": runs })).await;
    let started = world.stage("started", "images").await;
    let failed = world.stage("failed", "images").await;
    let script = world.stage("failed", "script").await;
    let completed = world.stage("completed", "images").await;
    world.happens(CONTENT, "content.submitted_for_review", json!({})).await;
    let rejected = json!({ "by": BOB, "reason": "dull" });
    let rejected = world.happens(CONTENT, "content.rejected", rejected).await;
    world.happens(CONTENT, "content.approved", json!({ "by": BOB })).await;
    let published = json!({ "publish_id": id(0x401) });
    let published = world.happens(CONTENT, "content.published", published).await;
    world.project().await;
    let expected = [
        pushed(trend, "trend.detected"),
        pushed(drafted, "content.created"),
        pushed(started, "pipeline.stage_changed"),
        pushed(failed, "media.failed"),
        pushed(script, "pipeline.stage_changed"),
        pushed(completed, "pipeline.stage_changed"),
        pushed(rejected, "content.rejected"),
        pushed(published, "content.published"),
    ];
    assert_eq!(world.told(ADA).await, expected);
    assert_eq!(world.told(BOB).await, [pushed(trend, "trend.detected")]);

    let sql = "SELECT to_jsonb(n) FROM projection.notifications n WHERE position = $1";
    let row: Value = sqlx::query_scalar(sql).bind(failed).fetch_one(&world.owner).await.unwrap();
    for (column, value) in [
        ("event_type", json!("content.stage_failed")),
        ("content_id", json!(CONTENT)),
        ("run_id", json!(RUN)),
        ("stage", json!("images")),
        ("trend_id", Value::Null),
        ("read_at", Value::Null),
    ] {
        assert_eq!(row[column], value, "{column}");
    }
}

#[tokio::test]
async fn preferences_hold_from_their_position_on() {
    let mut world = World::with(&[ADA, BOB]).await;
    let before = world.detect().await;
    world.choose(ADA, json!({ "trend.detected": { "enabled": false } })).await;
    let unwanted = world.detect().await;
    world.choose(ADA, json!({ "trend.detected": { "real_time": false } })).await;
    let quiet = world.detect().await;
    world.draft(CONTENT, ADA).await;
    world.choose(ADA, json!({ "media.failed": { "enabled": false } })).await;
    let failed = world.stage("failed", "video").await;
    let off = json!({ "enabled": false });
    world.choose(ADA, json!({ "media.failed": off, "pipeline.stage_changed": off })).await;
    world.stage("failed", "video").await;
    world.project().await;
    let mut told = world.told(ADA).await;
    told.retain(|(_, kind, _)| kind != "content.created");
    assert_eq!(
        told,
        [
            pushed(before, "trend.detected"),
            (quiet, "trend.detected".to_owned(), false),
            // What is not wanted under its closest kind is told under the next.
            pushed(failed, "pipeline.stage_changed"),
        ]
    );
    let told: Vec<_> = world.told(BOB).await.into_iter().map(|(position, ..)| position).collect();
    assert_eq!(told, [before, unwanted, quiet]);
}

#[tokio::test]
async fn who_is_kept_out_is_told_nothing_but_of_a_reused_token() {
    let mut world = World::with(&[ADA, BOB]).await;
    let session = id(0x101);
    let token = json!({
        "token_id": id(0x111), "token_hash": "5f2c", "expires_at": "2026-03-01T12:00:00Z",
    });
    let started = json!({ "user_id": ADA, "token": token });
    world.happens(session, "session.started", started).await;
    // Nobody can switch this kind off.
    let off = json!({ "session.reuse_detected": { "enabled": false, "real_time": false } });
    world.choose(ADA, off).await;
    world.draft(CONTENT, ADA).await;
    world.happens(ADA, "user.deactivated", json!({})).await;
    let missed = world.detect().await;
    world.stage("started", "script").await;
    let reused = json!({ "token_id": id(0x111) });
    let reused = world.happens(session, "session.reuse_detected", reused).await;
    world.happens(ADA, "user.reactivated", json!({})).await;
    let seen = world.detect().await;
    world.happens(session, "session.removed", json!({ "token_ids": [id(0x111)] })).await;
    world.project().await;
    let told = world.told(ADA).await;
    assert_eq!(
        told[1..],
        [pushed(reused, "session.reuse_detected"), pushed(seen, "trend.detected")]
    );
    let told: Vec<_> = world.told(BOB).await.into_iter().map(|(position, ..)| position).collect();
    assert_eq!(told, [missed, seen]);
    assert_eq!(world.differences().await, 0);
}

#[tokio::test]
async fn orion_itself_is_told_nothing() {
    let mut world = World::new().await;
    let system = orion_domain::user::SYSTEM_ID.0;
    world.register(system).await;
    world.detect().await;
    world.project().await;
    assert_eq!(world.told(system).await, []);
}

#[tokio::test]
async fn what_is_read_is_read_at_the_time_of_the_event_and_only_by_its_owner() {
    let mut world = World::with(&[ADA, BOB]).await;
    let mut positions = Vec::new();
    for _ in 0..4 {
        positions.push(world.detect().await);
    }
    world.project().await;
    let sql = "SELECT id FROM projection.notifications WHERE position = $1 ORDER BY user_id = $2";
    let ids: Vec<Uuid> =
        sqlx::query_scalar(sql).bind(positions[3]).bind(ADA).fetch_all(&world.owner).await.unwrap();
    // Bob's, and ada's own.
    let read = json!({ "up_to": positions[1], "ids": ids });
    let read = world.happens(ADA, "user.notifications_read", read).await;
    let later = world.detect().await;
    world.project().await;
    assert_eq!(world.unread(ADA).await, [positions[2], later]);
    assert_eq!(world.unread(BOB).await.len(), 5);
    let sql = "SELECT count(*) FROM projection.notifications n JOIN events e ON e.position = $1
               WHERE n.read_at = e.recorded_at";
    let same: i64 = sqlx::query_scalar(sql).bind(read).fetch_one(&world.owner).await.unwrap();
    assert_eq!(same, 3);
}

#[tokio::test]
async fn an_erased_user_has_no_notifications_and_gets_no_more() {
    let mut world = World::with(&[ADA, BOB]).await;
    world.detect().await;
    world.draft(CONTENT, ADA).await;
    world.happens(ADA, "user.erased", json!({ "oauth_account_ids": [] })).await;
    let trend = world.detect().await;
    world.stage("started", "script").await;
    world.project().await;
    assert_eq!(world.told(ADA).await, []);
    assert_eq!(world.told(BOB).await.last(), Some(&pushed(trend, "trend.detected")));
    assert!(!format!("{:?}", world.rows().await).contains(&ADA.to_string()));
}

#[tokio::test]
async fn the_same_log_gives_the_same_rows_whatever_the_batches() {
    let mut world = World::with(&[ADA, BOB]).await;
    for round in 0..3 {
        world.detect().await;
        world.draft(Uuid::now_v7(), ADA).await;
        let choice = json!({ "trend.detected": { "enabled": round != 1 } });
        world.choose(BOB, choice).await;
        let up_to = world.detect().await;
        let read = json!({ "up_to": up_to - 1, "ids": [] });
        world.happens(BOB, "user.notifications_read", read).await;
        // Event by event in the first round, more at once in the others.
        if round == 0 {
            world.project().await;
        }
    }
    world.project().await;
    let live = world.rows().await;
    assert_eq!(live.len(), 6 + 4 + 3 + 2 + 3);
    assert_eq!(world.differences().await, 0);

    world
        .execute("TRUNCATE projection.notifications, projection.notification_recipients, projection.notification_subjects")
        .await;
    world
        .execute("UPDATE projection.checkpoints SET position = 0 WHERE name = 'notifications'")
        .await;
    world.project().await;
    assert_eq!(world.rows().await, live);
}

#[tokio::test]
async fn the_check_finds_what_was_changed_missing_and_added() {
    let mut world = World::with(&[ADA]).await;
    let first = world.detect().await;
    world.detect().await;
    world.project().await;
    // What comes after the checkpoint does not count.
    world.detect().await;
    assert_eq!(world.differences().await, 0);
    world.execute(&format!("DELETE FROM projection.notifications WHERE position = {first}")).await;
    world.execute("UPDATE projection.notifications SET read_at = now()").await;
    world.execute("UPDATE projection.notification_recipients SET is_active = false").await;
    world
        .execute(&format!(
            "INSERT INTO projection.notification_subjects VALUES ('{CONTENT}', '{ADA}')"
        ))
        .await;
    let vault = vault(&world.owner).await;
    let (position, differences) = check_notifications(&world.owner, &vault, &|_| ()).await.unwrap();
    let mut found: Vec<_> = differences
        .iter()
        .map(|found| (found.table, found.expected.is_some(), found.found.is_some()))
        .collect();
    found.sort_unstable();
    assert_eq!(position, Position(3));
    assert_eq!(
        found,
        [
            ("projection.notification_recipients", true, true),
            ("projection.notification_subjects", false, true),
            ("projection.notifications", true, false),
            ("projection.notifications", true, true),
        ]
    );
}

#[tokio::test]
async fn what_differs_is_mended_and_what_was_read_stays_read() {
    let mut world = World::with(&[ADA, BOB]).await;
    world.detect().await;
    let drafted = world.draft(CONTENT, ADA).await;
    world.happens(ADA, "user.notifications_read", json!({ "up_to": drafted, "ids": [] })).await;
    world.choose(BOB, json!({ "trend.detected": { "enabled": false } })).await;
    world.detect().await;
    world.project().await;
    let before = world.rows().await;
    for sql in [
        "DELETE FROM projection.notifications",
        "UPDATE projection.notifications SET read_at = now()",
        "UPDATE projection.notifications SET read_at = NULL",
        // Two rows of one user that have each other's place.
        "ALTER TABLE projection.notifications DROP CONSTRAINT notifications_user_id_position_key;
         UPDATE projection.notifications SET position = 7 - position;
         ALTER TABLE projection.notifications
             ADD CONSTRAINT notifications_user_id_position_key UNIQUE (user_id, position)",
        "UPDATE projection.notification_recipients SET unwanted = '{}', is_active = NOT is_active",
        "TRUNCATE projection.notification_subjects, projection.notification_recipients",
        "INSERT INTO projection.notification_subjects VALUES
             ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000001')",
    ] {
        world.execute(sql).await;
        let spoiled = world.rows().await;
        assert_ne!(spoiled, before, "{sql}");
        let found = world.rebuild_notifications(true).await;
        assert_eq!(world.rows().await, spoiled, "a dry run has mended: {sql}");
        assert!(found.differing.iter().any(|(_, rows)| *rows > 0), "{sql}");
        assert_eq!(world.rebuild_notifications(false).await, found, "{sql}");
        assert_eq!(world.rows().await, before, "{sql}");
    }
}

#[tokio::test]
async fn they_are_mended_while_events_come() {
    let mut world = World::with(&[ADA, BOB]).await;
    world.detect().await;
    world.project().await;
    let log = world.store.log().clone();
    let stop = CancellationToken::new();
    let (projector, progress) = Projector::of_notifications(log.clone());
    let running = tokio::spawn(projector.run(stop.clone()));
    let (pool, keys) = (log.pool().clone(), vault(&world.owner).await);
    // Ada is told of nothing until she is mended.
    world.execute("UPDATE projection.notification_recipients SET is_active = false").await;
    let rebuilding = tokio::spawn(async move {
        for _ in 0..5 {
            rebuild_notifications(&pool, &keys, false, &|_| ()).await.unwrap();
        }
    });
    let mut during = 0;
    while !rebuilding.is_finished() {
        world.detect().await;
        during += 1;
    }
    rebuilding.await.unwrap();
    assert!(during > 1, "nothing happened meanwhile");
    assert!(progress.reached(log.head().await.unwrap(), PATIENCE).await);
    stop.cancel();
    running.await.unwrap();
    assert_eq!(world.differences().await, 0);
}

#[tokio::test]
async fn it_stops_before_an_event_that_its_tables_refuse() {
    let mut world = World::with(&[ADA]).await;
    world
        .execute("ALTER TABLE projection.notifications ADD CONSTRAINT narrow CHECK (kind = 'x')")
        .await;
    world.detect().await;
    let log = world.store.log();
    let stop = CancellationToken::new();
    let (projector, progress) = Projector::of_notifications(log.clone());
    let running = tokio::spawn(projector.run(stop.clone()));
    assert!(!progress.reached(Position(2), PATIENCE).await);
    stop.cancel();
    running.await.unwrap();
    let stopped = checkpoint(&world.owner, NOTIFICATIONS).await.unwrap();
    assert_eq!(stopped.position, Position(1));
    assert!(format!("{stopped:?}").contains("position 2 (trend.detected)"), "{stopped:?}");
}
