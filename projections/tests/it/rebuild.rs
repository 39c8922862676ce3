//! The tables computed anew: whatever was spoiled is mended, beside readers and writers, or not at all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use orion_projections::{
    Projector, READ_MODEL, RebuildError, Rebuilt, check, checkpoint, leftover, rebuild,
};
use orion_store::locks;
use orion_store::testing::vault;
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::history::History;
use crate::world::{PATIENCE, World, pausing};

fn unheard(_: u64) {}

impl World {
    /// With a random history that the tables show.
    async fn projected(seed: u64, events: usize) -> (Self, History) {
        let mut world = Self::new().await;
        let mut history = History::new(seed);
        history.go_on(&mut world, events).await;
        world.project_tables().await;
        (world, history)
    }

    async fn rebuild(&self, dry_run: bool) -> Result<Rebuilt, RebuildError> {
        let vault = vault(&self.owner).await;
        rebuild(self.store.log().pool(), &vault, dry_run, &unheard).await
    }

    async fn assert_clean(&self) {
        let (_, differences) =
            check(&self.owner, &vault(&self.owner).await, &unheard).await.unwrap();
        assert!(differences.is_empty(), "{differences:#?}");
    }

    /// Every row of every table as PostgreSQL writes it, and every key and index.
    async fn contents(&self) -> Vec<String> {
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT format('%s.%s', schemaname, tablename) FROM pg_tables
             WHERE schemaname IN ('orion', 'projection') AND tablename <> 'checkpoints' ORDER BY 1",
        )
        .fetch_all(&self.owner)
        .await
        .unwrap();
        let mut contents = self.definitions().await;
        for table in tables {
            let rows = format!("SELECT '{table} ' || t::text FROM {table} t ORDER BY id");
            contents.extend(
                sqlx::query_scalar::<_, String>(&rows).fetch_all(&self.owner).await.unwrap(),
            );
        }
        contents
    }

    async fn definitions(&self) -> Vec<String> {
        sqlx::query_scalar(
            "SELECT indexdef FROM pg_indexes WHERE schemaname IN ('orion', 'projection')
             UNION ALL
             SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
             FROM pg_constraint WHERE connamespace IN ('orion'::regnamespace, 'projection'::regnamespace)
             ORDER BY 1",
        )
        .fetch_all(&self.owner)
        .await
        .unwrap()
    }

    async fn has_side_schema(&self) -> bool {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'orion_rebuild')",
        )
        .fetch_one(&self.owner)
        .await
        .unwrap()
    }
}

fn differing(rebuilt: &Rebuilt) -> BTreeMap<&'static str, u64> {
    rebuilt.differing.iter().copied().filter(|(_, rows)| *rows > 0).collect()
}

/// What a careless superuser may do, with what it spoils.
const SPOILED: &[(&str, &[(&str, u64)])] = &[
    ("UPDATE orion.contents SET title = 'no' WHERE title <> 'no'", &[("orion.contents", 0)]),
    ("DELETE FROM orion.pipeline_runs", &[("orion.pipeline_runs", 0)]),
    // Two users who have each other's address: mended one by one they would be in each other's way.
    (
        "UPDATE orion.users SET username = email, email = 'x' WHERE id = (SELECT min(id::text)::uuid FROM orion.users);
         UPDATE orion.users u SET username = u.email, email = (SELECT username FROM orion.users WHERE email = 'x')
         WHERE id = (SELECT max(id::text)::uuid FROM orion.users);
         UPDATE orion.users SET email = (SELECT max(username) FROM orion.users WHERE email <> 'x'), username = NULL
         WHERE email = 'x';
         UPDATE orion.users SET username = NULL",
        &[("orion.users", 2)],
    ),
    // A whole family of rows of nobody, and a real row that leads into it.
    (
        "INSERT INTO orion.users (id, email, name) VALUES ('00000000-0000-0000-0000-000000000001', 'nobody', 'n');
         INSERT INTO orion.trends (id, topic, source) VALUES ('00000000-0000-0000-0000-000000000002', 't', 's');
         INSERT INTO orion.contents (id, trend_id, created_by, title) VALUES
             ('00000000-0000-0000-0000-000000000003', '00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000001', 't');
         INSERT INTO orion.pipeline_runs (id, content_id, stage) VALUES
             ('00000000-0000-0000-0000-000000000004', '00000000-0000-0000-0000-000000000003', 's');
         UPDATE orion.contents SET trend_id = '00000000-0000-0000-0000-000000000002'
         WHERE id = (SELECT max(id::text)::uuid FROM orion.contents)",
        &[("orion.contents", 2), ("orion.pipeline_runs", 1), ("orion.trends", 1), ("orion.users", 1)],
    ),
    // The same JSON in another spelling is another text to a client.
    ("UPDATE orion.trends SET raw_data = (raw_data::text || ' ')::json WHERE raw_data IS NOT NULL", &[("orion.trends", 0)]),
    ("UPDATE projection.streams SET version = version + 1", &[("projection.streams", 0)]),
];

