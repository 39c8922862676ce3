//! The tables computed anew from a log of 1,000,000 events, or as many as are asked for.
//!
//! `cargo bench -p orion-projections --bench rebuild -- 1000000`
//!
//! Against two references in the same run on the same PostgreSQL: the fastest SQL that gives the same `contents` and
//! `pipeline_runs`, keys and indexes made last; and one transaction for each event.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss,
    reason = "a bench that cannot run says so and ends"
)]

use std::time::{Duration, Instant};

use orion_projections::{materialize, rebuild};
use orion_store::testing::bench::{Report, Workload, ratio};
use orion_store::testing::{self, TestCluster};
use orion_store::{EventStore, Log, Position};
use serde_json::json;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

/// That of `orion-replay`, which rebuilds.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EVENTS: u64 = 1_000_000;

/// Each way has as many turns, and its best one counts.
const ROUNDS: usize = 2;

/// How many events are applied one by one: enough for a rate.
const SINGLY: i64 = 20_000;

const TABLES: [&str; 2] = ["contents", "pipeline_runs"];

/// What the workload says of contents, with no more of the JSON looked at than is needed. Every event type that
/// changes a content is dealt with, also those that the workload does not make.
const CONTENTS: &str = "INSERT INTO by_sql.contents
    SELECT aggregate_id::uuid,
           (drafted ->> 'trend_id')::uuid, (drafted ->> 'created_by')::uuid,
           coalesce(title, drafted ->> 'title'), coalesce(script, drafted ->> 'script_body'), drafted ->> 'hook',
           drafted -> 'visual_prompts',
           (CASE last_step WHEN 'content.drafted' THEN 'draft' WHEN 'content.generation_started' THEN 'generating'
                WHEN 'content.generation_failed' THEN 'draft' WHEN 'content.returned_to_draft' THEN 'draft'
                WHEN 'content.submitted_for_review' THEN 'review' WHEN 'content.approved' THEN 'approved'
                WHEN 'content.rejected' THEN 'rejected' ELSE 'published' END)::orion.content_status,
           created_at, updated_at
    FROM (SELECT aggregate_id,
                 min(recorded_at) AS created_at, max(recorded_at) AS updated_at,
                 (array_agg(payload) FILTER (WHERE event_type = 'content.drafted'))[1] AS drafted,
                 (array_agg(payload ->> 'title' ORDER BY sequence DESC)
                     FILTER (WHERE event_type = 'content.edited' AND payload -> 'title' IS NOT NULL))[1] AS title,
                 (array_agg(payload ->> 'script_body' ORDER BY sequence DESC)
                     FILTER (WHERE event_type = 'content.script_written'))[1] AS script,
                 (array_agg(event_type ORDER BY sequence DESC)
                     FILTER (WHERE event_type NOT IN ('content.edited', 'content.script_written')))[1] AS last_step
          FROM events
          WHERE aggregate_type = 'content'
            AND event_type NOT IN ('content.stage_started', 'content.stage_completed', 'content.stage_failed',
                                   'content.media_asset_attached')
          GROUP BY aggregate_id) c";

const PIPELINE_RUNS: &str = "INSERT INTO by_sql.pipeline_runs
    SELECT (run ->> 'run_id')::uuid, begun.aggregate_id::uuid, run ->> 'stage',
           (CASE WHEN failed_at IS NOT NULL THEN 'failed' WHEN completed_at IS NOT NULL THEN 'completed'
                WHEN started_at IS NOT NULL THEN 'running' ELSE 'pending' END)::orion.pipeline_status,
           started_at, coalesce(failed_at, completed_at), error
    FROM events begun
    CROSS JOIN LATERAL json_array_elements(payload -> 'runs') run
    LEFT JOIN (
        SELECT payload ->> 'run_id' AS run_id,
               max(recorded_at) FILTER (WHERE event_type = 'content.stage_started') AS started_at,
               max(recorded_at) FILTER (WHERE event_type = 'content.stage_completed') AS completed_at,
               max(recorded_at) FILTER (WHERE event_type = 'content.stage_failed') AS failed_at,
               max(payload ->> 'error') AS error
        FROM events
        WHERE event_type IN ('content.stage_started', 'content.stage_completed', 'content.stage_failed')
        GROUP BY payload ->> 'run_id'
    ) steps ON steps.run_id = run ->> 'run_id'
    WHERE begun.event_type = 'content.generation_started'";

struct World {
    pool: PgPool,
    owner: PgPool,
    log: Log,
    events: i64,
}

