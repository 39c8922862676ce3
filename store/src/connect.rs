//! Connections: migrations as the owner, everything else as the server's role.

use std::time::Duration;

use orion_migrations::{BREAKING, MIGRATOR};
use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection, PgPool};
use tracing::debug;

use crate::within::within;

/// The role that the server works under; made by the first migration.
const ROLE: &str = "orion_app";

/// How long the first connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// How long a request waits for a connection before it fails.
pub(crate) const ACQUIRE_FOR: Duration = Duration::from_secs(5);

/// A connection that was idle for longer is tried before it is used: the pool tried it when it was given back.
pub(crate) const TRUST_FOR: Duration = Duration::from_millis(100);

/// The same for a connection to a replica: the primary can be asked instead.
const ACQUIRE_FROM_REPLICA_FOR: Duration = Duration::from_secs(1);

/// How long a statement of the main pool waits for a lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(3);

/// Why the database cannot be used. Each is one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is not one of PostgreSQL.
    #[error("the database address is malformed: {0}")]
    Address(sqlx::Error),
    /// No connection.
    #[error("the database cannot be reached: {0}")]
    Unreachable(sqlx::Error),
    /// The login may not act as the server's role.
    #[error("the login may not work under the role {ROLE}: {0}")]
    Role(sqlx::Error),
    /// A newer program was here, and has changed what this one needs.
    #[error(
        "the database is newer than this program, which cannot work with its migration {version} ({description})"
    )]
    Newer {
        /// The unknown migration.
        version: i64,
        /// What it is called.
        description: String,
    },
    /// A migration failed.
    #[error("the database could not be migrated: {0}")]
    Migrate(MigrateError),
    /// PostgreSQL is too old.
    #[error("PostgreSQL {version} is too old, Orion needs 15 or later")]
    TooOld {
        /// As the server says it.
        version: String,
    },
}

/// Brings the schema to this program's version, as the login of `url`, which must own it, and lets
/// the login of `server_url` work under the server's role.
pub async fn migrate(url: &str, server_url: &str) -> Result<(), ConnectError> {
    let mut connection = first_connection(url).await?;
    let (number, version): (i32, String) = sqlx::query_as(
        "SELECT current_setting('server_version_num')::int, current_setting('server_version')",
    )
    .fetch_one(&mut connection)
    .await
    .map_err(ConnectError::Unreachable)?;
    if number < 150_000 {
        return Err(ConnectError::TooOld { version });
    }
    MIGRATOR.run(&mut connection).await.map_err(ConnectError::Migrate)?;
    refuse_newer(&mut connection).await?;
    // From PostgreSQL 16 on, having made a role does not let one act under it. Where somebody else
    // manages the roles the grant is refused, and `connect` says what is missing.
    let login = options(server_url)?.get_username().replace('"', "\"\"");
    let grant = format!("GRANT {ROLE} TO \"{login}\"");
    if let Err(error) = connection.execute(grant.as_str()).await {
        debug!(%error, "the server's role was not granted");
    }
    Ok(())
}

/// Fails if a newer program has applied a migration after which this one cannot work.
async fn refuse_newer(connection: &mut PgConnection) -> Result<(), ConnectError> {
    let known: Vec<i64> = MIGRATOR.iter().map(|migration| migration.version).collect();
    let newer: Option<(i64, String)> = sqlx::query_as(
        "SELECT version, description FROM _sqlx_migrations
         WHERE version <> ALL ($1) AND starts_with(description, $2) ORDER BY version LIMIT 1",
    )
    .bind(known)
    .bind(BREAKING)
    .fetch_optional(connection)
    .await
    .map_err(ConnectError::Unreachable)?;
    match newer {
        Some((version, description)) => Err(ConnectError::Newer { version, description }),
        None => Ok(()),
    }
}

/// Opens a pool of at most `size` connections, each under the server's role.
pub async fn connect(url: &str, size: u32) -> Result<PgPool, ConnectError> {
    // The append's lock is held for one batch at a time; who waits longer waits in vain. Less than the
    // append's own patience, so that PostgreSQL gives up before it is left alone.
    // Whatever the server looks for in the log it looks for by key. A plan that was made while a table was
    // small, and kept, would read all of it when it is large; and by key no value needs a plan of its own.
    let by_key = [("enable_seqscan", "off"), ("plan_cache_mode", "force_generic_plan")];
    let by_key = by_key.map(|(name, value)| (name, value.to_owned()));
    let patience = ("lock_timeout", milliseconds(LOCK_TIMEOUT));
    pool(url, size, by_key.into_iter().chain([patience])).await
}

