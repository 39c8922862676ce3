//! Writing the log as a file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::TryStreamExt as _;
use sqlx::{Connection as _, FromRow as _, PgPool, Row as _};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::line::{self, Begin, End};
use crate::error::StoreError;
use crate::record::Position;
use crate::seal::{Frontier, STORED_COLUMNS, StoredEvent};

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The last event.
    pub head: Position,
    /// The root of the tree of all events, in base64.
    pub root: String,
}

/// Why the log could not be written whole.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] StoreError),
    /// What is written to is full or gone.
    #[error("writing the export")]
    Write(#[from] std::io::Error),
    /// An event that no program of Orion has written.
    #[error("the event at position {0} cannot be written: `verify` says what is wrong with it")]
    Event(Position),
    /// The log has a gap.
    #[error("there is no event at position {0}: `verify` says what is wrong with the log")]
    Gap(Position),
}

/// Writes what stands before the events, every event of the log as it is now, in order, and the last line. `written` is told of so many
/// more events. Memory does not grow with the log.
pub async fn export(
    pool: &PgPool,
    output: &mut (impl AsyncWrite + Unpin + Send),
    written: &(dyn Fn(u64) + Send + Sync),
) -> Result<Exported, ExportError> {
    let failed = || StoreError::database("exporting the log");
    let mut connection = pool.acquire().await.map_err(failed())?;
    let mut snapshot = connection.begin().await.map_err(failed())?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .execute(&mut *snapshot)
        .await
        .map_err(failed())?;
    let reactors = sqlx::query_scalar("SELECT name FROM reactor_checkpoints ORDER BY name")
        .fetch_all(&mut *snapshot)
        .await
        .map_err(failed())?;
    let checkpoint = sqlx::query_scalar("SELECT checkpoint FROM seals ORDER BY size DESC LIMIT 1")
        .fetch_optional(&mut *snapshot)
        .await
        .map_err(failed())?;
    write(output, line::begin(Begin { checkpoint, reactors }).map_err(std::io::Error::from)?)
        .await?;
    // One statement whose rows come as they are asked for; each list joins in the order of positions.
    let sql = format!(
        "SELECT {STORED_COLUMNS}, r.receipts::text AS receipts FROM events
         LEFT JOIN (
             SELECT r.position AS at, json_agg(json_build_array(
                 actor, command_id, encode(input_hash, 'hex'), ids::text)) AS receipts
             FROM receipts r GROUP BY r.position
         ) r ON r.at = events.position
         ORDER BY events.position"
    );
    let mut tree = Frontier::default();
    let mut rows = sqlx::query(&sql).fetch(&mut *snapshot);
    while let Some(row) = rows.try_next().await.map_err(failed())? {
        let event = StoredEvent::from_row(&row).map_err(failed())?;
        let expected = Position(i64::try_from(tree.size()).unwrap_or(i64::MAX) + 1);
        if event.position != expected.0 {
            return Err(ExportError::Gap(expected));
        }
        let leaf = event.leaf_hash();
        tree.push(leaf);
        let receipts = row.try_get("receipts").map_err(failed())?;
        let line = line::event(&event, BASE64.encode(leaf), receipts);
        write(output, line.ok_or(ExportError::Event(expected))?).await?;
        written(1);
    }
    drop(rows);
    let root = BASE64.encode(tree.root());
    let size = i64::try_from(tree.size()).unwrap_or(i64::MAX);
    let end = End { size, root: root.clone() };
    write(output, line::end(end).map_err(std::io::Error::from)?).await?;
    output.flush().await?;
    Ok(Exported { head: Position(size), root })
}

async fn write(
    output: &mut (impl AsyncWrite + Unpin),
    mut line: String,
) -> Result<(), std::io::Error> {
    line.push('\n');
    output.write_all(line.as_bytes()).await
}
