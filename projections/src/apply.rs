//! Events onto tables: load the rows that a batch touches, fold, write what changed.
//!
//! All tables are loaded in one statement and written in one: a batch costs the same few round trips
//! whatever it touches.

use std::collections::HashMap;
use std::convert::Infallible;

use orion_store::Fact;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::place::Place;
use crate::table::Table;
use crate::tables::{Visitor, visit_all};

/// Applies events to every table of a place, within the caller's transaction.
pub(crate) async fn apply(
    connection: &mut PgConnection,
    place: &Place,
    facts: &[Fact],
) -> Result<(), sqlx::Error> {
    let mut touched = Touched { place, facts, tables: Vec::new() };
    let Ok(()) = visit_all(&mut touched).await;
    let tables = touched.tables;
    let before = load(connection, &tables).await?;
    let mut folding = Folding { tables: tables.into_iter().zip(before), changed: Vec::new() };
    visit_all(&mut folding).await?;
    remove(connection, &folding.changed).await?;
    upsert(connection, &folding.changed).await
}

/// The rows of a table that a batch touches, in the order of its events.
struct TouchedTable<'a> {
    name: String,
    changes: Vec<(Uuid, &'a Fact)>,
}

/// Collects what a batch touches, an entry for each table.
struct Touched<'a> {
    place: &'a Place,
    facts: &'a [Fact],
    tables: Vec<TouchedTable<'a>>,
}

impl Visitor for Touched<'_> {
    type Error = Infallible;

    async fn visit<T: Table>(&mut self) -> Result<(), Infallible> {
        let keyed = |fact| T::keys(fact).into_iter().map(move |key| (key, fact));
        let changes = self.facts.iter().flat_map(keyed).collect();
        self.tables.push(TouchedTable { name: self.place.table(T::NAME), changes });
        Ok(())
    }
}

/// The rows that are there, as JSON, for each table.
async fn load(
    connection: &mut PgConnection,
    tables: &[TouchedTable<'_>],
) -> Result<Vec<Vec<String>>, sqlx::Error> {
    let mut rows = vec![Vec::new(); tables.len()];
    let mut parts = Vec::new();
    let mut ids: Vec<Vec<Uuid>> = Vec::new();
    for (index, TouchedTable { name, changes }) in tables.iter().enumerate() {
        if !changes.is_empty() {
            ids.push(changes.iter().map(|(key, _)| *key).collect());
            let number = ids.len();
            parts.push(format!(
                "SELECT {index}, to_json(t)::text FROM {name} t WHERE id = ANY (${number})"
            ));
        }
    }
    if parts.is_empty() {
        return Ok(rows);
    }
    let statement = parts.join(" UNION ALL ");
    let mut query = sqlx::query_as(&statement);
    for ids in ids {
        query = query.bind(ids);
    }
    let found: Vec<(i32, String)> = query.fetch_all(connection).await?;
    for (index, row) in found {
        if let Some(rows) = usize::try_from(index).ok().and_then(|index| rows.get_mut(index)) {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// What a batch makes of a table.
struct Changed {
    name: String,
    columns: &'static [&'static str],
    /// The new rows as a JSON array.
    written: Option<String>,
    removed: Vec<Uuid>,
}

/// Folds the events of a batch onto the rows that they touch.
struct Folding<I> {
    /// In the order of visits.
    tables: I,
    changed: Vec<Changed>,
}

impl<'a, I: Iterator<Item = (TouchedTable<'a>, Vec<String>)> + Send> Visitor for Folding<I> {
    type Error = sqlx::Error;

    async fn visit<T: Table>(&mut self) -> Result<(), sqlx::Error> {
        let Some((TouchedTable { name, changes }, rows)) = self.tables.next() else {
            return Ok(());
        };
        let mut before: HashMap<Uuid, T> = HashMap::new();
        for row in rows {
            let row: T = serde_json::from_str(&row).map_err(|error| decode(error.into()))?;
            before.insert(row.id(), row);
        }
        let mut after: HashMap<Uuid, Option<T>> = HashMap::new();
        for (key, fact) in changes {
            let row = after.entry(key).or_insert_with(|| before.get(&key).cloned());
            *row = T::fold(row.take(), key, fact);
        }
        let (mut written, mut removed) = (Vec::new(), Vec::new());
        for (key, row) in after {
            match row {
                Some(row) if before.get(&key) != Some(&row) => written.push(row),
                None if before.contains_key(&key) => removed.push(key),
                Some(_) | None => {} // as it was
            }
        }
        let written = (!written.is_empty()).then(|| serde_json::to_string(&written)).transpose();
        let written = written.map_err(|error| sqlx::Error::Encode(error.into()))?;
        self.changed.push(Changed { name, columns: T::COLUMNS, written, removed });
        Ok(())
    }
}

fn decode(source: sqlx::error::BoxDynError) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: "to_json".to_owned(), source }
}

/// Before anything is written: a value that a removed row had may be taken by another.
async fn remove(connection: &mut PgConnection, changed: &[Changed]) -> Result<(), sqlx::Error> {
    for Changed { name, removed, .. } in changed.iter().filter(|table| !table.removed.is_empty()) {
        let statement = format!("DELETE FROM {name} WHERE id = ANY ($1)");
        sqlx::query(&statement).bind(removed).execute(&mut *connection).await?;
    }
    Ok(())
}

/// All tables in one statement. PostgreSQL looks at foreign keys at its end.
async fn upsert(connection: &mut PgConnection, changed: &[Changed]) -> Result<(), sqlx::Error> {
    let written: Vec<_> =
        changed.iter().filter_map(|table| Some((table, table.written.as_ref()?))).collect();
    if written.is_empty() {
        return Ok(());
    }
    let mut parts = Vec::with_capacity(written.len());
    for ((Changed { name, columns, .. }, _), number) in written.iter().zip(1..) {
        let excluded: Vec<_> = columns.iter().map(|column| format!("excluded.{column}")).collect();
        let (columns, excluded) = (columns.join(", "), excluded.join(", "));
        // As text: a binary jsonb parameter would rewrite the numbers of the json columns.
        parts.push(format!(
            "w{number} AS (
                INSERT INTO {name} ({columns})
                SELECT {columns} FROM json_populate_recordset(NULL::{name}, ${number}::text::json)
                ON CONFLICT (id) DO UPDATE SET ({columns}) = ROW ({excluded}))"
        ));
    }
    let statement = format!("WITH {} SELECT", parts.join(", "));
    let mut query = sqlx::query(&statement);
    for (_, rows) in written {
        query = query.bind(rows);
    }
    query.execute(connection).await?;
    Ok(())
}
