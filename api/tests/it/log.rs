//! The log as PostgreSQL has it, asked past the server.

use chrono::{DateTime, Utc};
use orion_projections::Difference;
use orion_store::testing::vault;
use orion_store::{Position, Vault};
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Postgres, Transaction};

use crate::eventually::eventually;

/// Looks into a server's database as its owner.
#[derive(Clone, Debug)]
pub struct Records {
    /// A few connections.
    pub pool: PgPool,
    vault: Vault,
}

impl Records {
    /// Connects.
    pub async fn of(database_url: &str) -> Self {
        let pool = PgPoolOptions::new().max_connections(2).connect(database_url).await.unwrap();
        let vault = vault(&pool).await;
        Self { pool, vault }
    }

    /// The newest position.
    pub async fn head(&self) -> i64 {
        orion_store::log::head(&self.pool).await.unwrap().0
    }

    /// How many statements of the server wait for a lock.
    pub async fn waiting(&self) -> i64 {
        sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
             AND application_name = 'orion' AND wait_event_type = 'Lock'",
        )
        .fetch_one(&self.pool)
        .await
        .unwrap()
    }

    /// Waits until a reactor has done everything that is in the log.
    pub async fn reacted(&self, reactor: &str) {
        eventually("the reactor is done", async || {
            let sql = "SELECT position FROM reactor_checkpoints WHERE name = $1";
            let checkpoint: i64 =
                sqlx::query_scalar(sql).bind(reactor).fetch_one(&self.pool).await.unwrap();
            (checkpoint == self.head().await).then_some(())
        })
        .await;
    }

    /// Keeps the tables where they are until the end of the transaction.
    pub async fn hold_tables(&self) -> Transaction<'static, Postgres> {
        let mut holding = self.pool.begin().await.unwrap();
        sqlx::query("SELECT FROM projection.checkpoints FOR UPDATE")
            .execute(&mut *holding)
            .await
            .unwrap();
        holding
    }

    /// True when an event of this aggregate is at this position.
    pub async fn has(&self, position: i64, aggregate_id: &str) -> bool {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM events WHERE position = $1 AND aggregate_id = $2)",
        )
        .bind(position)
        .bind(aggregate_id)
        .fetch_one(&self.pool)
        .await
        .unwrap()
    }

    /// Invariant 1: positions are 1..n, times never run backwards, streams have no gap.
    pub async fn assert_in_order(&self) {
        let rows: Vec<(i64, DateTime<Utc>)> =
            sqlx::query_as("SELECT position, recorded_at FROM events ORDER BY position")
                .fetch_all(&self.pool)
                .await
                .unwrap();
        for (index, (position, _)) in (1_i64..).zip(&rows) {
            assert_eq!(index, *position, "a gap in the log");
        }
        assert!(rows.is_sorted_by_key(|(_, recorded_at)| *recorded_at), "time ran backwards");
        let broken: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM (SELECT sequence, row_number() OVER
                 (PARTITION BY aggregate_type, aggregate_id ORDER BY position) AS expected
             FROM events) numbered WHERE sequence <> expected",
        )
        .fetch_one(&self.pool)
        .await
        .unwrap();
        assert_eq!(broken, 0, "streams with a gap or out of order");
    }

    /// The rows that are not what the log says, at the position of the read model.
    pub async fn differences(&self) -> Vec<Difference> {
        orion_projections::check(&self.pool, &self.vault, &|_| ()).await.unwrap().1
    }

    /// Invariant 3: when the read model has reached the head, it is the fold of the log.
    pub async fn assert_projected(&self) {
        let (position, differences) = eventually("the read model reaches the head", async || {
            let head = self.head().await;
            let (position, differences) =
                orion_projections::check(&self.pool, &self.vault, &|_| ()).await.unwrap();
            (position == Position(head)).then_some((position, differences))
        })
        .await;
        assert_eq!(differences, Vec::<Difference>::new(), "at position {position}");
    }
}
