//! The notifications computed anew, and mended where they differ.
//!
//! The log is projected once more, in its order, into tables beside the served ones. Unlike a fold of single
//! streams, a row that is wrong makes later ones wrong; so rows are compared while the projector is held.

use orion_store::{Position, Vault};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};

use super::{TABLES, Writer};
use crate::NOTIFICATIONS;
use crate::facts::Facts;
use crate::progress::checkpoint;
use crate::rebuild::{RebuildError, Rebuilt, SIDE, begin, end, lock_checkpoint};

/// Computes the notifications anew up to their checkpoint and mends the rows that differ; with `dry_run`
/// it only compares.
///
/// The login of `pool` must own the tables. `folded` is told of so many more events that are projected.
pub async fn rebuild_notifications(
    pool: &PgPool,
    vault: &Vault,
    dry_run: bool,
    folded: &(dyn Fn(u64) + Send + Sync),
) -> Result<Rebuilt, RebuildError> {
    let mut owner = begin(pool).await?;
    make_side(&mut owner).await.map_err(RebuildError::Side)?;
    let mut anew = Anew { vault, position: Position::START, folded };
    let position = checkpoint(&mut owner, NOTIFICATIONS).await?.position;
    anew.advance(&mut owner, position).await?;

    let mut snapshot = owner.begin().await.map_err(RebuildError::Compare)?;
    snapshot
        .execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        .await
        .map_err(RebuildError::Compare)?;
    let position = checkpoint(&mut *snapshot, NOTIFICATIONS).await?.position;
    anew.advance(&mut snapshot, position).await?;
    let differing = compare(&mut snapshot).await.map_err(RebuildError::Compare)?;
    snapshot.commit().await.map_err(RebuildError::Compare)?;
    if dry_run || differing.iter().all(|(_, rows)| *rows == 0) {
        end(owner).await?;
        return Ok(Rebuilt { position, differing });
    }

    let mut transaction = owner.begin().await.map_err(RebuildError::Mend)?;
    let position =
        lock_checkpoint(&mut transaction, NOTIFICATIONS).await.map_err(RebuildError::Mend)?;
    anew.advance(&mut transaction, position).await?;
    let differing = compare(&mut transaction).await.map_err(RebuildError::Compare)?;
    mend(&mut transaction).await.map_err(RebuildError::Mend)?;
    transaction.commit().await.map_err(RebuildError::Mend)?;
    end(owner).await?;
    Ok(Rebuilt { position, differing })
}

/// Brings the tables beside the served ones to where the projector is.
struct Anew<'a> {
    vault: &'a Vault,
    position: Position,
    folded: &'a (dyn Fn(u64) + Send + Sync),
}

impl Anew<'_> {
    async fn advance(
        &mut self,
        connection: &mut PgConnection,
        until: Position,
    ) -> Result<(), RebuildError> {
        let mut facts = Facts::new(self.vault, self.position, until);
        loop {
            // One transaction, or part of one, for many small statements.
            let mut transaction = connection.begin().await.map_err(RebuildError::CatchUp)?;
            let next = facts.next(&mut transaction).await?;
            let Some(newest) = next.last() else { return Ok(()) };
            let mut writer = Writer { connection: &mut transaction, schema: SIDE };
            writer.apply_all(&next).await.map_err(RebuildError::CatchUp)?;
            transaction.commit().await.map_err(RebuildError::CatchUp)?;
            self.position = newest.position;
            (self.folded)(next.len() as u64);
        }
    }
}

async fn make_side(owner: &mut PgConnection) -> Result<(), sqlx::Error> {
    owner.execute(format!("CREATE SCHEMA {SIDE}").as_str()).await?;
    for (table, living) in TABLES {
        let statement = format!(
            "CREATE UNLOGGED TABLE {SIDE}.{table} (LIKE {living} INCLUDING DEFAULTS INCLUDING INDEXES)"
        );
        owner.execute(statement.as_str()).await?;
    }
    Ok(())
}

/// Says how many rows differ in each table.
async fn compare(connection: &mut PgConnection) -> Result<Vec<(&'static str, u64)>, sqlx::Error> {
    let mut differing = Vec::new();
    for (table, living) in TABLES {
        let statement = format!(
            "SELECT count(*) FROM {living} living FULL JOIN {SIDE}.{table} side USING (id)
             WHERE living::text IS DISTINCT FROM side::text"
        );
        let rows: i64 = sqlx::query_scalar(&statement).fetch_one(&mut *connection).await?;
        differing.push((living, rows.unsigned_abs()));
    }
    Ok(differing)
}

/// Removes the rows that differ, then writes those that are not there: no two are in each other's way.
async fn mend(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    for (table, living) in TABLES {
        let delete = format!(
            "DELETE FROM {living} living WHERE NOT EXISTS
             (SELECT FROM {SIDE}.{table} side WHERE side.id = living.id AND side::text = living::text)"
        );
        connection.execute(delete.as_str()).await?;
        let insert = format!(
            "INSERT INTO {living} SELECT * FROM {SIDE}.{table} side
             WHERE NOT EXISTS (SELECT FROM {living} living WHERE living.id = side.id)"
        );
        connection.execute(insert.as_str()).await?;
    }
    Ok(())
}
