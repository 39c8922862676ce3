//! The PostgreSQL that Orion brings up by itself when it is given no other.
//!
//! It belongs to a data directory, listens on 127.0.0.1 only, and outlives a killed server: the
//! next start adopts the postmaster that is still there. The programs come from the machine, else
//! from a download; as root they run under an unprivileged user, since PostgreSQL refuses root.

mod account;
mod binaries;
mod cluster;
mod download;
mod error;
mod place;
mod postmaster;

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection};

use self::cluster::SUPERUSER;
use self::error::file;
pub use self::error::{DownloadError, EmbeddedError};
pub(crate) use self::postmaster::Postmaster;
pub(crate) use self::{account::Account, binaries::Binaries, cluster::Cluster};
#[cfg(feature = "testing")]
pub(crate) use self::{account::run, postmaster::Process};

/// The database that Orion works in.
const DATABASE: &str = "orion";

/// A ready postmaster that does not answer within this time is broken.
const CONNECT_WAIT: Duration = Duration::from_secs(30);

/// What a server for one Orion needs beyond PostgreSQL's defaults.
pub(crate) const SETTINGS: [&str; 3] = [
    // The pools of a server, of orion-replay and of a psql or two.
    "max_connections=200",
    // The head of the log and the indexes of the read model stay in memory.
    "shared_buffers=256MB",
    // Imports and rebuilds write gigabytes; checkpoints should come by time, not by volume.
    "max_wal_size=4GB",
];

/// A running embedded PostgreSQL. It holds the lock of its data directory; dropping it without
/// [`stop`](Self::stop) leaves the postmaster to the next start.
pub struct Embedded {
    cluster: Cluster,
    pid: i32,
    url: String,
    _lock: Lock,
}

/// Without the URL, which has the password.
impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded")
            .field("cluster", &self.cluster.dir)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

impl Embedded {
    /// Starts the cluster that belongs to `data_dir`, or adopts its postmaster that still runs
    /// after the server was killed. The first start makes the cluster; a second Orion on the same
    /// data directory gets [`EmbeddedError::InUse`].
    pub async fn start(data_dir: &Path) -> Result<Self, EmbeddedError> {
        let data_dir = place::data_dir(data_dir)?;
        let lock = Lock::of(&data_dir)?;
        let cluster = prepare(&data_dir).await?;
        let password = read_password(&data_dir)?;

        let was_adopted = cluster.running().await?.is_some();
        if !was_adopted {
            cluster.start(None).await?;
        }
        let Some(Postmaster { pid, ready_on: Some(port) }) = cluster.running().await? else {
            let line = "it ended right after its start".to_owned();
            return Err(EmbeddedError::Start { line, log: cluster.log() });
        };
        if let Err(source) = open(&url(&password, port, "postgres")).await {
            // Nobody would know of it, and nothing may be left behind.
            if !was_adopted {
                cluster.stop().await?;
            }
            return Err(EmbeddedError::Connect { log: cluster.log(), source });
        }
        tracing::info!(
            pid,
            port,
            was_adopted,
            major = cluster.binaries.major,
            cluster = %cluster.dir.display(),
            "embedded PostgreSQL is ready"
        );
        Ok(Self { cluster, pid, url: url(&password, port, DATABASE), _lock: lock })
    }

    /// Where to connect, with the superuser's password: `postgres://postgres:…@127.0.0.1:…/orion`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process id of the postmaster.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Stops the postmaster, started or adopted, and every process below it. Takes at most about
    /// 12 s: what a fast shutdown does not reach in 5 s is cut off and recovered at the next start.
    pub async fn stop(self) -> Result<(), EmbeddedError> {
        self.cluster.stop().await
    }

    /// True when `data_dir` has a cluster, running or not. It makes nothing, and takes no lock.
    pub fn exists(data_dir: &Path) -> Result<bool, EmbeddedError> {
        let Some(dir) = place::existing(data_dir)? else { return Ok(false) };
        Ok(major_of(&dir)?.is_some())
    }

    /// True when a postmaster of `data_dir` is alive now, whoever started it.
    pub async fn is_running(data_dir: &Path) -> Result<bool, EmbeddedError> {
        Ok(running(data_dir).await?.is_some())
    }

    /// The [`url`](Self::url) of the postmaster of `data_dir` that is alive now, whoever started
    /// it. It takes no lock, so the one who holds it may stop the postmaster at any time.
    pub async fn running_url(data_dir: &Path) -> Result<Option<String>, EmbeddedError> {
        match running(data_dir).await? {
            Some(port) => Ok(Some(url(&read_password(data_dir)?, port, DATABASE))),
            None => Ok(None),
        }
    }
}

