//! The tables computed anew from the log, beside those that are served.
//!
//! Nothing is swapped. [`rebuild`] folds the log into tables of a schema of its own, compares them with
//! the served ones, and changes only the rows that differ, in one transaction: readers go on by MVCC, the
//! projector waits for that transaction alone. [`materialize`] writes the tables as they were at a
//! position into a schema that stays.

mod definitions;
mod differing;
mod fold;
mod materialize;

use std::time::Duration;

use orion_store::{Position, StoreError, Vault, locks};
use sqlx::pool::PoolConnection;
use sqlx::{Connection, Executor as _, PgConnection, PgPool, Postgres};

use self::definitions::Definitions;
use self::fold::{Source, fold_into};
pub use self::materialize::materialize;
use crate::READ_MODEL;
use crate::apply;
use crate::check::{CheckError, next_facts};
use crate::place::{Place, Shape, Tables};
use crate::progress::{ProgressError, checkpoint};

/// The schema in which a rebuild works. What is left in it was interrupted.
const SIDE: &str = "orion_rebuild";

/// How often the lock of the one rebuild is tried, and how long after each other.
const LOCK_TRIES: u32 = 20;
const LOCK_AGAIN: Duration = Duration::from_millis(100);

/// Fewer events than this are left for the time in which the projector waits.
const CAUGHT_UP: i64 = 1_000;

/// How often it is tried to come so near: the projector may be faster.
const CATCH_UPS: usize = 20;

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

/// Why the tables could not be computed anew. Those that are served are as they were.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// PostgreSQL refused or could not be reached.
    #[error("the database refused")]
    Database(#[from] sqlx::Error),
    /// The log could not be folded.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// A task that folds has died.
    #[error("folding the log")]
    Worker(#[source] tokio::task::JoinError),
    /// One at a time.
    #[error("another rebuild of this database is running")]
    Busy,
    /// The schema that was asked for is there.
    #[error("the schema {schema} exists already")]
    SchemaExists {
        /// Its name.
        schema: String,
    },
    /// A name that PostgreSQL would not take as it is.
    #[error(
        "a schema is named by at most 63 of a-z, 0-9 and _, beginning with a letter, and not pg_… or orion_rebuild"
    )]
    SchemaName,
}

impl From<ProgressError> for RebuildError {
    fn from(error: ProgressError) -> Self {
        Self::Check(CheckError::Progress(error))
    }
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
    let mut owner = owner(pool).await?;
    be_alone(&mut owner).await?;
    let source = Source { pool, vault, folded };
    let shapes = Tables::All.shapes().await;
    drop_side(&mut owner).await?;
    let filled = if dry_run { None } else { fill_empty(&mut owner, &shapes, &source).await? };
    let rebuilt = match filled {
        Some(rebuilt) => Ok(rebuilt),
        None => mend(&mut owner, &shapes, &source, dry_run).await,
    };
    // What went wrong first is told.
    let rebuilt = rebuilt?;
    drop_side(&mut owner).await?;
    owner.close().await?;
    Ok(rebuilt)
}

/// Waits a moment for the lock: PostgreSQL may not have noticed yet that the run before has ended.
async fn be_alone(owner: &mut PgConnection) -> Result<(), RebuildError> {
    for _ in 0..LOCK_TRIES {
        let is_alone: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
            .bind(locks::REBUILD)
            .fetch_one(&mut *owner)
            .await?;
        if is_alone {
            return Ok(());
        }
        tokio::time::sleep(LOCK_AGAIN).await;
    }
    Err(RebuildError::Busy)
}

/// A connection under the login itself, which may make schemas, and with more patience.
async fn owner(pool: &PgPool) -> Result<PgConnection, sqlx::Error> {
    let mut connection = PoolConnection::<Postgres>::detach(pool.acquire().await?);
    connection.execute("SET ROLE NONE").await?;
    let patience = format!("SET lock_timeout = '{}ms'", LOCK_TIMEOUT.as_millis());
    connection.execute(patience.as_str()).await?;
    Ok(connection)
}

async fn drop_side(owner: &mut PgConnection) -> Result<(), sqlx::Error> {
    let statement =
        format!("SET client_min_messages = warning; DROP SCHEMA IF EXISTS {SIDE} CASCADE");
    owner.execute(statement.as_str()).await?;
    Ok(())
}