#[tokio::main]
async fn main() {
    let asked = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let cluster = TestCluster::durable().await;
    let world = World::filled(&cluster.url(), asked.unwrap_or(EVENTS)).await;
    let mut report = Report::new("rebuild");

    let (mut ours, mut theirs) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        ours = ours.min(world.two_tables().await);
        theirs = theirs.min(world.by_sql().await);
        world.compare().await;
    }
    let rate = |time: Duration| world.events as f64 / time.as_secs_f64();
    let mut row = |name: &str, rate: f64, reference: f64, memory: Option<f64>| {
        report.row([
            ("what", json!(name)),
            ("events", json!(world.events)),
            ("events/s", json!(rate)),
            ("of the reference", ratio(rate, reference)),
            ("peak MiB", json!(memory)),
        ]);
    };
    row("two tables, by Orion", rate(ours), rate(theirs), None);
    row("two tables, by SQL (reference)", rate(theirs), rate(theirs), None);

    let singly = world.singly().await;
    forget_peak();
    let filled = rate(world.rebuilt().await);
    row("all tables, from empty", filled, singly, Some(peak_mib()));
    world.spoil().await;
    forget_peak();
    let mended = rate(world.rebuilt().await);
    row("all tables, 1% differs", mended, singly, Some(peak_mib()));
    row("one by one (reference)", singly, singly, None);
    report.finish();
}

impl World {
    async fn filled(url: &str, events: u64) -> Self {
        let stop = CancellationToken::new();
        let pool = orion_store::connect(url, 8).await.unwrap();
        let log = testing::log(pool.clone(), stop.clone()).await;
        // 4.75 events a content, on average, and a few for the rest.
        let contents = u32::try_from(events / 5).unwrap();
        let workload = Workload {
            seed: 2,
            users: (contents / 200).max(1),
            trends: (contents / 20).max(1),
            contents,
            steps: 1..=9,
        };
        let ids = workload.append_to(&EventStore::new(log.clone())).await;
        stop.cancel();
        let owner = PgPool::connect(url).await.unwrap();
        sqlx::query("VACUUM ANALYZE events").execute(&owner).await.unwrap();
        let events = i64::try_from(ids.events).unwrap();
        Self { pool, owner, log, events }
    }

