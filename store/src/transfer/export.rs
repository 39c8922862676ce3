//! Writing the log as a file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, FromRow as _, PgConnection, PgPool, Row as _};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use uuid::Uuid;

use super::keys::export_keys;
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
    /// SHA-256 of all lines but the last, in hex, as the last one has it.
    pub sha256: String,
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
    /// The same of the keys' file.
    #[error("writing the keys")]
    WriteKeys(#[source] std::io::Error),
    /// A line that cannot be written as JSON.
    #[error("writing a line")]
    Line(#[from] serde_json::Error),
    /// An event that no program of Orion has written.
    #[error("the event at position {0} cannot be written: `verify` says what is wrong with it")]
    Event(Position),
    /// The log has a gap.
    #[error("there is no event at position {0}: `verify` says what is wrong with the log")]
    Gap(Position),
}

/// Writes every event of the log as it is now, in order, between a first and a last line, and the keys of the same
/// moment into a file of their own. `written` is told of so many more events. Memory does not grow with the log.
pub async fn export(
    pool: &PgPool,
    output: &mut (impl AsyncWrite + Unpin + Send),
    keys: Option<&mut (impl AsyncWrite + Unpin + Send)>,
    written: &(dyn Fn(u64) + Send + Sync),
) -> Result<Exported, ExportError> {
    let failed = || StoreError::database("exporting the log");
    let mut connection = pool.acquire().await.map_err(failed())?;
    let mut snapshot = connection.begin().await.map_err(failed())?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .execute(&mut *snapshot)
        .await
        .map_err(failed())?;
    if let Some(keys) = keys {
        export_keys(&mut snapshot, keys).await?;
    }
    let mut output = Hashed { output, hash: Sha256::new() };
    let reactors = sqlx::query_scalar("SELECT name FROM reactor_checkpoints ORDER BY name")
        .fetch_all(&mut *snapshot)
        .await
        .map_err(failed())?;
    let checkpoint = sqlx::query_scalar("SELECT checkpoint FROM seals ORDER BY size DESC LIMIT 1")
        .fetch_optional(&mut *snapshot)
        .await
        .map_err(failed())?;
    output.line(line::begin(Begin { checkpoint, reactors })?).await?;
    export_idle_receipts(&mut snapshot, &mut output).await?;
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
        output.line(line.ok_or(ExportError::Event(expected))?).await?;
        written(1);
    }
    drop(rows);
    let root = BASE64.encode(tree.root());
    let size = i64::try_from(tree.size()).unwrap_or(i64::MAX);
    let sha256 = hex::encode(output.hash.clone().finalize());
    output.line(line::end(End { size, root: root.clone(), sha256: sha256.clone() })?).await?;
    output.output.flush().await?;
    Ok(Exported { head: Position(size), root, sha256 })
}

/// Writes the receipts of commands that changed nothing: no event tells of them.
async fn export_idle_receipts(
    snapshot: &mut PgConnection,
    output: &mut Hashed<'_, impl AsyncWrite + Unpin>,
) -> Result<(), ExportError> {
    let mut after = (String::new(), Uuid::nil());
    loop {
        let page: Option<(String, String, Uuid)> = sqlx::query_as(
            "SELECT json_agg(json_build_array(actor, command_id, encode(input_hash, 'hex'), ids::text)
                             ORDER BY actor, command_id)::text,
                    max(actor), (array_agg(command_id ORDER BY actor DESC, command_id DESC))[1]
             FROM (SELECT * FROM receipts WHERE position = 0 AND (actor, command_id) > ($1, $2)
                   ORDER BY actor, command_id LIMIT 1000) page
             HAVING count(*) > 0",
        )
        .bind(&after.0)
        .bind(after.1)
        .fetch_optional(&mut *snapshot)
        .await
        .map_err(StoreError::database("exporting the receipts"))?;
        let Some((receipts, actor, command_id)) = page else { return Ok(()) };
        output.line(line::receipts(receipts)?).await?;
        after = (actor, command_id);
    }
}

/// Lines, and the hash of what was written so far.
struct Hashed<'a, W> {
    output: &'a mut W,
    hash: Sha256,
}

impl<W: AsyncWrite + Unpin> Hashed<'_, W> {
    async fn line(&mut self, mut line: String) -> Result<(), std::io::Error> {
        line.push('\n');
        self.hash.update(line.as_bytes());
        self.output.write_all(line.as_bytes()).await
    }
}