/// Tables without a row are filled directly, in one transaction, their indexes made last. `None` if
/// there is a row, or if the projector has begun.
async fn fill_empty(
    owner: &mut PgConnection,
    shapes: &[Shape],
    source: &Source<'_>,
) -> Result<Option<Rebuilt>, RebuildError> {
    let mut transaction = owner.begin().await?;
    if lock_checkpoint(&mut transaction).await? != Position::START {
        return Ok(None);
    }
    for shape in shapes {
        let statement = format!("SELECT EXISTS (SELECT FROM {})", shape.name);
        if sqlx::query_scalar(&statement).fetch_one(&mut *transaction).await? {
            return Ok(None);
        }
    }
    let head = orion_store::log::head(source.pool).await?;
    let definitions = Definitions::read(&mut transaction, shapes).await?;
    definitions.drop_live(&mut transaction).await?;
    fold_into(&mut transaction, &Place::Live, Tables::All, source, head).await?;
    definitions.create(&mut transaction, &Place::Live).await?;
    sqlx::query(
        "UPDATE projection.checkpoints SET position = $1, status = 'running', error = NULL, updated_at = now()
         WHERE name = $2",
    )
    .bind(head.0)
    .bind(READ_MODEL)
    .execute(&mut *transaction)
    .await?;
    let mut differing = Vec::new();
    for shape in shapes {
        let statement = format!("SELECT count(*) FROM {}", shape.name);
        let rows: i64 = sqlx::query_scalar(&statement).fetch_one(&mut *transaction).await?;
        differing.push((shape.name, rows.unsigned_abs()));
    }
    transaction.commit().await?;
    analyze(owner, shapes, &Place::Live).await?;
    Ok(Some(Rebuilt { position: head, differing }))
}

/// Folds the log beside the served tables, compares, and mends what differs.
async fn mend(
    owner: &mut PgConnection,
    shapes: &[Shape],
    source: &Source<'_>,
    dry_run: bool,
) -> Result<Rebuilt, RebuildError> {
    let side = Place::Beside(SIDE.to_owned());
    let mut position = checkpoint(&mut *owner, READ_MODEL).await?.position;
    let head = orion_store::log::head(source.pool).await?;
    if head < position {
        return Err(CheckError::LogEnds { head, position }.into());
    }
    owner.execute(format!("CREATE SCHEMA {SIDE}").as_str()).await?;
    for shape in shapes {
        let table = side.table(shape.name);
        let statement =
            format!("CREATE UNLOGGED TABLE {table} (LIKE {} INCLUDING DEFAULTS)", shape.name);
        owner.execute(statement.as_str()).await?;
    }
    fold_into(owner, &side, Tables::All, source, position).await?;
    let definitions = Definitions::read(owner, shapes).await?;
    definitions.create_primary_keys(owner, &side).await?;
    analyze(owner, shapes, &side).await?;

    let mut catch_up = CatchUp { side: &side, source };
    for _ in 0..CATCH_UPS {
        let newest = checkpoint(&mut *owner, READ_MODEL).await?.position;
        let is_near = newest.0 - position.0 < CAUGHT_UP;
        catch_up.run(owner, position, newest).await?;
        position = newest;
        if is_near {
            break;
        }
    }
    let mut snapshot = owner.begin().await?;
    snapshot.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
    let compared = checkpoint(&mut *snapshot, READ_MODEL).await?.position;
    catch_up.run(&mut snapshot, position, compared).await?;
    let differing = differing::compare(&mut snapshot, shapes).await?;
    snapshot.commit().await?;
    if dry_run || differing.iter().all(|(_, rows)| *rows == 0) {
        return Ok(Rebuilt { position: compared, differing });
    }

    let mut transaction = owner.begin().await?;
    let position = lock_checkpoint(&mut transaction).await?;
    // Rows that were alike are alike still: both sides have folded the same events onto them.
    catch_up.run(&mut transaction, compared, position).await?;
    differing::apply(&mut transaction, shapes).await?;
    transaction.commit().await?;
    Ok(Rebuilt { position, differing })
}

/// Holds the projector where it is until the end of the transaction. Gives its position.
async fn lock_checkpoint(transaction: &mut PgConnection) -> Result<Position, sqlx::Error> {
    sqlx::query("INSERT INTO projection.checkpoints (name) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(READ_MODEL)
        .execute(&mut *transaction)
        .await?;
    sqlx::query_scalar("SELECT position FROM projection.checkpoints WHERE name = $1 FOR UPDATE")
        .bind(READ_MODEL)
        .fetch_one(transaction)
        .await
        .map(Position)
}

/// Brings the tables beside the served ones up to a newer position.
struct CatchUp<'a> {
    side: &'a Place,
    source: &'a Source<'a>,
}

impl CatchUp<'_> {
    async fn run(
        &mut self,
        connection: &mut PgConnection,
        from: Position,
        to: Position,
    ) -> Result<(), RebuildError> {
        let mut position = from;
        while position < to {
            let facts = next_facts(connection, self.source.vault, position, to).await?;
            position = facts.last().map_or(to, |fact| fact.position);
            apply::apply(connection, self.side, &facts).await?;
            (self.source.folded)(facts.len() as u64);
        }
        Ok(())
    }
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

impl From<StoreError> for RebuildError {
    fn from(error: StoreError) -> Self {
        Self::Check(CheckError::Log(error))
    }
}
