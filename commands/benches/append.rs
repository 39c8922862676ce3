//! Commands that begin a stream with one event of about 350 bytes, from so many callers at once.
//!
//! `cargo bench -p orion-commands --bench append`
//!
//! Four ways in one run on the same PostgreSQL, with its commits on the disk:
//! Orion's bus; the framework of cqrs-es on postgres-es with the pool that it makes by default; INSERTs of
//! one row each into a table like `events`; and INSERTs of 100 rows, the ceiling.

#![expect(clippy::expect_used, reason = "a bench that cannot run says so and ends")]

use std::sync::Arc;
use std::time::Duration;

use orion_commands::{Actor, Bus, Envelope, Single};
use orion_domain::values::{Score, Source, Topic};
use orion_domain::{Trend, TrendCommand, TrendEvent};
use orion_store::Log;
use orion_store::testing::bench::{Load, Report, load, ratio};
use orion_store::testing::{self, TestCluster, TestDatabase};
use postgres_es::{PostgresCqrs, default_postgress_pool, postgres_cqrs};
use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const CALLERS: [usize; 4] = [1, 32, 128, 512];
const RUN_FOR: Duration = Duration::from_secs(3);

/// Each way has as many turns, and its best one counts.
const ROUNDS: usize = 2;

/// How many rows the ceiling writes in a statement.
const ROWS: u32 = 100;

/// Of Orion's pool: as many as a server has by default.
const CONNECTIONS: u32 = 20;

/// Of the pool for INSERTs: their commits share the writes to the disk, so that many are at their best.
const INSERTERS: u32 = 64;

struct Ways {
    bus: Bus,
    stock: Arc<PostgresCqrs<Trend>>,
    plain: PgPool,
    /// Kept for as long as it is used.
    _stock_database: TestDatabase,
}

#[tokio::main]
async fn main() {
    let cluster = TestCluster::durable().await;
    let ways = Ways::on(&cluster).await;
    let mut report = Report::new("append");
    for callers in CALLERS {
        let mut best = [Load::default(); 4];
        for _ in 0..ROUNDS {
            for (best, load) in best.iter_mut().zip(ways.round(callers).await) {
                *best = best.or_better(load);
            }
        }
        best[3].per_second *= f64::from(ROWS);
        let names = ["Orion", "cqrs-es + postgres-es", "INSERT, 1 row", "INSERT, 100 rows"];
        for (name, load) in names.iter().zip(best) {
            report.row([
                ("callers", json!(callers)),
                ("way", json!(name)),
                ("events/s", json!(load.per_second)),
                ("p50 ms", json!(load.p50_ms)),
                ("p99 ms", json!(load.p99_ms)),
                ("Orion is x times", ratio(best[0].per_second, load.per_second)),
            ]);
        }
    }
    report.finish();
}

impl Ways {
    async fn on(cluster: &TestCluster) -> Self {
        let pool = orion_store::connect(&cluster.url(), CONNECTIONS).await.expect("a pool");
        let log: Log = testing::log(pool, CancellationToken::new()).await;

        let stock_database = cluster.database().await;
        let plain = PgPoolOptions::new().max_connections(INSERTERS);
        let plain = plain.connect(&stock_database.url).await.expect("a connection");
        for statement in [
            "CREATE SCHEMA plain",
            "CREATE TABLE plain.events (LIKE public.events INCLUDING ALL)",
            "CREATE SEQUENCE plain.position",
            // As postgres-es documents them.
            "CREATE SCHEMA stock",
            "CREATE TABLE stock.events (aggregate_type text NOT NULL, aggregate_id text NOT NULL,
                 sequence bigint NOT NULL CHECK (sequence >= 0), event_type text NOT NULL,
                 event_version text NOT NULL, payload json NOT NULL, metadata json NOT NULL,
                 PRIMARY KEY (aggregate_type, aggregate_id, sequence))",
        ] {
            sqlx::query(statement).execute(&plain).await.expect("a table to compare with");
        }
        let stock = format!("{}&options=-csearch_path%3Dstock", stock_database.url);
        let stock = postgres_cqrs(default_postgress_pool(&stock).await, vec![], ());
        Self { bus: Bus::new(log), stock: Arc::new(stock), plain, _stock_database: stock_database }
    }

    async fn round(&self, callers: usize) -> [Load; 4] {
        let bus = std::iter::repeat_n(self.bus.clone(), callers);
        let stock = std::iter::repeat_n(self.stock.clone(), callers);
        let plain = std::iter::repeat_n(self.plain.clone(), callers);
        [
            load(bus, RUN_FOR, by_orion).await,
            load(stock, RUN_FOR, by_stock).await,
            load(plain.clone(), RUN_FOR, by_row).await,
            load(plain, RUN_FOR, by_hundred_rows).await,
        ]
    }
}

fn detect() -> TrendCommand {
    TrendCommand::Detect {
        topic: Topic::parse(&"a trending topic ".repeat(12)).expect("not too long"),
        source: Source::parse("rss").expect("not empty"),
        score: Score::parse(0.87).expect("within bounds"),
        raw_data: None,
    }
}

fn metadata() -> serde_json::Value {
    json!({ "actor": "system", "command_id": Uuid::now_v7() })
}

async fn by_orion(bus: Bus) -> Bus {
    let use_case = Single::<Trend>::new(Uuid::now_v7(), detect());
    bus.run(&Envelope::of(Actor::System), &use_case).await.expect("a new stream");
    bus
}

async fn by_stock(stock: Arc<PostgresCqrs<Trend>>) -> Arc<PostgresCqrs<Trend>> {
    let metadata = serde_json::from_value(metadata()).expect("a map of texts");
    let id = Uuid::now_v7().to_string();
    stock.execute_with_metadata(&id, detect(), metadata).await.expect("a new stream");
    stock
}

async fn by_row(pool: PgPool) -> PgPool {
    let insert = "INSERT INTO plain.events VALUES
        (nextval('plain.position'), 'trend', $1, 1, 'trend.detected', '1', $2::json, $3::json, now())";
    sqlx::query(insert)
        .bind(Uuid::now_v7().to_string())
        .bind(payload())
        .bind(metadata().to_string())
        .execute(&pool)
        .await
        .expect("a new row");
    pool
}

async fn by_hundred_rows(pool: PgPool) -> PgPool {
    let ids: Vec<String> = (0..ROWS).map(|_| Uuid::now_v7().to_string()).collect();
    let payloads: Vec<String> = ids.iter().map(|_| payload()).collect();
    let metadatas: Vec<String> = ids.iter().map(|_| metadata().to_string()).collect();
    let insert = "INSERT INTO plain.events
        SELECT nextval('plain.position'), 'trend', id, 1, 'trend.detected', '1', payload::json, metadata::json, now()
        FROM unnest($1::text[], $2::text[], $3::text[]) AS n (id, payload, metadata)";
    sqlx::query(insert)
        .bind(ids)
        .bind(payloads)
        .bind(metadatas)
        .execute(&pool)
        .await
        .expect("new rows");
    pool
}

fn payload() -> String {
    let TrendCommand::Detect { topic, source, score, raw_data } = detect() else {
        unreachable!("it is what is detected")
    };
    let event = TrendEvent::Detected { topic, source, score, raw_data };
    orion_domain::event::payload(&event).expect("the event is JSON").to_string()
}