#[tokio::test]
async fn what_was_spoiled_is_found_and_mended() {
    let (world, _) = World::projected(1, 400).await;
    let before = world.contents().await;
    assert_eq!(differing(&world.rebuild(false).await.unwrap()), BTreeMap::new());
    for (sql, spoiled) in SPOILED {
        world.execute(sql).await;
        let found = world.rebuild(true).await.unwrap();
        assert_ne!(world.contents().await, before, "a dry run has mended: {sql}");
        let mended = world.rebuild(false).await.unwrap();
        assert_eq!(found, mended, "{sql}");
        let differing = differing(&mended);
        assert!(
            differing.keys().eq(spoiled.iter().map(|(table, _)| table)),
            "{sql}: {differing:?}"
        );
        for (table, rows) in *spoiled {
            assert!(*rows == 0 || differing[table] == *rows, "{sql}: {differing:?}");
        }
        assert!(world.contents().await == before, "not as before: {sql}");
        world.assert_clean().await;
    }
    assert!(!world.has_side_schema().await);
}

/// As after an import.
const EMPTY: &str = "TRUNCATE orion.users, orion.trends, orion.contents, orion.providers, orion.social_accounts,
         orion.oauth_accounts, orion.user_settings, orion.refresh_tokens, orion.media_assets, orion.pipeline_runs,
         orion.publish_records, projection.streams, projection.sessions, projection.publishes, projection.service_tokens;
     DELETE FROM projection.checkpoints";

