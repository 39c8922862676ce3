//! Events onto tables: load the rows that a batch touches, fold, write what changed.

use std::collections::HashMap;

use orion_store::Fact;
use sqlx::PgConnection;
use sqlx::types::Json;
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
    visit_all(&mut Apply { connection, place, facts }).await
}

struct Apply<'a> {
    connection: &'a mut PgConnection,
    place: &'a Place,
    facts: &'a [Fact],
}

impl Visitor for Apply<'_> {
    type Error = sqlx::Error;

    async fn visit<T: Table>(&mut self) -> Result<(), sqlx::Error> {
        let changes: Vec<(Uuid, &Fact)> = self
            .facts
            .iter()
            .flat_map(|fact| T::keys(fact).into_iter().map(move |key| (key, fact)))
            .collect();
        if changes.is_empty() {
            return Ok(());
        }
        let table = self.place.table(T::NAME);
        let before = load::<T>(self.connection, &table, &changes).await?;
        let mut after: HashMap<Uuid, Option<T>> = HashMap::new();
        for (key, fact) in changes {
            let row = after.entry(key).or_insert_with(|| before.get(&key).cloned());
            *row = T::fold(row.take(), key, fact);
        }
        let mut written = Vec::new();
        let mut removed = Vec::new();
        for (key, row) in after {
            match row {
                Some(row) if before.get(&key) != Some(&row) => written.push(row),
                None if before.contains_key(&key) => removed.push(key),
                Some(_) | None => {} // as it was
            }
        }
        remove(self.connection, &table, &removed).await?;
        upsert(self.connection, &table, &written).await
    }
}

async fn load<T: Table>(
    connection: &mut PgConnection,
    table: &str,
    changes: &[(Uuid, &Fact)],
) -> Result<HashMap<Uuid, T>, sqlx::Error> {
    let ids: Vec<Uuid> = changes.iter().map(|(key, _)| *key).collect();
    let rows: Vec<Json<T>> =
        sqlx::query_scalar(&format!("SELECT to_json(t) FROM {table} t WHERE id = ANY ($1)"))
            .bind(ids)
            .fetch_all(connection)
            .await?;
    Ok(rows.into_iter().map(|Json(row)| (row.id(), row)).collect())
}

async fn upsert<T: Table>(
    connection: &mut PgConnection,
    table: &str,
    rows: &[T],
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let columns = T::COLUMNS.join(", ");
    let excluded: Vec<_> = T::COLUMNS.iter().map(|column| format!("excluded.{column}")).collect();
    let statement = format!(
        "INSERT INTO {table} ({columns})
         SELECT {columns} FROM json_populate_recordset(NULL::{table}, $1::text::json)
         ON CONFLICT (id) DO UPDATE SET ({columns}) = ROW ({excluded})",
        excluded = excluded.join(", "),
    );
    // As text: a binary jsonb parameter would rewrite the numbers of the json columns.
    let rows = serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query(&statement).bind(rows).execute(connection).await?;
    Ok(())
}

async fn remove(
    connection: &mut PgConnection,
    table: &str,
    ids: &[Uuid],
) -> Result<(), sqlx::Error> {
    if ids.is_empty() {
        return Ok(());
    }
    let statement = format!("DELETE FROM {table} WHERE id = ANY ($1)");
    sqlx::query(&statement).bind(ids).execute(connection).await?;
    Ok(())
}