    async fn execute(&self, sql: &str) {
        sqlx::raw_sql(sql).execute(&self.owner).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    async fn two_tables(&self) -> Duration {
        self.execute("SET client_min_messages = error; DROP SCHEMA IF EXISTS by_orion CASCADE")
            .await;
        let (tables, began) = (TABLES.map(str::to_owned), Instant::now());
        materialize(
            &self.pool,
            self.log.vault(),
            Position(self.events),
            "by_orion",
            &tables,
            &|_| {},
        )
        .await
        .unwrap();
        began.elapsed()
    }

    async fn by_sql(&self) -> Duration {
        self.execute("SET client_min_messages = error; DROP SCHEMA IF EXISTS by_sql CASCADE").await;
        let keys: Vec<String> = sqlx::query_scalar(
            "SELECT replace(format('ALTER TABLE %s ADD %s', conrelid::regclass, pg_get_constraintdef(oid)),
                            'orion.', 'by_sql.')
             FROM pg_constraint
             WHERE conrelid IN ('orion.contents'::regclass, 'orion.pipeline_runs'::regclass)
               AND (contype = 'p' OR contype = 'f' AND confrelid = 'orion.contents'::regclass)
             ORDER BY contype = 'p' DESC",
        )
        .fetch_all(&self.owner)
        .await
        .unwrap();
        let indexes: Vec<String> = sqlx::query_scalar(
            "SELECT replace(indexdef, ' ON orion.', ' ON by_sql.') FROM pg_indexes
             WHERE schemaname = 'orion' AND tablename IN ('contents', 'pipeline_runs') AND indexname NOT LIKE '%_pkey'",
        )
        .fetch_all(&self.owner)
        .await
        .unwrap();
        let began = Instant::now();
        // At a million events it would choose nested loops, and take minutes.
        let planning = ["SET LOCAL work_mem = '256MB'", "SET LOCAL enable_nestloop = off"];
        let mut statements = planning.map(str::to_owned).to_vec();
        statements.push("CREATE SCHEMA by_sql".to_owned());
        statements.extend(TABLES.map(|table| {
            format!("CREATE TABLE by_sql.{table} (LIKE orion.{table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
        }));
        statements.extend([CONTENTS.to_owned(), PIPELINE_RUNS.to_owned()]);
        statements.extend(keys);
        statements.extend(indexes);
        let mut transaction = self.owner.begin().await.unwrap();
        for statement in statements {
            let done = sqlx::query(&statement).execute(&mut *transaction).await;
            done.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        transaction.commit().await.unwrap();
        self.execute("ANALYZE by_sql.contents, by_sql.pipeline_runs").await;
        began.elapsed()
    }

    /// Both have made the same, or the figures would mean nothing.
    async fn compare(&self) {
        for table in TABLES {
            let differing: i64 = sqlx::query_scalar(&format!(
                "SELECT count(*) FROM (SELECT to_jsonb(t) FROM by_sql.{table} t
                                       EXCEPT SELECT to_jsonb(t) FROM by_orion.{table} t) d"
            ))
            .fetch_one(&self.owner)
            .await
            .unwrap();
            assert_eq!(differing, 0, "{table}");
        }
    }

    /// As the simplest projector does it: a transaction for each event, which moves the checkpoint, too.
    async fn singly(&self) -> f64 {
        self.execute(
            "DROP SCHEMA by_orion CASCADE; DROP SCHEMA by_sql CASCADE; CREATE SCHEMA singly;
             CREATE TABLE singly.contents (LIKE orion.contents INCLUDING ALL);
             CREATE TABLE singly.pipeline_runs (LIKE orion.pipeline_runs INCLUDING ALL);
             CREATE TABLE singly.media_assets (LIKE orion.media_assets INCLUDING ALL);
             CREATE TABLE singly.checkpoints (position bigint);
             INSERT INTO singly.checkpoints VALUES (0)",
        )
        .await;
        // From the middle, where all kinds of events are.
        let first = (self.events / 2).min(self.events - SINGLY).max(0);
        let events = self.log.read(Position(first), SINGLY).await.unwrap();
        let mut connection = self.owner.acquire().await.unwrap();
        let began = Instant::now();
        for event in &events {
            let statement = match event.event_type.as_str() {
                "content.drafted" => {
                    "INSERT INTO singly.contents (id, trend_id, created_by, title, hook, visual_prompts, created_at, updated_at)
                     VALUES ($1, ($2::json ->> 'trend_id')::uuid, ($2::json ->> 'created_by')::uuid, $2::json ->> 'title',
                             $2::json ->> 'hook', $2::json -> 'visual_prompts', $3, $3)"
                }
                "content.generation_started" => {
                    "WITH begun AS (UPDATE singly.contents SET status = 'generating', updated_at = $3 WHERE id = $1)
                     INSERT INTO singly.pipeline_runs (id, content_id, stage)
                     SELECT (run ->> 'run_id')::uuid, $1, run ->> 'stage' FROM json_array_elements($2::json -> 'runs') run"
                }
                "content.media_asset_attached" => {
                    "INSERT INTO singly.media_assets (id, content_id, asset_type, provider, file_path, metadata, created_at)
                     VALUES (($2::json ->> 'asset_id')::uuid, $1, ($2::json ->> 'asset_type')::orion.asset_type,
                             $2::json ->> 'provider', $2::json ->> 'file_path', $2::json -> 'metadata', $3)"
                }
                "content.script_written" => {
                    "UPDATE singly.contents SET script_body = $2::json ->> 'script_body', updated_at = $3 WHERE id = $1"
                }
                "content.stage_started" => {
                    "UPDATE singly.pipeline_runs SET status = 'running', started_at = $3
                     WHERE id = ($2::json ->> 'run_id')::uuid AND content_id = $1"
                }
                _ => {
                    "UPDATE singly.pipeline_runs SET status = 'completed', completed_at = $3
                     WHERE id = ($2::json ->> 'run_id')::uuid AND content_id = $1"
                }
            };
            let mut transaction = sqlx::Connection::begin(&mut *connection).await.unwrap();
            sqlx::query(statement)
                .bind(event.aggregate_id)
                .bind(&event.payload)
                .bind(event.recorded_at)
                .execute(&mut *transaction)
                .await
                .unwrap();
            sqlx::query("UPDATE singly.checkpoints SET position = $1")
                .bind(event.position.0)
                .execute(&mut *transaction)
                .await
                .unwrap();
            transaction.commit().await.unwrap();
        }
        let rate = events.len() as f64 / began.elapsed().as_secs_f64();
        self.execute("DROP SCHEMA singly CASCADE").await;
        rate
    }

    async fn rebuilt(&self) -> Duration {
        let began = Instant::now();
        rebuild(&self.pool, self.log.vault(), false, &|_| {})
            .await
            .expect("the tables are rebuilt");
        began.elapsed()
    }

    /// Spoils one row in a hundred.
    async fn spoil(&self) {
        self.execute(
            "UPDATE orion.contents SET title = 'spoiled' WHERE hashtext(id::text) % 100 = 0;
             UPDATE orion.pipeline_runs SET error_message = 'spoiled' WHERE hashtext(id::text) % 100 = 0;
             DELETE FROM orion.media_assets WHERE hashtext(id::text) % 100 = 0",
        )
        .await;
    }
}

/// Lets the peak of this process's memory begin anew.
fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap() / 1024.0
}
