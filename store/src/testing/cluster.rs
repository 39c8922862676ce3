//! A PostgreSQL for tests: fast, unsafe against power loss, gone with the test.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::server::Server;
use super::watchdog::Watchdog;
use super::{TestDatabase, or_panic};
use crate::embedded::{
    self, Account, Binaries, Cluster, EmbeddedError, Postmaster, Process, random_password, run, url,
};

const SETTINGS: [&str; 4] = [
    // Tests do not survive the machine; a killed PostgreSQL loses nothing by this.
    "fsync=off",
    "full_page_writes=off",
    // Many tests at once, each with its pools.
    "max_connections=400",
    "shared_buffers=128MB",
];

/// Processes that got SIGKILL are gone sooner than this.
const KILL_WAIT: Duration = Duration::from_secs(10);

/// The database of [`TestCluster::url`].
const DATABASE: &str = "orion";

/// What of a cluster lies on a disk of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// All of it.
    Everything,
    /// Its write-ahead log only.
    Wal,
}

/// A PostgreSQL of its own, for tests that stop or kill it under a server.
#[derive(Debug)]
pub struct TestCluster {
    server: Server,
    password: String,
    port: u16,
    cluster: Cluster,
    /// Dropped last: stops PostgreSQL and removes its folder.
    _watchdog: Watchdog,
}

