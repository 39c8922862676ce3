//! Databases for tests: one PostgreSQL per test process, one fresh database per test.
//!
//! The cluster starts with the first test that wants it and is gone with the process, however that
//! ends. `ORION_TEST_DATABASE_URL` (a superuser's login) uses a server instead. Everything here
//! panics when it fails: a test has no use for the error.

pub mod bench;
mod cluster;
mod earlier;
mod server;
mod watchdog;

use std::fmt::Display;
use std::sync::OnceLock;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

pub use self::cluster::{Holds, TestCluster};
pub use self::earlier::{EarlierEvent, append_as_earlier};
use self::server::Server;
use crate::keys::{Keys, MasterKeys};
use crate::log::Log;
use crate::vault::Vault;

/// How long a test waits for the end of its database; it is dropped all the same.
const DROP_WAIT: Duration = Duration::from_millis(500);

/// A fresh, migrated database of its own; dropped with this value.
#[derive(Debug)]
pub struct TestDatabase {
    /// Where to connect, as a superuser.
    pub url: String,
    name: String,
    server: Server,
}

/// A fresh, migrated database on the test cluster of this process.
///
/// # Panics
/// When PostgreSQL cannot be started or the database not be made.
pub async fn database() -> TestDatabase {
    shared().database().await
}

/// The master key of tests.
pub fn masters() -> MasterKeys {
    MasterKeys::new(&[7; 32], &[])
}

/// The log of a pool, under the master key of tests.
///
/// # Panics
/// When it cannot be opened.
pub async fn log(pool: PgPool, stop: CancellationToken) -> Log {
    let keys = or_panic("loading the keys", Keys::load(&pool, masters()).await);
    or_panic("opening the log", Log::open(pool, keys, stop).await)
}

/// The vault of a pool, under the master key of tests.
///
/// # Panics
/// When its keys cannot be read.
pub async fn vault(pool: &PgPool) -> Vault {
    let keys = or_panic("loading the keys", Keys::load(pool, masters()).await);
    Vault::new(pool.clone(), &keys)
}

/// How far the database's clock is ahead of the clock of a server; nothing if the server was held up meanwhile.
///
/// # Panics
/// When the database does not say.
pub async fn clock_ahead(pool: &PgPool, clock: impl Fn() -> DateTime<Utc>) -> Option<TimeDelta> {
    let mut connection = or_panic("connecting", pool.acquire().await);
    or_panic("comparing clocks", crate::clock::ahead(&mut connection, clock).await)
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), std::mem::take(&mut self.name));
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // The test's runtime may be ending. A server that was killed meanwhile is no failure.
            let _ = on_own_runtime(async move || server.drop_database(&name).await);
            let _ = done.send(());
        });
        // While this runs, the test's runtime may stand still, and with it a connection that it is
        // just opening; PostgreSQL drops no database before that one has ended or timed out.
        let _ = is_done.recv_timeout(DROP_WAIT);
    }
}

/// The server of this process.
fn shared() -> &'static Server {
    /// The cluster is never dropped: its watchdog ends it with the process.
    static SHARED: OnceLock<(Server, Option<TestCluster>)> = OnceLock::new();
    let (server, _) = SHARED.get_or_init(|| {
        on_own_runtime(async || {
            if let Ok(url) = std::env::var("ORION_TEST_DATABASE_URL") {
                return (Server::at(url).await, None);
            }
            let cluster = TestCluster::bare().await;
            (cluster.server().clone(), Some(cluster))
        })
    });
    server
}

/// Runs a future apart from the test's runtime, which may be paused, may end at any time, and is
/// not the one of the next test.
fn on_own_runtime<T: Send + 'static>(work: impl AsyncFnOnce() -> T + Send + 'static) -> T {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        or_panic("starting a runtime", runtime).block_on(work())
    };
    std::thread::spawn(run).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The one way to fail here.
fn or_panic<T, E: Display + std::error::Error>(doing: &str, result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => {
            let mut message = format!("{doing}: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                message.push_str(": ");
                message.push_str(&cause.to_string());
                source = cause.source();
            }
            panic!("{message}")
        }
    }
}
