//! The documented tables as they were, in a schema of their own.

use orion_store::{Position, Vault};
use sqlx::{Connection, Executor as _, PgConnection, PgPool};

use super::definitions::Definitions;
use super::fold::{Source, fold_into};
use super::{RebuildError, SIDE, analyze, owner};
use crate::check::CheckError;
use crate::place::{Place, Tables};

/// The longest name that PostgreSQL keeps whole.
const NAME_MAX: usize = 63;

/// Writes the documented tables as they were after the event at `position` into a new schema, with keys
/// and indexes, whole or not at all. What is erased now is erased there, too.
///
/// The login of `pool` must be allowed to make schemas. `folded` is told of so many more events that are
/// folded.
pub async fn materialize(
    pool: &PgPool,
    vault: &Vault,
    position: Position,
    schema: &str,
    folded: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), RebuildError> {
    if !is_name(schema) {
        return Err(RebuildError::SchemaName);
    }
    let head = orion_store::log::head(pool).await?;
    if head < position {
        return Err(CheckError::LogEnds { head, position }.into());
    }
    let mut owner = owner(pool).await?;
    let exists: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)")
            .bind(schema)
            .fetch_one(&mut owner)
            .await?;
    if exists {
        return Err(RebuildError::SchemaExists { schema: schema.to_owned() });
    }
    let shapes = Tables::Documented.shapes().await;
    // Quoted, for it may be a word of SQL.
    let quoted = format!("\"{schema}\"");
    let place = Place::Beside(quoted.clone());
    let mut transaction = owner.begin().await?;
    make_schema(&mut transaction, &quoted, position).await?;
    for shape in &shapes {
        let statement = format!(
            "CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMMENTS)",
            place.table(shape.name),
            shape.name
        );
        transaction.execute(statement.as_str()).await?;
    }
    let source = Source { pool, vault, folded };
    fold_into(&mut transaction, &place, Tables::Documented, &source, position).await?;
    Definitions::read(&mut transaction, &shapes).await?.create(&mut transaction, &place).await?;
    transaction.commit().await?;
    analyze(&mut owner, &shapes, &place).await?;
    owner.close().await?;
    Ok(())
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
