//! Connections: migrations as the owner, everything else as the server's role.

use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Executor as _, PgPool};

/// The role that the server works under; made by the first migration.
const ROLE: &str = "orion_app";

/// How long a request waits for a connection before it fails.
const ACQUIRE_FOR: Duration = Duration::from_secs(5);

/// Why the database cannot be used. Each is one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is not one of PostgreSQL.
    #[error("the database address is malformed: {0}")]
    Address(#[source] sqlx::Error),
    /// No connection.
    #[error("the database cannot be reached: {0}")]
    Unreachable(#[source] sqlx::Error),
    /// A newer program was here.
    #[error("the database is newer than this program: it has migration {version}, unknown here")]
    Newer {
        /// The unknown migration.
        version: i64,
    },
    /// A migration failed.
    #[error("the database could not be migrated: {0}")]
    Migrate(#[source] MigrateError),
    /// PostgreSQL is too old.
    #[error("PostgreSQL {version} is too old, Orion needs 15 or later")]
    TooOld {
        /// As the server says it.
        version: String,
    },
}

/// Brings the schema to this program's version, as the login of `url`, which must own it.
pub async fn migrate(url: &str) -> Result<(), ConnectError> {
    let mut connection = options(url)?.connect().await.map_err(ConnectError::Unreachable)?;
    let (number, version): (i32, String) = sqlx::query_as(
        "SELECT current_setting('server_version_num')::int, current_setting('server_version')",
    )
    .fetch_one(&mut connection)
    .await
    .map_err(ConnectError::Unreachable)?;
    if number < 150_000 {
        return Err(ConnectError::TooOld { version });
    }
    orion_migrations::MIGRATOR.run(&mut connection).await.map_err(|error| {
        if let MigrateError::VersionMissing(version) | MigrateError::VersionTooNew(version, _) =
            error
        {
            ConnectError::Newer { version }
        } else {
            ConnectError::Migrate(error)
        }
    })
}

/// Opens a pool of at most `size` connections, each under the server's role.
pub async fn connect(url: &str, size: u32) -> Result<PgPool, ConnectError> {
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(ACQUIRE_FOR)
        .after_connect(|connection, _| {
            Box::pin(async move {
                connection.execute(format!("SET ROLE {ROLE}").as_str()).await?;
                Ok(())
            })
        })
        .connect_with(options(url)?)
        .await
        .map_err(ConnectError::Unreachable)
}

/// How every connection to a database is made.
pub(crate) fn options(url: &str) -> Result<PgConnectOptions, ConnectError> {
    let options: PgConnectOptions = url.parse().map_err(ConnectError::Address)?;
    // Named, for a login called `orion` would otherwise find the schema of that name first.
    let settings = [("timezone", "UTC"), ("search_path", "public")];
    Ok(options.application_name("orion").options(settings))
}
