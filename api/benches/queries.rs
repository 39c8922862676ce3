//! Three queries over HTTP from 32 connections, on 100,000 contents.
//!
//! `cargo bench -p orion-api --bench queries`
//!
//! The reference is the best statement by hand that gives the same JSON as one text, from as many callers, in the
//! same run on the same PostgreSQL; it goes over no HTTP, parses no GraphQL and asks for no rights.
//! Q2 is asked twice: as the schema plans it, one statement for all, and below `node`, where nothing is planned.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that cannot run says so and ends"
)]

mod harness;
#[path = "harness/queries.rs"]
mod over_http;

use std::time::Duration;

use orion_store::EventStore;
use orion_store::testing::bench::{Ids, Load, Report, Workload, load, ratio};
use orion_store::testing::{self, TestCluster};
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::harness::Server;
use self::over_http::{CONTENT_BY_ID, ask_in_turn, until_sealed};

const CONNECTIONS: usize = 32;
const RUN_FOR: Duration = Duration::from_secs(5);
/// Each way has as many turns, and its best one counts.
const ROUNDS: usize = 2;

const WORKLOAD: Workload =
    Workload { seed: 6, users: 1_000, trends: 10_000, contents: 100_000, steps: 4..=13 };

/// How many contents are asked for by id, in turn.
const ASKED: usize = 1_000;

/// A query, and the statement that gives the same JSON.
struct Way {
    name: &'static str,
    query: &'static str,
    /// Has a content's id as `$1`.
    by_hand: &'static str,
}

const WAYS: [Way; 3] = [
    Way {
        name: "Q1: one content by id, 8 fields",
        query: CONTENT_BY_ID,
        by_hand: "SELECT json_build_object('data', json_build_object('content', json_build_object(
                'id', c.id, 'title', c.title, 'hook', c.hook, 'scriptBody', c.script_body,
                'visualPrompts', c.visual_prompts, 'status', upper(c.status::text),
                'createdAt', to_json(c.created_at), 'updatedAt', to_json(c.updated_at))))::text
            FROM orion.contents c WHERE id = $1",
    },
    Way {
        name: "Q2: newest 20 with trend, creator, 5 assets, 5 runs",
        query: "{ contents(first: 20) { nodes { id title status createdAt trend { id topic score } createdBy { id name }
            mediaAssets(first: 5) { nodes { id assetType filePath } } pipelineRuns(first: 5) { nodes { id stage status } } } } }",
        by_hand: "SELECT json_build_object('data', json_build_object('contents', json_build_object('nodes',
            (SELECT json_agg(json_build_object(
                'id', c.id, 'title', c.title, 'status', upper(c.status::text), 'createdAt', c.created_at,
                'trend', (SELECT json_build_object('id', t.id, 'topic', t.topic, 'score', t.score)
                          FROM orion.trends t WHERE t.id = c.trend_id),
                'createdBy', (SELECT json_build_object('id', u.id, 'name', u.name)
                              FROM orion.users u WHERE u.id = c.created_by),
                'mediaAssets', json_build_object('nodes', (SELECT json_agg(json_build_object(
                        'id', m.id, 'assetType', upper(m.asset_type::text), 'filePath', m.file_path))
                    FROM (SELECT * FROM orion.media_assets m WHERE m.content_id = c.id
                          ORDER BY m.created_at, m.id LIMIT 5) m)),
                'pipelineRuns', json_build_object('nodes', (SELECT json_agg(json_build_object(
                        'id', r.id, 'stage', r.stage, 'status', upper(r.status::text)))
                    FROM (SELECT * FROM orion.pipeline_runs r WHERE r.content_id = c.id
                          ORDER BY r.id LIMIT 5) r))))
             FROM (SELECT * FROM orion.contents WHERE $1::uuid IS NOT NULL
                   ORDER BY created_at DESC, id DESC LIMIT 20) c))))::text",
    },
    Way {
        name: "Q3: 50 of those in review, with totalCount",
        query: "{ contents(first: 50, filter: { status: REVIEW }) { totalCount nodes { id title status createdAt } } }",
        by_hand: "SELECT json_build_object('data', json_build_object('contents', json_build_object(
            'totalCount', (SELECT count(*) FROM orion.contents WHERE status = 'review'),
            'nodes', (SELECT json_agg(json_build_object(
                    'id', c.id, 'title', c.title, 'status', upper(c.status::text), 'createdAt', c.created_at))
                FROM (SELECT * FROM orion.contents WHERE status = 'review' AND $1::uuid IS NOT NULL
                      ORDER BY created_at DESC, id DESC LIMIT 50) c))))::text",
    },
];