impl TestCluster {
    /// Starts a cluster with a migrated database.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        let cluster = Self::bare().await;
        cluster.server.named_database(DATABASE).await;
        cluster
    }

    /// A streaming standby of this cluster, made by `pg_basebackup`, with the same databases and
    /// logins. It is a cluster of its own on which nothing can be written.
    ///
    /// # Panics
    /// When it cannot be made or does not start.
    pub async fn replica(&self) -> Self {
        or_panic("starting a replica", self.try_replica().await)
    }

    /// Where to connect, as a superuser, to the cluster's migrated database. It stays the same
    /// over [`stop`](Self::stop), [`kill9`](Self::kill9) and [`start_again`](Self::start_again).
    pub fn url(&self) -> String {
        self.server.url_of(DATABASE)
    }

    /// Another fresh, migrated database on this cluster.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn database(&self) -> TestDatabase {
        self.server.database().await
    }

    /// The process id of the postmaster, if it runs.
    pub fn pid(&self) -> Option<i32> {
        Postmaster::of(&self.cluster.dir).map(|postmaster| postmaster.pid)
    }

    /// Stops PostgreSQL in good order.
    ///
    /// # Panics
    /// When it does not stop.
    pub async fn stop(&self) {
        or_panic("stopping a test cluster", self.cluster.stop().await);
    }

    /// Kills the postmaster and every process of it at once; returns when they are gone.
    ///
    /// # Panics
    /// When they do not end.
    pub async fn kill9(&self) {
        let Some(postmaster) = Postmaster::of(&self.cluster.dir) else { return };
        // Stopped first, it can neither start another process nor end the others in good order.
        postmaster.signal(Signal::STOP);
        let children = children_of(postmaster.pid);
        for pid in &children {
            if let Some(pid) = Pid::from_raw(*pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        postmaster.signal(Signal::KILL);
        let mut is_gone = postmaster.ends_within(&self.cluster.dir, KILL_WAIT).await;
        for pid in children {
            is_gone &= ends(pid).await;
        }
        assert!(is_gone, "the killed test cluster lives on");
    }

    /// Keeps the postmaster and every process of it from doing anything, as a machine that hangs does: its
    /// connections stay, and new ones are neither refused nor answered.
    pub fn pause(&self) {
        // The postmaster first, so that it starts no other meanwhile.
        self.signal_all(Signal::STOP);
    }

    /// Lets it go on after a [`pause`](Self::pause).
    pub fn go_on(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, signal: Signal) {
        let Some(postmaster) = Postmaster::of(&self.cluster.dir) else { return };
        postmaster.signal(signal);
        for pid in children_of(postmaster.pid).into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Starts PostgreSQL again, on the same port.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_again(&self) {
        or_panic("starting a test cluster again", self.cluster.start(Some(self.port)).await);
    }

    /// Starts a cluster with a migrated database, all of which or whose WAL alone lies in a folder that its
    /// account can enter: on a disk of the test's own.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_on(disk: &Path, holds: Holds) -> Self {
        let new = or_panic("starting a cluster on a disk", Self::try_on(disk, holds).await);
        new.server.named_database(DATABASE).await;
        new
    }

    /// Starts a cluster with a migrated database and the settings of the embedded one: what it has
    /// acknowledged is on the disk. To measure on.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn durable() -> Self {
        let new = or_panic("starting a cluster", Self::try_bare(&embedded::SETTINGS).await);
        new.server.named_database(DATABASE).await;
        new
    }

    /// A cluster with nothing but the template.
    pub(super) async fn bare() -> Self {
        or_panic("starting a test cluster", Self::try_bare(&SETTINGS).await)
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    async fn try_bare(settings: &'static [&'static str]) -> Result<Self, EmbeddedError> {
        let account = Account::for_new_cluster().await?;
        let folder = folder_of(&account, &std::env::temp_dir())?;
        Self::try_in(folder, account, settings, &[]).await
    }

    async fn try_on(disk: &Path, holds: Holds) -> Result<Self, EmbeddedError> {
        let account = Account::for_new_cluster().await?;
        let wal = disk.join("wal").display().to_string();
        let (parent, how) = match holds {
            Holds::Everything => (disk.to_owned(), Vec::new()),
            // In small segments, so that the next one is needed soon.
            Holds::Wal => (std::env::temp_dir(), vec!["--waldir", &wal, "--wal-segsize", "1"]),
        };
        let folder = folder_of(&account, &parent)?;
        Self::try_in(folder, account, &SETTINGS, &how).await
    }

    /// A cluster in this folder, made with these options of `initdb`.
    async fn try_in(
        folder: TempDir,
        account: Account,
        settings: &'static [&'static str],
        how: &[&str],
    ) -> Result<Self, EmbeddedError> {
        // A download is worth keeping; the folder for temporary files is anybody's.
        let downloads = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/postgresql");
        let dir = folder.path().join("postgres");
        if !account.can_use(folder.path()).await? {
            return Err(EmbeddedError::Unreachable { cluster: dir, user: account.name });
        }
        let binaries = Binaries::find_or_download(&account, &dir, None, &downloads).await?;
        let cluster = Cluster { dir, binaries, account, settings };
        // From here on, removing the folder is the watchdog's.
        let watchdog = Watchdog::over(&cluster, &folder.keep());

        let password = random_password();
        cluster.init(&password, &[&["--no-sync"], how].concat()).await?;
        let port = cluster.start(None).await?;
        let server = Server::at(url(&password, port, "postgres")).await;
        Ok(Self { server, password, port, cluster, _watchdog: watchdog })
    }

    async fn try_replica(&self) -> Result<Self, EmbeddedError> {
        let Cluster { binaries, account, settings, .. } = &self.cluster;
        let folder = folder_of(account, &std::env::temp_dir())?;
        let dir = folder.path().join("postgres");
        let (binaries, account) = (binaries.clone(), account.clone());
        let cluster = Cluster { dir, binaries, account, settings };
        let watchdog = Watchdog::over(&cluster, &folder.keep());

        let mut copy = cluster.account.command(cluster.binaries.dir.join("pg_basebackup"));
        copy.args(["--checkpoint=fast", "--write-recovery-conf", "--no-sync"])
            .args(["--dbname", &url(&self.password, self.port, "postgres")])
            .arg("--pgdata")
            .arg(&cluster.dir);
        let output = run(copy).await?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pg_basebackup: {said}");
        let port = cluster.start(None).await?;
        let server = self.server.copied_to(url(&self.password, port, "postgres"));
        Ok(Self { server, password: self.password.clone(), port, cluster, _watchdog: watchdog })
    }
}

/// A folder for a cluster, that only its account can enter.
fn folder_of(account: &Account, parent: &Path) -> Result<TempDir, EmbeddedError> {
    let private = Permissions::from_mode(0o700);
    let mut builder = tempfile::Builder::new();
    let folder = builder.prefix("orion-test-").permissions(private).tempdir_in(parent);
    let folder = or_panic("making a folder for a test cluster", folder);
    account.give(folder.path())?;
    Ok(folder)
}

/// The processes that this one started.
fn children_of(parent: i32) -> Vec<i32> {
    let processes = or_panic("looking for processes", Process::all());
    processes
        .filter(|pid| Process::of(*pid).is_some_and(|process| process.parent == parent))
        .collect()
}

/// Waits until the process is gone.
async fn ends(pid: i32) -> bool {
    let wait = async {
        while Process::of(pid).is_some_and(|process| process.name == "postgres") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(KILL_WAIT, wait).await.is_ok()
}
