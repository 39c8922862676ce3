//! Tables that are served: computed beside, compared, and mended where they differ.

use orion_store::Position;
use sqlx::{Connection, Executor as _, PgConnection};

use super::definitions::Definitions;
use super::fold::{Source, fold_into};
use super::{
    READ_MODEL, RebuildError, Rebuilt, analyze, differing, lock_checkpoint, make_side, side,
};
use crate::apply;
use crate::facts::{Facts, FactsError};
use crate::place::{Shape, Tables};
use crate::progress::checkpoint;

/// Fewer events than this are left for the time in which the projector waits.
const CAUGHT_UP: i64 = 1_000;

/// How often it is tried to come so near: the projector may be faster.
const CATCH_UPS: usize = 20;

/// Folds the log beside the served tables, compares, and mends what differs.
pub(super) async fn mend(
    owner: &mut PgConnection,
    shapes: &[Shape],
    source: &Source<'_>,
    dry_run: bool,
) -> Result<Rebuilt, RebuildError> {
    let position = checkpoint(&mut *owner, READ_MODEL).await?.position;
    let head = orion_store::log::head(source.pool).await.map_err(FactsError::from)?;
    if head < position {
        return Err(FactsError::LogEnds { head, position }.into());
    }
    make_side(owner, shapes).await.map_err(RebuildError::Side)?;
    fold_into(owner, &side(), &Tables::All, source, position).await?;
    make_keys(owner, shapes).await.map_err(RebuildError::Keys)?;
    let position = come_near(owner, source, position).await?;

    let mut snapshot = owner.begin().await.map_err(RebuildError::Compare)?;
    snapshot
        .execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        .await
        .map_err(RebuildError::Compare)?;
    let compared = checkpoint(&mut *snapshot, READ_MODEL).await?.position;
    catch_up(&mut snapshot, source, position, compared).await?;
    let differing =
        differing::compare(&mut snapshot, shapes).await.map_err(RebuildError::Compare)?;
    snapshot.commit().await.map_err(RebuildError::Compare)?;
    if dry_run || differing.iter().all(|(_, rows)| *rows == 0) {
        return Ok(Rebuilt { position: compared, differing });
    }

    let mut transaction = owner.begin().await.map_err(RebuildError::Mend)?;
    let position =
        lock_checkpoint(&mut transaction, READ_MODEL).await.map_err(RebuildError::Mend)?;
    // Rows that were alike are alike still: both sides have folded the same events onto them.
    catch_up(&mut transaction, source, compared, position).await?;
    differing::apply(&mut transaction, shapes).await.map_err(RebuildError::Mend)?;
    transaction.commit().await.map_err(RebuildError::Mend)?;
    Ok(Rebuilt { position, differing })
}

async fn make_keys(owner: &mut PgConnection, shapes: &[Shape]) -> Result<(), sqlx::Error> {
    Definitions::read(owner, shapes).await?.create_primary_keys(owner, &side()).await?;
    analyze(owner, shapes, &side()).await
}

/// Follows the projector until little is left. Gives the position.
async fn come_near(
    owner: &mut PgConnection,
    source: &Source<'_>,
    mut position: Position,
) -> Result<Position, RebuildError> {
    for _ in 0..CATCH_UPS {
        let newest = checkpoint(&mut *owner, READ_MODEL).await?.position;
        catch_up(owner, source, position, newest).await?;
        if newest.0 - position.0 < CAUGHT_UP {
            return Ok(newest);
        }
        position = newest;
    }
    Ok(position)
}

/// Brings the tables beside the served ones up to a newer position. Refuses a log that lacks events in between.
async fn catch_up(
    connection: &mut PgConnection,
    source: &Source<'_>,
    from: Position,
    to: Position,
) -> Result<(), RebuildError> {
    let mut facts = Facts::new(source.vault, from, to);
    let mut at = from;
    loop {
        let next = facts.next(connection).await?;
        let Some(newest) = next.last().map(|fact| fact.position) else { return Ok(()) };
        let found = at.0.unsigned_abs() + next.len() as u64;
        if found != newest.0.unsigned_abs() {
            return Err(FactsError::Gap { found, position: newest }.into());
        }
        at = newest;
        apply::apply(connection, &side(), &next).await.map_err(RebuildError::CatchUp)?;
        (source.folded)(next.len() as u64);
    }
}