#[tokio::test]
async fn empty_tables_are_filled_to_the_head_and_keep_their_keys_and_indexes() {
    let (world, _) = World::projected(2, 400).await;
    let before = world.contents().await;
    world.execute(EMPTY).await;
    let rebuilt = world.rebuild(false).await.unwrap();
    assert_eq!(rebuilt.position, world.store.log().head().await.unwrap());
    assert!(world.contents().await == before);
    assert_eq!(checkpoint(&world.owner, READ_MODEL).await.unwrap().position, rebuilt.position);
    world.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_do_not_wait_for_the_fold_into_empty_tables() {
    let (world, _) = World::projected(9, 400).await;
    let before = world.contents().await;
    world.execute(EMPTY).await;
    // Whoever is in the middle of reading goes on to the end, too.
    let mut reader = world.owner.begin().await.unwrap();
    let count = "SELECT count(*) FROM orion.contents";
    assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(&mut *reader).await.unwrap(), 0);

    let (wait, paused) = pausing();
    let (pool, keys) = (world.store.log().pool().clone(), vault(&world.owner).await);
    let rebuilding = tokio::spawn(async move { rebuild(&pool, &keys, false, &wait).await });
    paused.begun();
    world
        .execute("SET lock_timeout = '5s'; SELECT count(*) FROM orion.users; RESET lock_timeout")
        .await;
    drop(paused);
    // Nor does it wait for the reader, with everybody else behind it.
    let rebuilt = tokio::time::timeout(PATIENCE / 2, rebuilding).await.expect("it goes on");
    rebuilt.unwrap().unwrap();
    assert!(sqlx::query_scalar::<_, i64>(count).fetch_one(&mut *reader).await.unwrap() > 0);
    drop(reader);
    assert!(world.contents().await == before);
    world.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projector_that_begins_during_the_fold_into_empty_tables_keeps_what_it_wrote() {
    let (mut world, mut history) = World::projected(11, 200).await;
    world.execute(EMPTY).await;
    let (wait, paused) = pausing();
    let (pool, keys) = (world.store.log().pool().clone(), vault(&world.owner).await);
    let rebuilding = tokio::spawn(async move { rebuild(&pool, &keys, false, &wait).await });
    paused.begun();
    history.go_on(&mut world, 50).await;
    world.project_tables().await;
    let projected = world.contents().await;
    drop(paused);
    let rebuilt = rebuilding.await.unwrap().unwrap();
    assert_eq!(rebuilt.position, world.store.log().head().await.unwrap());
    assert_eq!(differing(&rebuilt), BTreeMap::new());
    assert!(world.contents().await == projected);
}

#[tokio::test]
async fn commands_and_the_projector_go_on_while_it_runs() {
    let (mut world, mut history) = World::projected(3, 300).await;
    let stop = CancellationToken::new();
    let log = world.store.log().clone();
    let (projector, progress) = Projector::new(log.clone());
    let running = tokio::spawn(projector.run(stop.clone()));
    let (pool, keys) = (log.pool().clone(), vault(&world.owner).await);
    let mut spoiler = PgConnection::connect_with(&world.owner.connect_options()).await.unwrap();
    let rebuilding = tokio::spawn(async move {
        let mut mended = 0;
        for _ in 0..5 {
            sqlx::query("UPDATE orion.contents SET title = 'spoiled'")
                .execute(&mut spoiler)
                .await
                .unwrap();
            let rebuilt = rebuild(&pool, &keys, false, &unheard).await.unwrap();
            mended += differing(&rebuilt)["orion.contents"];
        }
        mended
    });
    let mut during = 0;
    while !rebuilding.is_finished() {
        history.go_on(&mut world, 10).await;
        during += 10;
    }
    assert!(rebuilding.await.unwrap() > 0);
    assert!(during > 10, "nothing happened meanwhile");
    assert!(progress.reached(log.head().await.unwrap(), PATIENCE).await);
    stop.cancel();
    running.await.unwrap();
    world.assert_clean().await;
}

#[tokio::test]
async fn cut_off_at_any_moment_it_leaves_the_tables_as_they_were() {
    let spoil = "UPDATE orion.contents SET title = 'spoiled'; DELETE FROM orion.pipeline_runs";
    cut_off_at_any_moment(4, spoil).await;
}

#[tokio::test]
async fn cut_off_at_any_moment_it_leaves_empty_tables_empty() {
    cut_off_at_any_moment(10, EMPTY).await;
}

async fn cut_off_at_any_moment(seed: u64, spoil: &str) {
    let (world, _) = World::projected(seed, 400).await;
    let good = world.contents().await;
    world.execute(spoil).await;
    let spoiled = world.contents().await;
    let keys = vault(&world.owner).await;
    let mut cut_off = 0;
    // Each statement of the rebuild is one moment: the connection dies at the n-th.
    for statements in (1..).map(|n: u64| n * 7) {
        let pool = world.store.log().pool().clone();
        let keys = keys.clone();
        let task = tokio::spawn(async move { rebuild(&pool, &keys, false, &unheard).await });
        let is_done = world.kill_after(statements, &task).await;
        let outcome = task.await.unwrap();
        let now = world.contents().await;
        if is_done {
            outcome.unwrap();
            assert!(now == good);
            break;
        }
        assert!(now == spoiled || now == good, "half mended after {statements} statements");
        world.settles_what_is_left().await;
        cut_off += 1;
        if now == good {
            world.execute(spoil).await;
        }
    }
    assert!(cut_off >= 10, "cut off {cut_off} times only");
    assert!(!world.has_side_schema().await);
}

impl World {
    /// An interrupted rebuild's schema is told, once PostgreSQL has noticed the interruption.
    async fn settles_what_is_left(&self) {
        let settled = async {
            let mut looks = tokio::time::interval(Duration::from_millis(20));
            loop {
                looks.tick().await;
                let left = self.has_side_schema().await.then_some("orion_rebuild");
                if leftover(&self.owner).await.unwrap() == left {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, settled).await.expect("what is left is told");
    }

    /// Ends the rebuild's own connection once it has been seen in so many states; true if the rebuild
    /// was done before.
    async fn kill_after<T>(&self, states: u64, task: &tokio::task::JoinHandle<T>) -> bool {
        let seen = AtomicU64::new(0);
        loop {
            if task.is_finished() {
                return true;
            }
            // The rebuild's lock is held by its own connection. The tests' databases share one server.
            let killed: bool = sqlx::query_scalar(
                "SELECT coalesce(bool_or($1 AND pg_terminate_backend(pid)), false) FROM pg_locks
                 WHERE locktype = 'advisory' AND granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                   AND (classid::bigint << 32 | objid::bigint) = $2",
            )
            .bind(seen.fetch_add(1, Ordering::Relaxed) >= states)
            .bind(locks::REBUILD)
            .fetch_one(&self.owner)
            .await
            .unwrap();
            if killed {
                return false;
            }
        }
    }
}

#[tokio::test]
async fn one_at_a_time() {
    let (world, _) = World::projected(5, 20).await;
    let mut other = world.owner.acquire().await.unwrap();
    let lock = sqlx::query("SELECT pg_advisory_lock($1)").bind(locks::REBUILD);
    lock.execute(&mut *other).await.unwrap();
    assert!(matches!(world.rebuild(false).await, Err(RebuildError::Busy)));
}

#[tokio::test]
async fn only_what_is_told_as_a_parent_is_led_to() {
    let world = World::new().await;
    let parents: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT confrelid::regclass::text FROM pg_constraint
         WHERE contype = 'f' AND connamespace = 'orion'::regnamespace ORDER BY 1",
    )
    .fetch_all(&world.owner)
    .await
    .unwrap();
    assert_eq!(parents, ["orion.contents", "orion.social_accounts", "orion.trends", "orion.users"]);
    // Of these only users have values that must be unique: `differing::apply` gives them up first.
    let unique: Vec<String> = sqlx::query_scalar(
        "SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
         WHERE contype = 'u' AND conrelid::regclass::text = ANY ($1) ORDER BY 1",
    )
    .bind(&parents)
    .fetch_all(&world.owner)
    .await
    .unwrap();
    assert_eq!(unique, ["orion.users UNIQUE (email)", "orion.users UNIQUE (username)"]);
}
