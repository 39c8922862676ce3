//! The tables as they were: at every position what a fold of the log up to there gives.

use std::collections::BTreeMap;

use orion_projections::tables::{Visitor, visit_documented};
use orion_projections::{FactsError, RebuildError, Table, materialize};
use orion_store::testing::vault;
use orion_store::{Fact, Position};
use serde_json::json;
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;

use crate::history::History;
use crate::world::{World, pausing};

fn unheard(_: u64) {}

impl World {
    async fn materialize(&self, position: i64, schema: &str) -> Result<(), RebuildError> {
        self.materialize_some(position, schema, &[]).await
    }

    async fn materialize_some(
        &self,
        position: i64,
        schema: &str,
        tables: &[&str],
    ) -> Result<(), RebuildError> {
        let (pool, vault) = (self.store.log().pool(), vault(&self.owner).await);
        let tables: Vec<String> = tables.iter().map(|table| (*table).to_owned()).collect();
        materialize(pool, &vault, Position(position), schema, &tables, &unheard).await
    }

    async fn schemas(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT nspname::text FROM pg_namespace ORDER BY 1")
            .fetch_all(&self.owner)
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn at_every_position_the_tables_are_the_fold_of_what_was_before() {
    let mut world = World::new().await;
    History::new(6).go_on(&mut world, 300).await;
    let log = world.store.log();
    let facts = log.read_facts(&log.read(Position::START, 1_000).await.unwrap()).await.unwrap();
    for position in 0..=300 {
        world.materialize(position, "then").await.unwrap();
        let facts = &facts[..usize::try_from(position).unwrap()];
        let mut compare = Compare { pool: &world.owner, facts, rows: 0 };
        visit_documented(&mut compare).await.unwrap();
        assert!(position < 10 || compare.rows > 0);
        world.execute("SET client_min_messages = error; DROP SCHEMA \"then\" CASCADE").await;
    }
}

/// Compares each table of the schema `then` with the fold of some facts.
struct Compare<'a> {
    pool: &'a PgPool,
    facts: &'a [Fact],
    rows: usize,
}

impl Visitor for Compare<'_> {
    type Error = sqlx::Error;

    async fn visit<T: Table>(&mut self) -> Result<(), sqlx::Error> {
        let mut expected: BTreeMap<Uuid, T> = BTreeMap::new();
        for fact in self.facts {
            for key in T::keys(fact) {
                if let Some(row) = T::fold(expected.remove(&key), key, fact) {
                    expected.insert(key, row);
                }
            }
        }
        let table = T::NAME.replace("orion.", "\"then\".");
        let sql = format!("SELECT to_json(t) FROM {table} t");
        let rows: Vec<Json<T>> = sqlx::query_scalar(&sql).fetch_all(self.pool).await?;
        let found: BTreeMap<Uuid, T> = rows.into_iter().map(|Json(row)| (row.id(), row)).collect();
        assert!(found == expected, "{} after {} events", T::NAME, self.facts.len());
        self.rows += found.len();
        Ok(())
    }
}

#[tokio::test]
async fn it_is_ready_for_sql_with_keys_and_indexes() {
    let mut world = World::new().await;
    History::new(7).go_on(&mut world, 50).await;
    world.materialize(50, "then").await.unwrap();
    let definitions = |schema: &'static str| {
        let owner = world.owner.clone();
        // As `"then"` is a word of SQL, it is quoted.
        let quoted = if schema == "then" { "\"then\"" } else { schema };
        async move {
            let sql = "SELECT indexdef FROM pg_indexes WHERE schemaname = $1
                 UNION ALL
                 SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
                 FROM pg_constraint WHERE connamespace = $1::regnamespace ORDER BY 1";
            let all: Vec<String> =
                sqlx::query_scalar(sql).bind(schema).fetch_all(&owner).await.unwrap();
            let mut all: Vec<_> =
                all.into_iter().map(|text| text.replace(&format!("{quoted}."), "")).collect();
            all.sort();
            all
        }
    };
    assert_eq!(definitions("then").await, definitions("orion").await);
}

