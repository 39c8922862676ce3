//! The tables computed anew from the log, beside those that are served.
//!
//! Nothing is swapped. [`rebuild`] folds the log into tables of a schema of its own, compares them with
//! the served ones, and changes only the rows that differ, in one transaction: readers go on by MVCC, the
//! projector waits for that transaction alone. [`materialize`] writes the tables as they were at a
//! position into a schema that stays.

mod definitions;
mod differing;
mod error;
mod fill;
mod fold;
mod materialize;
mod mend;

use std::time::Duration;

use orion_store::{Position, Vault, locks};
use sqlx::pool::PoolConnection;
use sqlx::{Executor as _, PgConnection, PgPool, Postgres};

pub use self::error::RebuildError;
use self::fill::fill_empty;
use self::fold::Source;
pub use self::materialize::materialize;
use self::mend::mend;
use crate::READ_MODEL;
use crate::place::{Place, Shape, Tables};

/// The schema in which a rebuild works. What is left in it was interrupted.
pub(crate) const SIDE: &str = "orion_rebuild";

/// How often the lock of the one rebuild is tried, and how long after each other.
const LOCK_TRIES: u32 = 20;
const LOCK_AGAIN: Duration = Duration::from_millis(100);

/// How long to wait for others' locks: for the batch that the projector is writing.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// What a rebuild found, and mended unless it was only to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// Where the tables were compared with the log.
    pub position: Position,
    /// How many rows differed in each table; all of them where the tables were empty.
    pub differing: Vec<(&'static str, u64)>,
}

/// Computes the served tables anew up to the projection's checkpoint and mends the rows that differ;
/// with `dry_run` it only compares. Empty tables of a projection that never ran are filled up to the head.
///
/// The login of `pool` must own the tables. `folded` is told of so many more events that are folded.
pub async fn rebuild(
    pool: &PgPool,
    vault: &Vault,
    dry_run: bool,
    folded: &(dyn Fn(u64) + Send + Sync),
) -> Result<Rebuilt, RebuildError> {
    let mut owner = begin(pool).await?;
    let source = Source { pool, vault, folded };
    let shapes = Tables::All.shapes().await;
    let filled = if dry_run { None } else { fill_empty(&mut owner, &shapes, &source).await? };
    let rebuilt = match filled {
        Some(rebuilt) => rebuilt,
        None => mend(&mut owner, &shapes, &source, dry_run).await?,
    };
    end(owner).await?;
    Ok(rebuilt)
}

/// The schema that an interrupted rebuild has left, if there is one. The next rebuild removes it.
pub async fn leftover(pool: &PgPool) -> Result<Option<&'static str>, RebuildError> {
    let is_left: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1) AND NOT EXISTS (
             SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND (classid::bigint << 32 | objid::bigint) = $2)",
    )
    .bind(SIDE)
    .bind(locks::REBUILD)
    .fetch_one(pool)
    .await
    .map_err(RebuildError::Leftover)?;
    Ok(is_left.then_some(SIDE))
}

/// The connection of the one rebuild of a database, and nothing left of the one before.
pub(crate) async fn begin(pool: &PgPool) -> Result<PgConnection, RebuildError> {
    let mut owner = owner(pool).await?;
    be_alone(&mut owner).await?;
    drop_side(&mut owner).await.map_err(RebuildError::Side)?;
    Ok(owner)
}

/// Leaves nothing behind.
pub(crate) async fn end(mut owner: PgConnection) -> Result<(), RebuildError> {
    drop_side(&mut owner).await.map_err(RebuildError::Side)?;
    sqlx::Connection::close(owner).await.map_err(RebuildError::Connect)
}

/// Waits a moment for the lock: PostgreSQL may not have noticed yet that the run before has ended.
async fn be_alone(owner: &mut PgConnection) -> Result<(), RebuildError> {
    for _ in 0..LOCK_TRIES {
        let is_alone: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
            .bind(locks::REBUILD)
            .fetch_one(&mut *owner)
            .await
            .map_err(RebuildError::Connect)?;
        if is_alone {
            return Ok(());
        }
        tokio::time::sleep(LOCK_AGAIN).await;
    }
    Err(RebuildError::Busy)
}

/// A connection under the login itself, which may make schemas, and with more patience.
async fn owner(pool: &PgPool) -> Result<PgConnection, RebuildError> {
    let pooled = pool.acquire().await.map_err(RebuildError::Connect)?;
    let mut connection = PoolConnection::<Postgres>::detach(pooled);
    // It compares whole tables, and reads them from the first row to the last.
    let settings = format!(
        "SET ROLE NONE; SET enable_seqscan = on; SET plan_cache_mode = auto; SET lock_timeout = '{}ms'",
        LOCK_TIMEOUT.as_millis()
    );
    connection.execute(settings.as_str()).await.map_err(RebuildError::Connect)?;
    Ok(connection)
}

/// Where the new rows are.
fn side() -> Place {
    Place::Beside(SIDE.to_owned())
}

async fn drop_side(owner: &mut PgConnection) -> Result<(), sqlx::Error> {
    let statement =
        format!("SET client_min_messages = warning; DROP SCHEMA IF EXISTS {SIDE} CASCADE");
    owner.execute(statement.as_str()).await?;
    Ok(())
}

/// Makes a table without keys beside each served one.
async fn make_side(owner: &mut PgConnection, shapes: &[Shape]) -> Result<(), sqlx::Error> {
    owner.execute(format!("CREATE SCHEMA {SIDE}").as_str()).await?;
    for shape in shapes {
        let table = side().table(shape.name);
        let statement =
            format!("CREATE UNLOGGED TABLE {table} (LIKE {} INCLUDING DEFAULTS)", shape.name);
        owner.execute(statement.as_str()).await?;
    }
    Ok(())
}

/// Holds a projector where it is until the end of the transaction. Gives its position.
pub(crate) async fn lock_checkpoint(
    transaction: &mut PgConnection,
    projection: &str,
) -> Result<Position, sqlx::Error> {
    sqlx::query("INSERT INTO projection.checkpoints (name) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(projection)
        .execute(&mut *transaction)
        .await?;
    sqlx::query_scalar("SELECT position FROM projection.checkpoints WHERE name = $1 FOR UPDATE")
        .bind(projection)
        .fetch_one(transaction)
        .await
        .map(Position)
}

async fn analyze(
    owner: &mut PgConnection,
    shapes: &[Shape],
    place: &Place,
) -> Result<(), sqlx::Error> {
    for shape in shapes {
        owner.execute(format!("ANALYZE {}", place.table(shape.name)).as_str()).await?;
    }
    Ok(())
}
