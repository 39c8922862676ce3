//! The drift check: folds the log again and compares every row with the live tables.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::convert::Infallible;

use futures::TryStreamExt;
use orion_store::{Fact, Position, ReadError, RecordedEvent, StoreError, Vault};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use crate::READ_MODEL;
use crate::progress::{ProgressError, checkpoint};
use crate::table::Table;
use crate::tables::{Visitor, visit_all};

/// How many events are read at a time.
const READ_MAX: i64 = 5_000;

/// A row that is not what the log says.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Schema and table.
    pub table: &'static str,
    /// The primary key.
    pub id: Uuid,
    /// What the log says: the row by column, or nothing.
    pub expected: Option<Value>,
    /// What the table has.
    pub found: Option<Value>,
}

/// Why a check could not be done.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// PostgreSQL refused or could not be reached.
    #[error("reading the tables")]
    Database(#[from] sqlx::Error),
    /// The checkpoint could not be read.
    #[error("reading the checkpoint")]
    Progress(#[from] ProgressError),
    /// The log could not be read.
    #[error("reading the log")]
    Log(#[from] StoreError),
    /// An event could not be read.
    #[error("reading the event at position {position}")]
    Event {
        /// Where.
        position: Position,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// The tables show what the log does not have.
    #[error("the log ends at {head}, before the projection's position {position}")]
    LogEnds {
        /// The newest event.
        head: Position,
        /// The projection's checkpoint.
        position: Position,
    },
}

/// Compares every table with the fold of the log up to the checkpoint, at one snapshot.
/// Gives the checkpoint and the rows that differ.
///
/// It holds the folded rows in memory, but never the log nor a whole table.
pub async fn check(
    pool: &PgPool,
    vault: &Vault,
) -> Result<(Position, Vec<Difference>), CheckError> {
    let mut connection = pool.acquire().await?;
    let mut snapshot = connection.begin().await?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .execute(&mut *snapshot)
        .await?;
    let position = checkpoint(&mut *snapshot, READ_MODEL).await?.position;
    let expected = fold_until(&mut snapshot, vault, position).await?;
    let mut compare = Compare { snapshot: &mut snapshot, expected, differences: Vec::new() };
    visit_all(&mut compare).await?;
    Ok((position, compare.differences))
}

/// Every table as the log says it is after the event at `position`.
async fn fold_until(
    snapshot: &mut PgConnection,
    vault: &Vault,
    position: Position,
) -> Result<Rows, CheckError> {
    let mut fold = Fold { rows: Rows::default(), facts: Vec::new() };
    let mut head = Position::START;
    while head < position {
        fold.facts = next_facts(snapshot, vault, head, position).await?;
        head = fold.facts.last().map_or(position, |fact| fact.position);
        let Ok(()) = visit_all(&mut fold).await;
    }
    Ok(fold.rows)
}

/// The next events after `head` and up to `position`, at least one.
pub(crate) async fn next_facts(
    snapshot: &mut PgConnection,
    vault: &Vault,
    head: Position,
    position: Position,
) -> Result<Vec<Fact>, CheckError> {
    let limit = READ_MAX.min(position.0 - head.0);
    let events = orion_store::log::read(&mut *snapshot, head, limit).await?;
    if events.is_empty() {
        return Err(CheckError::LogEnds { head, position });
    }
    let ring = vault.ring_within(snapshot, &events).await?;
    let read = |event: &RecordedEvent| {
        ring.read(event).map_err(|source| CheckError::Event { position: event.position, source })
    };
    events.iter().map(read).collect()
}

/// The rows of every table by key; each table has a type of its own for them.
#[derive(Default)]
struct Rows(HashMap<TypeId, Box<dyn Any + Send>>);

impl Rows {
    /// Takes a table's rows out.
    fn take<T: Table>(&mut self) -> HashMap<Uuid, T> {
        let rows = self.0.remove(&TypeId::of::<T>()).and_then(|rows| rows.downcast().ok());
        rows.map(|rows| *rows).unwrap_or_default()
    }

    fn put<T: Table>(&mut self, rows: HashMap<Uuid, T>) {
        self.0.insert(TypeId::of::<T>(), Box::new(rows));
    }
}

/// Folds some events onto each table.
struct Fold {
    rows: Rows,
    facts: Vec<Fact>,
}

impl Visitor for Fold {
    type Error = Infallible;

    async fn visit<T: Table>(&mut self) -> Result<(), Infallible> {
        let mut rows = self.rows.take::<T>();
        for fact in &self.facts {
            for key in T::keys(fact) {
                let row = rows.remove(&key);
                if let Some(row) = T::fold(row, key, fact) {
                    rows.insert(key, row);
                }
            }
        }
        self.rows.put(rows);
        Ok(())
    }
}

/// Compares each table with its folded rows.
struct Compare<'a> {
    snapshot: &'a mut PgConnection,
    expected: Rows,
    differences: Vec<Difference>,
}

impl Visitor for Compare<'_> {
    type Error = CheckError;

    async fn visit<T: Table>(&mut self) -> Result<(), CheckError> {
        let mut expected = self.expected.take::<T>();
        let statement = format!("SELECT to_json(t) FROM {} t", T::NAME);
        let mut found = sqlx::query_scalar::<_, Json<T>>(&statement).fetch(&mut *self.snapshot);
        while let Some(Json(row)) = found.try_next().await? {
            let id = row.id();
            let wanted = expected.remove(&id);
            if wanted.as_ref() != Some(&row) {
                self.differences.push(difference(id, wanted.as_ref(), Some(&row)));
            }
        }
        self.differences.extend(expected.iter().map(|(id, row)| difference(*id, Some(row), None)));
        Ok(())
    }
}

fn difference<T: Table>(id: Uuid, expected: Option<&T>, found: Option<&T>) -> Difference {
    let json = |row: &T| serde_json::to_value(row).unwrap_or_default();
    Difference { table: T::NAME, id, expected: expected.map(json), found: found.map(json) }
}
