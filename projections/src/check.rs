//! The drift check: folds the log again and compares every row with the live tables.

use std::collections::HashMap;

use orion_store::{Fact, Position, StoreError};
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
        source: orion_domain::DecodeError,
    },
}

/// Compares every table with the fold of the log up to the checkpoint, at one snapshot.
/// Gives the checkpoint and the rows that differ.
pub async fn check(pool: &PgPool) -> Result<(Position, Vec<Difference>), CheckError> {
    let mut connection = pool.acquire().await?;
    let mut snapshot = connection.begin().await?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .execute(&mut *snapshot)
        .await?;
    let head = checkpoint(&mut *snapshot, READ_MODEL).await?.position;
    let facts = facts_until(pool, head).await?;
    let mut check = Check { snapshot: &mut snapshot, facts: &facts, differences: Vec::new() };
    visit_all(&mut check).await?;
    Ok((head, check.differences))
}

async fn facts_until(pool: &PgPool, head: Position) -> Result<Vec<Fact>, CheckError> {
    let mut facts = Vec::new();
    let mut after = Position::START;
    while after < head {
        let limit = READ_MAX.min(head.0 - after.0);
        for event in orion_store::log::read(pool, after, limit).await? {
            after = event.position;
            let fact = event.decode();
            facts.push(fact.map_err(|source| CheckError::Event { position: after, source })?);
        }
    }
    Ok(facts)
}

struct Check<'a> {
    snapshot: &'a mut PgConnection,
    facts: &'a [Fact],
    differences: Vec<Difference>,
}

impl Visitor for Check<'_> {
    type Error = CheckError;

    async fn visit<T: Table>(&mut self) -> Result<(), CheckError> {
        let mut expected: HashMap<Uuid, T> = HashMap::new();
        for fact in self.facts {
            for key in T::keys(fact) {
                let row = expected.remove(&key);
                if let Some(row) = T::fold(row, key, fact) {
                    expected.insert(key, row);
                }
            }
        }
        let found: Vec<Json<T>> =
            sqlx::query_scalar(&format!("SELECT to_json(t) FROM {} t", T::NAME))
                .fetch_all(&mut *self.snapshot)
                .await?;
        for Json(row) in found {
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
