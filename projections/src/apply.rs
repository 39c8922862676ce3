//! Events onto tables: load the rows that a batch touches, fold, write what changed.

use std::collections::HashMap;

use orion_store::Fact;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::table::Table;
use crate::tables::{Visitor, visit_all};

/// Applies events to every table, within the caller's transaction.
pub(crate) async fn apply(
    connection: &mut PgConnection,
    facts: &[Fact],
) -> Result<(), sqlx::Error> {
    visit_all(&mut Apply { connection, facts }).await
}

struct Apply<'a> {
    connection: &'a mut PgConnection,
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
        let before = load::<T>(self.connection, &changes).await?;
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
        remove::<T>(self.connection, &removed).await?;
        upsert(self.connection, &written).await
    }
}

async fn load<T: Table>(
    connection: &mut PgConnection,
    changes: &[(Uuid, &Fact)],
) -> Result<HashMap<Uuid, T>, sqlx::Error> {
    let ids: Vec<Uuid> = changes.iter().map(|(key, _)| *key).collect();
    let rows: Vec<Json<T>> =
        sqlx::query_scalar(&format!("SELECT to_json(t) FROM {} t WHERE id = ANY ($1)", T::NAME))
            .bind(ids)
            .fetch_all(connection)
            .await?;
    Ok(rows.into_iter().map(|Json(row)| (row.id(), row)).collect())
}

async fn upsert<T: Table>(connection: &mut PgConnection, rows: &[T]) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let columns = T::COLUMNS.join(", ");
    let excluded: Vec<_> = T::COLUMNS.iter().map(|column| format!("excluded.{column}")).collect();
    let statement = format!(
        "INSERT INTO {table} ({columns})
         SELECT {columns} FROM json_populate_recordset(NULL::{table}, $1::text::json)
         ON CONFLICT (id) DO UPDATE SET ({columns}) = ROW ({excluded})",
        table = T::NAME,
        excluded = excluded.join(", "),
    );
    // As text: a binary jsonb parameter would rewrite the numbers of the json columns.
    let rows = serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query(&statement).bind(rows).execute(connection).await?;
    Ok(())
}

async fn remove<T: Table>(connection: &mut PgConnection, ids: &[Uuid]) -> Result<(), sqlx::Error> {
    if ids.is_empty() {
        return Ok(());
    }
    let statement = format!("DELETE FROM {} WHERE id = ANY ($1)", T::NAME);
    sqlx::query(&statement).bind(ids).execute(connection).await?;
    Ok(())
}
