//! The database of a command that ends by itself: the one that is named, or the embedded one,
//! running or not.

use std::path::Path;
use std::time::Duration;

use sqlx::PgPool;

use crate::connect::{ConnectError, connect, connect_read_only, migrate};
use crate::embedded::{Embedded, EmbeddedError};

/// The connections of one command.
const POOL: u32 = 8;

/// How long its connections may take to end.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// An open database, with the PostgreSQL that was started for it.
#[derive(Debug)]
pub struct Database {
    /// Works under the server's role.
    pub pool: PgPool,
    started: Option<Embedded>,
}

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub enum OpenDatabaseError {
    /// Nothing was ever kept here.
    #[error("there is no database in {0}; set DATABASE_URL or ORION_DATA_DIR")]
    Nothing(String),
    /// The embedded PostgreSQL did not start.
    #[error("the embedded PostgreSQL")]
    Embedded(#[from] EmbeddedError),
    /// It cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// What is done with a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It is read, and PostgreSQL refuses all else.
    Read,
    /// It is written, too.
    Write,
}

impl Access {
    async fn connect(self, url: &str) -> Result<PgPool, ConnectError> {
        match self {
            Self::Read => connect_read_only(url, POOL).await,
            Self::Write => connect(url, POOL).await,
        }
    }
}

/// Opens the database. An embedded one that does not run is started, and stopped again at the end.
pub async fn open_database(
    url: Option<String>,
    data_dir: &Path,
    access: Access,
) -> Result<Database, OpenDatabaseError> {
    if let Some(url) = url {
        return Ok(Database { pool: access.connect(&url).await?, started: None });
    }
    // A start would make the cluster that is not there.
    if !Embedded::exists(data_dir)? {
        return Err(OpenDatabaseError::Nothing(data_dir.display().to_string()));
    }
    if let Some(url) = Embedded::running_url(data_dir).await? {
        return Ok(Database { pool: access.connect(&url).await?, started: None });
    }
    let started = Embedded::start(data_dir).await?;
    match access.connect(started.url()).await {
        Ok(pool) => Ok(Database { pool, started: Some(started) }),
        Err(error) => {
            started.stop().await?;
            Err(error.into())
        }
    }
}

/// Opens the database like [`open_database`], but makes and migrates one that is not there yet.
pub async fn create_database(
    url: Option<String>,
    data_dir: &Path,
) -> Result<Database, OpenDatabaseError> {
    if let Some(url) = url {
        migrate(&url, &url).await?;
        return Ok(Database { pool: connect(&url, POOL).await?, started: None });
    }
    if let Some(url) = Embedded::running_url(data_dir).await? {
        return Ok(Database { pool: connect(&url, POOL).await?, started: None });
    }
    let started = Embedded::start(data_dir).await?;
    let opened = async {
        migrate(started.url(), started.url()).await?;
        connect(started.url(), POOL).await
    };
    match opened.await {
        Ok(pool) => Ok(Database { pool, started: Some(started) }),
        Err(error) => {
            started.stop().await?;
            Err(error.into())
        }
    }
}

impl Database {
    /// Leaves everything as it was found.
    pub async fn close(self) -> Result<(), EmbeddedError> {
        // A statement that was given up may still wait for a lock; its connection is not waited for.
        let _ = tokio::time::timeout(CLOSE_WITHIN, self.pool.close()).await;
        match self.started {
            Some(started) => started.stop().await,
            None => Ok(()),
        }
    }
}