/// The port of the postmaster of `data_dir`, if one is alive; waits for one that is starting.
async fn running(data_dir: &Path) -> Result<Option<u16>, EmbeddedError> {
    let Some(dir) = place::existing(data_dir)? else { return Ok(None) };
    Ok(cluster::running(&dir).await?.and_then(|postmaster| postmaster.ready_on))
}

/// The lock of a data directory, which keeps a second Orion off. It is the system's, and ends with
/// the process at the latest.
#[derive(Debug)]
struct Lock(File);

impl Lock {
    fn of(data_dir: &Path) -> Result<Self, EmbeddedError> {
        let refused = |source| EmbeddedError::DataDir { data_dir: data_dir.to_owned(), source };
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(data_dir.join("lock"))
            .map_err(refused)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => {
                Err(EmbeddedError::InUse { data_dir: data_dir.to_owned() })
            }
            Err(TryLockError::Error(source)) => Err(refused(source)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread is just starting shares the file, and
        // with it the lock, until it runs its program.
        let _ = self.0.unlock();
    }
}

/// Finds the cluster of the data directory and the binaries for it; makes it on the first start.
async fn prepare(data_dir: &Path) -> Result<Cluster, EmbeddedError> {
    let existing = place::existing(data_dir)?.map(place::checked).transpose()?;
    let major = existing.as_deref().map_or(Ok(None), major_of)?;
    let account = match (&existing, major) {
        (Some(dir), Some(_)) => Account::of_cluster(dir).await?,
        _ => Account::for_new_cluster().await?,
    };
    let dir = match existing {
        Some(dir) => dir,
        None => place::choose(data_dir, &account).await?,
    };
    let downloads = dir.with_file_name("postgresql");
    let binaries = Binaries::find_or_download(&account, &dir, major, &downloads).await?;
    let cluster = Cluster { dir, binaries, account, settings: &SETTINGS };
    if major.is_none() {
        tracing::info!(cluster = %cluster.dir.display(), "making a PostgreSQL cluster");
        cluster.init(&make_password(data_dir)?, &[]).await?;
    } else if !cluster.account.can_use(&cluster.dir).await? {
        return Err(EmbeddedError::Unreachable {
            cluster: cluster.dir,
            user: cluster.account.name,
        });
    }
    Ok(cluster)
}

/// The major version that made the cluster; `None` when it is still to be made.
fn major_of(cluster: &Path) -> Result<Option<u32>, EmbeddedError> {
    let is_empty = match fs::read_dir(cluster) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(file("read", cluster)(error)),
    };
    if is_empty {
        return Ok(None);
    }
    let major = fs::read_to_string(cluster.join("PG_VERSION"))
        .ok()
        .and_then(|version| version.trim().parse().ok())
        .ok_or_else(|| EmbeddedError::NotACluster { cluster: cluster.to_owned() })?;
    if !(binaries::MAJOR_MIN..=binaries::MAJOR_MAX).contains(&major) {
        return Err(EmbeddedError::VersionUnsupported { cluster: cluster.to_owned(), major });
    }
    Ok(Some(major))
}

/// The file with the superuser's password.
fn password_file(data_dir: &Path) -> PathBuf {
    data_dir.join("postgres.password")
}

/// Makes a password for a new cluster. One that an interrupted first start left is as good.
fn make_password(data_dir: &Path) -> Result<String, EmbeddedError> {
    let path = password_file(data_dir);
    if !path.exists() {
        place::write_private(data_dir, &path, random_password().as_bytes())
            .map_err(file("write", &path))?;
    }
    read_password(data_dir)
}

fn read_password(data_dir: &Path) -> Result<String, EmbeddedError> {
    let path = password_file(data_dir);
    let password = fs::read_to_string(&path).and_then(|text| {
        let password = text.trim();
        // It stands in a URL as it is; whatever we made is of letters and digits.
        if password.is_empty() || !password.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a password of ours"));
        }
        Ok(password.to_owned())
    });
    password.map_err(|source| EmbeddedError::Password { path, source })
}

/// 256 random bits.
pub(crate) fn random_password() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

/// The superuser's URL. Password authentication is safe on 127.0.0.1 without TLS.
pub(crate) fn url(password: &str, port: u16, database: &str) -> String {
    format!("postgres://{SUPERUSER}:{password}@127.0.0.1:{port}/{database}?sslmode=disable")
}

/// Shows that the server takes our password, and makes the database on the first start.
async fn open(maintenance_url: &str) -> Result<(), sqlx::Error> {
    let work = async {
        let mut connection = PgConnection::connect(maintenance_url).await?;
        let exists: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
                .bind(DATABASE)
                .fetch_one(&mut connection)
                .await?;
        if !exists {
            connection.execute("CREATE DATABASE orion").await?;
        }
        connection.close().await
    };
    tokio::time::timeout(CONNECT_WAIT, work)
        .await
        .unwrap_or_else(|late| Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, late))))
}
