//! The drift check: folds the log again and compares every row with the live tables.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::convert::Infallible;

use futures::TryStreamExt;
use orion_store::{Fact, Position, Vault};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use crate::READ_MODEL;
use crate::facts::{Facts, FactsError};
use crate::progress::{ProgressError, checkpoint};
use crate::table::Table;
use crate::tables::{Visitor, visit_all};

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
    /// The columns with personal values, in this and every row of the table.
    pub personal: &'static [&'static str],
    /// Those with secrets.
    pub secret: &'static [&'static str],
}

/// Why a check could not be done.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// PostgreSQL refused or could not be reached.
    #[error("reading the tables")]
    Database(#[from] sqlx::Error),
    /// The checkpoint could not be read.
    #[error(transparent)]
    Progress(#[from] ProgressError),
    /// The log could not be folded.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// The notifications could not be written into temporary tables.
    #[error("projecting the log into temporary tables")]
    Project(#[source] sqlx::Error),
}

/// Compares every table with the fold of the log up to the checkpoint, at one snapshot.
/// Gives the checkpoint and the rows that differ. `folded` is told of so many more events that are folded.
///
/// It holds the folded rows in memory, but never the log nor a whole table.
pub async fn check(
    pool: &PgPool,
    vault: &Vault,
    folded: &(dyn Fn(u64) + Send + Sync),
) -> Result<(Position, Vec<Difference>), CheckError> {
    let mut connection = pool.acquire().await?;
    let mut snapshot = connection.begin().await?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .execute(&mut *snapshot)
        .await?;
    let position = checkpoint(&mut *snapshot, READ_MODEL).await?.position;
    let expected = fold_until(&mut snapshot, vault, position, folded).await?;
    let mut compare = Compare { snapshot: &mut snapshot, expected, differences: Vec::new() };
    visit_all(&mut compare).await?;
    Ok((position, compare.differences))
}

/// Every table as the log says it is after the event at `position`.
async fn fold_until(
    snapshot: &mut PgConnection,
    vault: &Vault,
    position: Position,
    folded: &(dyn Fn(u64) + Send + Sync),
) -> Result<Rows, FactsError> {
    let mut fold = Fold { rows: Rows::default(), facts: Vec::new() };
    let mut facts = Facts::new(vault, Position::START, position);
    loop {
        fold.facts = facts.next(snapshot).await?;
        if fold.facts.is_empty() {
            return Ok(fold.rows);
        }
        let Ok(()) = visit_all(&mut fold).await;
        folded(fold.facts.len() as u64);
    }
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
    let (expected, found) = (expected.map(json), found.map(json));
    Difference { table: T::NAME, id, expected, found, personal: T::PERSONAL, secret: T::SECRET }
}