/// Opens a pool like that of [`connect`] on which PostgreSQL refuses to write.
pub(crate) async fn connect_read_only(url: &str, size: u32) -> Result<PgPool, ConnectError> {
    pool(url, size, [("default_transaction_read_only", "on".to_owned())]).await
}

/// Opens a pool like that of [`connect`] for those who only read: PostgreSQL cancels each statement that
/// takes longer than `timeout`, whether somebody still waits for it or not.
pub async fn connect_to_read(
    url: &str,
    size: u32,
    timeout: Duration,
) -> Result<PgPool, ConnectError> {
    pool(url, size, [("statement_timeout", milliseconds(timeout))]).await
}

/// Gives a pool like that of [`connect_to_read`] for a standby, which may be away: it is connected to when it
/// is asked. Nothing can be written there, nor on what it becomes when it is promoted.
///
/// # Errors
/// When the address is malformed.
pub fn connect_to_replica(url: &str, size: u32, timeout: Duration) -> Result<PgPool, ConnectError> {
    let settings = [
        ("statement_timeout", milliseconds(timeout)),
        ("default_transaction_read_only", "on".to_owned()),
    ];
    let pool = pool_options(size).acquire_timeout(ACQUIRE_FROM_REPLICA_FOR);
    Ok(pool.connect_lazy_with(options(url)?.options(settings)))
}

/// Opens one connection like those of a pool, outside of it. Unlike the pool, it says at once why it cannot.
///
/// # Errors
/// When PostgreSQL cannot be reached or refuses.
pub async fn connect_alone(pool: &PgPool) -> Result<PgConnection, sqlx::Error> {
    let mut connection = PgConnection::connect_with(&pool.connect_options()).await?;
    connection.execute(set_role().as_str()).await?;
    Ok(connection)
}

fn milliseconds(timeout: Duration) -> String {
    format!("{}ms", timeout.as_millis())
}

async fn pool(
    url: &str,
    size: u32,
    settings: impl IntoIterator<Item = (&'static str, String)>,
) -> Result<PgPool, ConnectError> {
    // By itself, so that its failure is told as it is; the pool would only say that it waited.
    let mut first = first_connection(url).await?;
    first.execute(set_role().as_str()).await.map_err(ConnectError::Role)?;
    first.close().await.map_err(ConnectError::Unreachable)?;
    pool_options(size)
        .connect_with(options(url)?.options(settings))
        .await
        .map_err(ConnectError::Unreachable)
}

fn set_role() -> String {
    format!("SET ROLE {ROLE}")
}

/// How every pool treats its connections.
fn pool_options(size: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(ACQUIRE_FOR)
        // A round trip before every statement would cost as much as most statements do.
        .test_before_acquire(false)
        .before_acquire(|connection, idle| {
            Box::pin(async move {
                if idle.idle_for > TRUST_FOR {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_connect(|connection, _| {
            Box::pin(async move {
                connection.execute(set_role().as_str()).await?;
                Ok(())
            })
        })
}

async fn first_connection(url: &str) -> Result<PgConnection, ConnectError> {
    let options = options(url)?;
    within(CONNECT_WITHIN, options.connect()).await.map_err(ConnectError::Unreachable)
}

pub(crate) fn options(url: &str) -> Result<PgConnectOptions, ConnectError> {
    let options: PgConnectOptions = url.parse().map_err(ConnectError::Address)?;
    // Named, for a login called `orion` would otherwise find the schema of that name first. To compile a
    // statement takes longer than any of ours, and what is forbidden to be read whole counts as endless.
    // An append has to see what was written while it waited for its turn, whatever the database's default is.
    let settings = [
        ("timezone", "UTC"),
        ("search_path", "public"),
        ("jit", "off"),
        ("default_transaction_isolation", r"read\ committed"),
    ];
    Ok(options.application_name("orion").options(settings))
}
