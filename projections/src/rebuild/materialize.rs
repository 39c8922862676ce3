//! The documented tables as they were, in a schema of their own.

use orion_store::{Position, Vault, destroyed_keys, hold_keys};
use sqlx::{Connection, Executor as _, PgConnection, PgPool};

use super::definitions::Definitions;
use super::fold::{Source, fold_into};
use super::{RebuildError, SIDE, analyze, owner};
use crate::facts::FactsError;
use crate::place::{Place, Shape, Tables, bare};

/// The longest name that PostgreSQL keeps whole.
const NAME_MAX: usize = 63;

/// Writes the documented tables as they were after the event at `position` into a new schema, with keys
/// and indexes, whole or not at all. What is erased now is erased there, too. `tables` names those that are
/// wanted, without their schema; empty, it means all. A foreign key to a table that is not wanted is left out.
///
/// The login of `pool` must own the tables, and may make schemas. `folded` is told of so many more events that are
/// folded.
pub async fn materialize(
    pool: &PgPool,
    vault: &Vault,
    position: Position,
    schema: &str,
    tables: &[String],
    folded: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), RebuildError> {
    if !is_name(schema) {
        return Err(RebuildError::SchemaName);
    }
    let tables = wanted(tables).await?;
    let head = orion_store::log::head(pool).await.map_err(FactsError::from)?;
    if head < position {
        return Err(FactsError::LogEnds { head, position }.into());
    }
    let mut owner = owner(pool).await?;
    let exists = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)");
    if exists.bind(schema).fetch_one(&mut owner).await.map_err(RebuildError::Side)? {
        return Err(RebuildError::SchemaExists { schema: schema.to_owned() });
    }
    let shapes = tables.shapes().await;
    // Quoted, for it may be a word of SQL.
    let quoted = format!("\"{schema}\"");
    let place = Place::Beside(quoted.clone());
    let mut transaction = owner.begin().await.map_err(RebuildError::Side)?;
    make_schema(&mut transaction, &quoted, position).await.map_err(RebuildError::Side)?;
    make_tables(&mut transaction, &shapes, &place).await.map_err(RebuildError::Side)?;
    let destroyed = destroyed_keys(&mut *transaction).await.map_err(FactsError::from)?;
    let source = Source { pool, vault, folded };
    fold_into(&mut transaction, &place, &tables, &source, position).await?;
    make_keys(&mut transaction, &shapes, &place).await.map_err(RebuildError::Keys)?;
    // No projector removes from this schema whoever was erased after being read. So nobody was.
    hold_keys(&mut transaction).await.map_err(FactsError::from)?;
    if destroyed_keys(&mut *transaction).await.map_err(FactsError::from)? != destroyed {
        return Err(RebuildError::Erased);
    }
    transaction.commit().await.map_err(RebuildError::Keys)?;
    analyze(&mut owner, &shapes, &place).await.map_err(RebuildError::Keys)?;
    owner.close().await.map_err(RebuildError::Connect)
}

/// The tables of these names.
async fn wanted(names: &[String]) -> Result<Tables, RebuildError> {
    if names.is_empty() {
        return Ok(Tables::Documented);
    }
    let mut wanted = Vec::new();
    let shapes = Tables::Documented.shapes().await;
    for name in names {
        let is_named = |shape: &&Shape| bare(shape.name) == name;
        match shapes.iter().find(is_named) {
            Some(shape) => wanted.push(shape.name),
            None => return Err(RebuildError::UnknownTable { name: name.clone() }),
        }
    }
    Ok(Tables::Some(wanted))
}

async fn make_tables(
    connection: &mut PgConnection,
    shapes: &[Shape],
    place: &Place,
) -> Result<(), sqlx::Error> {
    for shape in shapes {
        let statement = format!(
            "CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMMENTS)",
            place.table(shape.name),
            shape.name
        );
        connection.execute(statement.as_str()).await?;
    }
    Ok(())
}

async fn make_keys(
    connection: &mut PgConnection,
    shapes: &[Shape],
    place: &Place,
) -> Result<(), sqlx::Error> {
    Definitions::read(connection, shapes).await?.create(connection, place).await
}

async fn make_schema(
    connection: &mut PgConnection,
    quoted: &str,
    position: Position,
) -> Result<(), sqlx::Error> {
    let statement = format!(
        "CREATE SCHEMA {quoted};
         COMMENT ON SCHEMA {quoted} IS 'The documented tables as they were at position {position} of the log.'"
    );
    connection.execute(statement.as_str()).await?;
    Ok(())
}

/// A name that means the same with and without quotes, words of SQL aside.
fn is_name(name: &str) -> bool {
    name.len() <= NAME_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.starts_with("pg_")
        // What is in it belongs to a rebuild, which drops it.
        && name != SIDE
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_needs_no_quotes() {
        for name in ["then", "as_of_2026", &"a".repeat(63)] {
            assert!(is_name(name), "{name}");
        }
        for name in
            ["", "1st", "Then", "a b", "a\"b", "pg_then", "orion_rebuild", "ä", &"a".repeat(64)]
        {
            assert!(!is_name(name), "{name}");
        }
    }
}
