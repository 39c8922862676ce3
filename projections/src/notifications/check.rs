//! The drift check of the notifications: the log is projected once more, into temporary tables, and
//! each row compared with the living one.

use orion_store::{Position, Vault};
use serde_json::Value;
use sqlx::{Connection as _, PgPool};
use uuid::Uuid;

use super::{TABLES, Writer};
use crate::NOTIFICATIONS;
use crate::check::{CheckError, Difference};
use crate::facts::Facts;
use crate::progress::checkpoint;

/// Where temporary tables are.
const TEMPORARY: &str = "pg_temp";

/// What somebody has chosen is personal.
const PERSONAL: [&str; 2] = ["quiet", "unwanted"];

/// Compares the notifications with what the log says up to their checkpoint, at one snapshot. Gives
/// the checkpoint and the rows that differ. `folded` is told of so many more events that are projected.
///
/// The rows are made again by the statements of the projector itself, so it finds what has changed
/// since, and not what those statements get wrong.
pub async fn check_notifications(
    pool: &PgPool,
    vault: &Vault,
    folded: &(dyn Fn(u64) + Send + Sync),
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
    let mut facts = Facts::new(vault, Position::START, position);
    loop {
        let next = facts.next(&mut snapshot).await?;
        if next.is_empty() {
            break;
        }
        let mut writer = Writer { connection: &mut snapshot, schema: TEMPORARY };
        writer.apply_all(&next).await.map_err(CheckError::Project)?;
        folded(next.len() as u64);
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
        let differs = |(id, expected, found)| {
            let personal = &PERSONAL;
            Difference { table: living, id, expected, found, personal, secret: &[] }
        };
        differences.extend(rows.into_iter().map(differs));
    }
    snapshot.rollback().await?;
    connection.close().await?;
    Ok((position, differences))
}
