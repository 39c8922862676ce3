//! Empty tables of a projection that never ran: after an import, say.

use orion_store::Position;
use sqlx::{Connection, PgConnection};

use super::definitions::Definitions;
use super::fold::{Source, fold_into};
use super::{
    READ_MODEL, RebuildError, Rebuilt, analyze, drop_side, lock_checkpoint, make_side, side,
};
use crate::facts::FactsError;
use crate::place::{Place, Shape, Tables};
use crate::progress::checkpoint;

/// PostgreSQL's code for a lock that somebody else has.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Folds the log beside tables without a row, and moves the rows in. `None` if there is a row, or if
/// the projector has begun.
///
/// Nobody waits for the fold: what is served is first touched by the one transaction that moves.
pub(super) async fn fill_empty(
    owner: &mut PgConnection,
    shapes: &[Shape],
    source: &Source<'_>,
) -> Result<Option<Rebuilt>, RebuildError> {
    let began = checkpoint(&mut *owner, READ_MODEL).await?.position != Position::START;
    if began || !are_empty(owner, shapes).await.map_err(RebuildError::Compare)? {
        return Ok(None);
    }
    let head = orion_store::log::head(source.pool).await.map_err(FactsError::from)?;
    make_side(owner, shapes).await.map_err(RebuildError::Side)?;
    fold_into(owner, &side(), &Tables::All, source, head).await?;
    let filled = move_in(owner, shapes, head).await.map_err(RebuildError::Fill)?;
    drop_side(owner).await.map_err(RebuildError::Side)?;
    if filled.is_some() {
        analyze(owner, shapes, &Place::Live).await.map_err(RebuildError::Keys)?;
    }
    Ok(filled)
}

async fn are_empty(connection: &mut PgConnection, shapes: &[Shape]) -> Result<bool, sqlx::Error> {
    for shape in shapes {
        let statement = format!("SELECT EXISTS (SELECT FROM {})", shape.name);
        if sqlx::query_scalar(&statement).fetch_one(&mut *connection).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Moves the rows in and sets the checkpoint, in one transaction; `None` if a projector has begun meanwhile.
async fn move_in(
    owner: &mut PgConnection,
    shapes: &[Shape],
    head: Position,
) -> Result<Option<Rebuilt>, sqlx::Error> {
    let mut transaction = owner.begin().await?;
    if lock_checkpoint(&mut transaction, READ_MODEL).await? != Position::START
        || !are_empty(&mut transaction, shapes).await?
    {
        return Ok(None);
    }
    let taken = take_keys(&mut transaction, shapes).await?;
    let mut differing = Vec::new();
    for shape in shapes {
        let columns = shape.columns.join(", ");
        let statement = format!(
            "INSERT INTO {} ({columns}) SELECT {columns} FROM {}",
            shape.name,
            side().table(shape.name)
        );
        let inserted = sqlx::query(&statement).execute(&mut *transaction).await?;
        differing.push((shape.name, inserted.rows_affected()));
    }
    if let Some(definitions) = taken {
        definitions.create(&mut transaction, &Place::Live).await?;
    }
    sqlx::query(
        "UPDATE projection.checkpoints SET position = $1, status = 'running', error = NULL, updated_at = now()
         WHERE name = $2",
    )
    .bind(head.0)
    .bind(READ_MODEL)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(Some(Rebuilt { position: head, differing }))
}

/// Takes keys and indexes away, for they are made faster after the rows; nothing while somebody is
/// at one of the tables, who would be in the way, and wait.
async fn take_keys(
    transaction: &mut PgConnection,
    shapes: &[Shape],
) -> Result<Option<Definitions>, sqlx::Error> {
    let mut attempt = transaction.begin().await?;
    let tables: Vec<&str> = shapes.iter().map(|shape| shape.name).collect();
    let lock = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE NOWAIT", tables.join(", "));
    if let Err(error) = sqlx::query(&lock).execute(&mut *attempt).await {
        attempt.rollback().await?;
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        return if code.as_deref() == Some(LOCK_NOT_AVAILABLE) { Ok(None) } else { Err(error) };
    }
    let definitions = Definitions::read(&mut attempt, shapes).await?;
    definitions.drop_live(&mut attempt).await?;
    attempt.commit().await?;
    Ok(Some(definitions))
}
