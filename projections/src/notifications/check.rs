//! The drift check of the notifications: the log is projected once more, into temporary tables, and
//! each row compared with the living one.

use orion_store::{Position, Vault};
use serde_json::Value;
use sqlx::{Connection as _, PgPool};
use uuid::Uuid;

use super::Writer;
use crate::NOTIFICATIONS;
use crate::check::{CheckError, Difference, next_facts};
use crate::progress::checkpoint;

/// Where temporary tables are.
const TEMPORARY: &str = "pg_temp";

/// The tables of the projection by their names in a schema and in full, each with the primary key `id`.
const TABLES: [(&str, &str); 3] = [
    ("notifications", "projection.notifications"),
    ("notification_recipients", "projection.notification_recipients"),
    ("notification_subjects", "projection.notification_subjects"),
];

/// Compares the notifications with what the log says up to their checkpoint, at one snapshot. Gives
/// the checkpoint and the rows that differ.
///
/// The rows are made again by the statements of the projector itself, so it finds what has changed
/// since, and not what those statements get wrong.
pub async fn check_notifications(
    pool: &PgPool,
    vault: &Vault,
) -> Result<(Position, Vec<Difference>), CheckError> {
    // Apart from the pool: the temporary tables end with the connection.
    let mut connection = pool.acquire().await?.detach();
    // Where the pool only reads: nothing but these is written.
    sqlx::query("SET default_transaction_read_only = off").execute(&mut connection).await?;
    for (table, living) in TABLES {
        let create = format!("CREATE TEMPORARY TABLE {table} (LIKE {living} INCLUDING INDEXES)");
        sqlx::query(&create).execute(&mut connection).await?;
    }
    let mut snapshot = connection.begin().await?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .execute(&mut *snapshot)
        .await?;
    let position = checkpoint(&mut *snapshot, NOTIFICATIONS).await?.position;
    let mut head = Position::START;
    while head < position {
        let facts = next_facts(&mut snapshot, vault, head, position).await?;
        head = facts.last().map_or(position, |fact| fact.position);
        Writer { connection: &mut snapshot, schema: TEMPORARY }.apply_all(&facts).await?;
    }
    let mut differences = Vec::new();
    for (table, living) in TABLES {
        let sql = format!(
            "SELECT id, to_jsonb(expected), to_jsonb(found)
             FROM {TEMPORARY}.{table} expected FULL JOIN {living} found USING (id)
             WHERE to_jsonb(expected) IS DISTINCT FROM to_jsonb(found)"
        );
        let rows: Vec<(Uuid, Option<Value>, Option<Value>)> =
            sqlx::query_as(&sql).fetch_all(&mut *snapshot).await?;
        let differs = |(id, expected, found)| Difference { table: living, id, expected, found };
        differences.extend(rows.into_iter().map(differs));
    }
    snapshot.rollback().await?;
    connection.close().await?;
    Ok((position, differences))
}
