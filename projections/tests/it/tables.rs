//! The rows of the folds fit the tables of the database.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use orion_domain::Event;
use orion_domain::event::{payload_of, replace_nodes};
use orion_domain::values::MARK;
use orion_projections::tables::{Visitor, visit_all, visit_documented};
use orion_projections::{Table, changes};
use orion_store::Fact;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::golden::{event, every_golden, facts, id};

/// Tables of the read side that are no folds.
const NOT_FOLDED: [&str; 4] = [
    "projection.checkpoints",
    "projection.notifications",
    "projection.notification_recipients",
    "projection.notification_subjects",
];

#[tokio::test]
async fn every_table_is_visited_with_its_columns_in_order() -> sqlx::Result<()> {
    let actual = select(
        "SELECT format('%s.%s', c.relnamespace::regnamespace, c.relname),
                string_agg(a.attname, ', ' ORDER BY a.attnum)
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
         WHERE c.relnamespace IN ('orion'::regnamespace, 'projection'::regnamespace)
           AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
         GROUP BY c.oid",
    )
    .await?;
    let actual: BTreeMap<_, _> =
        actual.into_iter().filter(|(table, _)| !NOT_FOLDED.contains(&table.as_str())).collect();

    let visited = Columns::of_all().await;
    let expected: BTreeMap<_, _> = visited.iter().cloned().collect();
    assert_eq!(actual, expected);
    assert_eq!(visited.len(), expected.len(), "a table is visited twice");
    Ok(())
}

#[tokio::test]
async fn parents_are_visited_before_their_children() -> sqlx::Result<()> {
    let visited = Columns::of_all().await;
    let place = |name: &str| visited.iter().position(|(table, _)| table == name).unwrap();
    let foreign_keys = select(
        "SELECT 'orion.' || p.relname, 'orion.' || c.relname
         FROM pg_constraint k
         JOIN pg_class p ON p.oid = k.confrelid
         JOIN pg_class c ON c.oid = k.conrelid
         WHERE k.contype = 'f' AND k.connamespace = 'orion'::regnamespace",
    )
    .await?;
    assert!(!foreign_keys.is_empty());
    for (parent, child) in foreign_keys {
        assert!(place(&parent) < place(&child), "{child} is visited before {parent}");
    }
    Ok(())
}

#[tokio::test]
async fn the_documented_tables_are_those_in_orion() {
    let mut documented = Columns(Vec::new());
    visit_documented(&mut documented).await.unwrap();
    let all = Columns::of_all().await.into_iter();
    let expected: Vec<_> = all.filter(|(table, _)| table.starts_with("orion.")).collect();
    assert_eq!(documented.0, expected);
    assert_eq!(expected.len(), 11);
}

#[tokio::test]
async fn a_row_comes_back_from_its_table_as_it_was() -> sqlx::Result<()> {
    let db = orion_store::testing::database().await;
    let pool = PgPool::connect(&db.url).await?;
    let golden = every_golden().into_iter().map(|(_, event)| event);
    let facts = facts(golden.chain(hard_to_keep())).collect();
    let mut there_and_back = ThereAndBack { pool: &pool, facts, tables: BTreeSet::new() };
    visit_all(&mut there_and_back).await?;
    assert_eq!(there_and_back.tables.len(), 15, "had a row: {:?}", there_and_back.tables);
    pool.close().await;
    Ok(())
}

/// Values that PostgreSQL may give back otherwise than they were written.
fn hard_to_keep() -> Vec<Event> {
    let numbers = json!({
        "large": [1e15, 1e16, -1e16, 1.5e300, 1e20, u64::MAX, i64::MIN],
        "small": [1e-7, 5e-324, -0.0, 0.1 + 0.2, 8.383_658_838_626_809e-78],
    });
    let nanoseconds = "2026-03-01T12:00:00.123456789Z";
    let token = json!({"token_id": id(1), "token_hash": "5f2c", "expires_at": nanoseconds});
    let identity = json!({
        "account_id": id(2), "provider": "google", "provider_user_id": "\\N \"é\"\n\u{1f980}",
        "token_expires_at": nanoseconds,
    });
    let trend = json!({
        "topic": "", "source": "rss", "score": 0.907_303_832_202_868_9, "raw_data": numbers,
    });
    vec![
        event("user.settings_updated", &json!({"settings": numbers})),
        event("user.oauth_account_linked", &json!({"account": identity})),
        event("session.started", &json!({"user_id": id(3), "token": token})),
        event("trend.detected", &trend),
    ]
}

/// The names of the visited tables with their columns.
struct Columns(Vec<(String, String)>);

