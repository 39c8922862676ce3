//! The keys of a database as a file: one JSON object on each line, every key wrapped by the master key.
//! Without that master key the file opens nothing.

use futures::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWrite, AsyncWriteExt as _};
use uuid::Uuid;

use super::export::ExportError;
use super::import::ImportError;
use crate::error::StoreError;
use crate::keys::{MasterKeys, server_key_place};
use crate::vault::data_key_place;

/// One key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum KeyLine {
    /// A key that all servers share.
    Server { server_key: String, wrapped: String, fingerprint: String },
    /// The key of a subject's personal values.
    Data { subject: Uuid, wrapped: String },
}

/// Writes the keys of the database that still are.
pub(super) async fn export_keys(
    snapshot: &mut PgConnection,
    output: &mut (impl AsyncWrite + Unpin),
) -> Result<(), ExportError> {
    let failed = || StoreError::database("exporting the keys");
    let server_keys: Vec<(String, String, String)> =
        sqlx::query_as("SELECT name, wrapped, fingerprint FROM server_keys ORDER BY name")
            .fetch_all(&mut *snapshot)
            .await
            .map_err(failed())?;
    for (server_key, wrapped, fingerprint) in server_keys {
        let line = KeyLine::Server { server_key, wrapped, fingerprint };
        write(output, &line).await.map_err(ExportError::WriteKeys)?;
    }
    let mut data_keys = sqlx::query_as(
        "SELECT subject, wrapped FROM data_keys WHERE wrapped IS NOT NULL ORDER BY subject",
    )
    .fetch(snapshot);
    while let Some((subject, wrapped)) = data_keys.try_next().await.map_err(failed())? {
        let line = KeyLine::Data { subject, wrapped };
        write(output, &line).await.map_err(ExportError::WriteKeys)?;
    }
    output.flush().await.map_err(ExportError::WriteKeys)
}

async fn write(
    output: &mut (impl AsyncWrite + Unpin),
    line: &KeyLine,
) -> Result<(), std::io::Error> {
    let mut line = serde_json::to_string(line)?;
    line.push('\n');
    output.write_all(line.as_bytes()).await
}

/// Takes keys into an empty database. Each must open by a master key; those of the database itself, which
/// nothing was encrypted with so far, make way.
pub(super) async fn import_keys(
    transaction: &mut PgConnection,
    masters: &MasterKeys,
    input: &mut (impl AsyncBufRead + Unpin),
) -> Result<(), ImportError> {
    let failed = || StoreError::database("importing the keys");
    sqlx::query("DELETE FROM server_keys").execute(&mut *transaction).await.map_err(failed())?;
    let mut number = 0_u64;
    let mut line = String::new();
    while input.read_line(&mut line).await.map_err(ImportError::ReadKeys)? > 0 {
        number += 1;
        let key: KeyLine =
            serde_json::from_str(&line).map_err(|_| ImportError::Key { line: number })?;
        let (insert, place, wrapped) = match &key {
            KeyLine::Server { server_key, wrapped, .. } => (
                "INSERT INTO server_keys (name, wrapped, fingerprint) VALUES ($1, $2, $3)",
                server_key_place(server_key),
                wrapped,
            ),
            KeyLine::Data { subject, wrapped } => (
                "INSERT INTO data_keys (subject, wrapped) VALUES ($1::uuid, $2)",
                data_key_place(*subject),
                wrapped,
            ),
        };
        masters.unwrap(&place, wrapped).map_err(|_| ImportError::ForeignKey { line: number })?;
        let query = match &key {
            KeyLine::Server { server_key, wrapped, fingerprint } => {
                sqlx::query(insert).bind(server_key.clone()).bind(wrapped).bind(fingerprint)
            }
            KeyLine::Data { subject, wrapped } => {
                sqlx::query(insert).bind(subject.to_string()).bind(wrapped)
            }
        };
        query.execute(&mut *transaction).await.map_err(failed())?;
        line.clear();
    }
    Ok(())
}