#[tokio::test]
async fn what_cannot_be_done_leaves_nothing_behind() {
    let mut world = World::new().await;
    History::new(8).go_on(&mut world, 20).await;
    let before = world.schemas().await;
    for schema in ["", "Then", "pg_then", "a b", "x; DROP SCHEMA orion"] {
        let refused = world.materialize(20, schema).await;
        assert!(matches!(refused, Err(RebuildError::SchemaName)), "{schema:?}: {refused:?}");
    }
    let beyond = world.materialize(21, "then").await;
    assert!(matches!(beyond, Err(RebuildError::Facts(FactsError::LogEnds { .. }))), "{beyond:?}");
    let exists = world.materialize(20, "orion").await;
    assert!(matches!(exists, Err(RebuildError::SchemaExists { .. })), "{exists:?}");
    // A poison event ends it in the middle.
    world
        .execute(
            "ALTER TABLE events DISABLE TRIGGER USER;
             UPDATE events SET event_type = 'trend.exploded' WHERE position = 10;
             ALTER TABLE events ENABLE TRIGGER USER",
        )
        .await;
    let poison = world.materialize(20, "then").await;
    assert!(matches!(poison, Err(RebuildError::Facts(FactsError::Event { .. }))), "{poison:?}");
    assert_eq!(world.schemas().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_was_erased_meanwhile_is_in_it() {
    let mut world = World::new().await;
    let user = Uuid::now_v7();
    let payload = json!({
        "email": "ada@example.org", "name": "Ada", "role": "editor", "email_verified": true,
        "via": "provider",
    });
    world.happens(user, "user.registered", payload).await;
    let (wait, paused) = pausing();
    let (pool, keys) = (world.store.log().pool().clone(), vault(&world.owner).await);
    let materializing =
        tokio::spawn(
            async move { materialize(&pool, &keys, Position(1), "then", &[], &wait).await },
        );
    // She is read by now.
    paused.begun();
    world.happens(user, "user.erased", json!({ "oauth_account_ids": [] })).await;
    drop(paused);
    let erased = materializing.await.unwrap();
    assert!(matches!(erased, Err(RebuildError::Erased)), "{erased:?}");
    assert!(!world.schemas().await.contains(&"then".to_owned()));

    world.materialize(1, "then").await.unwrap();
    let names = sqlx::query_scalar::<_, String>("SELECT name FROM \"then\".users");
    assert_eq!(names.fetch_all(&world.owner).await.unwrap(), ["Erased user"]);
}

#[tokio::test]
async fn only_the_tables_that_are_wanted_are_written() {
    let mut world = World::new().await;
    History::new(8).go_on(&mut world, 100).await;
    world.materialize(100, "whole").await.unwrap();
    world.materialize_some(100, "part", &["pipeline_runs", "contents"]).await.unwrap();
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'part'::regnamespace AND relkind = 'r' ORDER BY 1",
    )
    .fetch_all(&world.owner)
    .await
    .unwrap();
    assert_eq!(tables, ["contents", "pipeline_runs"]);
    for table in tables {
        let differing: i64 = sqlx::query_scalar(&format!(
            "SELECT count(*) FROM (SELECT to_jsonb(t) FROM whole.{table} t EXCEPT SELECT to_jsonb(t) FROM part.{table} t) d"
        ))
        .fetch_one(&world.owner)
        .await
        .unwrap();
        assert_eq!(differing, 0, "{table}");
    }
    let unknown = world.materialize_some(100, "other", &["orion.contents"]).await;
    assert!(matches!(unknown, Err(RebuildError::UnknownTable { .. })), "{unknown:?}");
    assert!(!world.schemas().await.contains(&"other".to_owned()));
}