impl Columns {
    async fn of_all() -> Vec<(String, String)> {
        let mut columns = Self(Vec::new());
        visit_all(&mut columns).await.unwrap();
        columns.0
    }
}

impl Visitor for Columns {
    type Error = std::convert::Infallible;

    async fn visit<T: Table>(&mut self) -> Result<(), Self::Error> {
        self.0.push((T::NAME.to_owned(), T::COLUMNS.join(", ")));
        Ok(())
    }
}

/// Sends every row that a history makes on its way through the type of its table.
struct ThereAndBack<'a> {
    pool: &'a PgPool,
    facts: Vec<Fact>,
    tables: BTreeSet<&'static str>,
}

impl Visitor for ThereAndBack<'_> {
    type Error = sqlx::Error;

    async fn visit<T: Table>(&mut self) -> Result<(), sqlx::Error> {
        let statement = format!(
            "SELECT to_json(t)::text FROM json_populate_record(NULL::{}, $1::text::json) t",
            T::NAME
        );
        let mut rows: BTreeMap<Uuid, T> = BTreeMap::new();
        for fact in &self.facts {
            for key in T::keys(fact) {
                let Some(row) = T::fold(rows.remove(&key), key, fact) else { continue };
                assert_eq!(row.id(), key, "{}: {:?}", T::NAME, fact.event);
                let written = serde_json::to_string(&row).unwrap();
                let read: String =
                    sqlx::query_scalar(&statement).bind(&written).fetch_one(self.pool).await?;
                let same = serde_json::from_str::<T>(&read).unwrap() == row;
                assert!(same, "{}\nwritten {written}\nread    {read}", T::NAME);
                self.tables.insert(T::NAME);
                rows.insert(key, row);
            }
        }
        Ok(())
    }
}

async fn select(query: &str) -> sqlx::Result<Vec<(String, String)>> {
    let db = orion_store::testing::database().await;
    let pool = PgPool::connect(&db.url).await?;
    let rows = sqlx::query_as(query).fetch_all(&pool).await?;
    pool.close().await;
    Ok(rows)
}

/// Values that nobody is to see. Not all are sealed; of some there are only hashes.
const SECRET: [&str; 6] =
    ["access_token", "config", "credentials", "password_hash", "refresh_token", "token_hash"];

#[tokio::test]
async fn the_hidden_columns_are_secrets_and_those_that_an_erasure_changes() {
    let clear = every_golden().into_iter().map(|(_, event)| event);
    let erased =
        every_golden().into_iter().map(|(name, event)| without_personal_values(&name, &event));
    let clear = changes(&facts(clear).collect::<Vec<_>>()).await;
    let erased = changes(&facts(erased).collect::<Vec<_>>()).await;
    let mut rows = BTreeMap::new();
    let mut found = BTreeSet::new();
    for (changes, twins) in clear.into_iter().zip(erased) {
        rows.extend(twins.into_iter().map(|twin| ((twin.table, twin.id), twin.after)));
        for change in changes {
            let twin = rows.get(&(change.table, change.id)).cloned().flatten().unwrap_or_default();
            for (column, value) in change.after.iter().filter_map(Value::as_object).flatten() {
                if twin.get(column) != Some(value) || SECRET.contains(&column.as_str()) {
                    found.insert((change.table, column.clone()));
                }
            }
        }
    }
    let is_secret = |(_, column): &(&str, String)| SECRET.contains(&column.as_str());
    let (secret, personal): (BTreeSet<_>, _) = found.into_iter().partition(is_secret);
    let mut told = HiddenColumns::default();
    let Ok(()) = visit_all(&mut told).await;
    assert_eq!(personal, told.personal);
    assert_eq!(secret, told.secret);
}

/// A golden event, called by its type and perhaps a variant, after the erasure of whom it tells of.
fn without_personal_values(name: &str, clear: &Event) -> Event {
    let event_type: Vec<&str> = name.split('.').take(2).collect();
    let mut payload = payload_of(clear).unwrap();
    let Ok(()) = replace_nodes(&mut payload, MARK, &mut |_, _| Ok::<_, Infallible>(Value::Null));
    event(&event_type.join("."), &payload)
}

#[derive(Default)]
struct HiddenColumns {
    personal: BTreeSet<(&'static str, String)>,
    secret: BTreeSet<(&'static str, String)>,
}

impl Visitor for HiddenColumns {
    type Error = Infallible;

    async fn visit<T: Table>(&mut self) -> Result<(), Infallible> {
        let of_table = |column: &&str| (T::NAME, (*column).to_owned());
        self.personal.extend(T::PERSONAL.iter().map(of_table));
        self.secret.extend(T::SECRET.iter().map(of_table));
        Ok(())
    }
}