#[tokio::main]
async fn main() {
    let cluster = TestCluster::durable().await;
    let ids = fill(&cluster.url()).await;
    let (server, _) = Server::start(&cluster.url()).await;
    until_sealed(&server).await;
    let size = u32::try_from(CONNECTIONS).unwrap();
    let pool = PgPoolOptions::new().max_connections(size).test_before_acquire(false);
    let pool = pool.connect(&cluster.url()).await.unwrap();
    let asked: &'static [Uuid] = ids.contents[ids.contents.len() - ASKED..].to_vec().leak();

    let mut report = Report::new("queries");
    for way in WAYS {
        compare(&server, &pool, way.query, way.by_hand, asked[0]).await;
        let (mut best, mut reference) = (Load::default(), Load::default());
        for _ in 0..ROUNDS {
            let connections = server.connections(CONNECTIONS).await;
            let load = ask_in_turn(connections, RUN_FOR, way.query, asked).await;
            best = best.or_better(load);
            reference = reference.or_better(by_hand(&pool, way.by_hand, asked).await);
        }
        row(&mut report, way.name, best, reference);
        row(&mut report, "   by hand", reference, reference);
    }
    report.finish();
}

fn row(report: &mut Report, name: &str, load: Load, reference: Load) {
    report.row([
        ("query", json!(name)),
        ("requests/s", json!(load.per_second)),
        ("p50 ms", json!(load.p50_ms)),
        ("p99 ms", json!(load.p99_ms)),
        ("of by hand", ratio(load.per_second, reference.per_second)),
    ]);
}

/// Appends the workload and fills the tables with it.
async fn fill(url: &str) -> Ids {
    let stop = CancellationToken::new();
    let pool = orion_store::connect(url, 4).await.unwrap();
    let log = testing::log(pool.clone(), stop.clone()).await;
    let ids = WORKLOAD.append_to(&EventStore::new(log.clone())).await;
    orion_projections::rebuild(&pool, log.vault(), false, &|_| {}).await.unwrap();
    stop.cancel();
    let owner = PgPool::connect(url).await.unwrap();
    // Nobody is told of all this: the server would be busy with millions of rows while it is measured.
    let told = "INSERT INTO projection.checkpoints (name, position) SELECT 'notifications', max(position) FROM events";
    sqlx::query(told).execute(&owner).await.unwrap();
    sqlx::query("VACUUM ANALYZE").execute(&owner).await.unwrap();
    ids
}

/// Both give the same, or the figures would mean nothing.
async fn compare(server: &Server, pool: &PgPool, query: &str, by_hand: &str, id: Uuid) {
    let mut connection = server.connections(1).await.remove(0);
    let answer = connection.data(query, json!({ "id": id })).await;
    let text: String = sqlx::query_scalar(by_hand).bind(id).fetch_one(pool).await.unwrap();
    let mut expected: Value = serde_json::from_str(&text).unwrap();
    let (ours, theirs) = (shape(answer), shape(expected["data"].take()));
    assert_eq!(ours, theirs, "{query}");
}

/// An answer without what may be written in more than one way: times, and lists of nothing.
fn shape(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|name, _| !name.ends_with("At"));
        for (name, field) in fields {
            let is_nothing = name == "nodes" && field.is_null();
            *field = if is_nothing { json!([]) } else { shape(field.take()) };
        }
    }
    if let Some(items) = value.as_array_mut() {
        for item in items {
            *item = shape(item.take());
        }
    }
    value
}

async fn by_hand(pool: &PgPool, statement: &'static str, asked: &'static [Uuid]) -> Load {
    let callers = (0..CONNECTIONS).map(|turn| (turn, pool.clone()));
    load(callers, RUN_FOR, move |(turn, pool): (usize, PgPool)| async move {
        let query = sqlx::query_scalar::<_, String>(statement).bind(asked[turn % asked.len()]);
        query.fetch_one(&pool).await.expect("it has an answer");
        (turn + 1, pool)
    })
    .await
}
