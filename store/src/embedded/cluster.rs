//! One PostgreSQL cluster: made by `initdb`, started by `pg_ctl`, stopped by signals.

use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use super::EmbeddedError;
use super::account::{Account, run};
use super::binaries::Binaries;
use super::error::file;
use super::postmaster::{self, Postmaster};

/// The cluster's superuser.
pub(crate) const SUPERUSER: &str = "postgres";

/// After a crash under load, up to `max_wal_size` of log is read again.
const START_WAIT: Duration = Duration::from_mins(5);
/// A fast shutdown writes the dirty buffers. The server has 10 s to stop in all.
const FAST_WAIT: Duration = Duration::from_secs(5);
/// After 5 s of an immediate shutdown the postmaster itself kills what is left.
const IMMEDIATE_WAIT: Duration = Duration::from_secs(6);
/// How long processes of a killed postmaster, or a port taken by another, may hold up a start.
const RETRY_WAIT: Duration = Duration::from_secs(15);
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Safety of the network and a known clock; these hold for every cluster.
const SETTINGS: [&str; 5] = [
    "listen_addresses=127.0.0.1",
    // The path of a socket may be too long, and nothing needs it.
    "unix_socket_directories=",
    "timezone=UTC",
    "log_timezone=UTC",
    // Nobody reads these lines, and the log is only renewed at the next start.
    "log_checkpoints=off",
];

/// A cluster and what it takes to run it.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// Its folder; must be canonical, since it is compared with the postmaster's own.
    pub(crate) dir: PathBuf,
    pub(crate) binaries: Binaries,
    pub(crate) account: Account,
    /// Its settings, as `name=value` without blanks.
    pub(crate) settings: &'static [&'static str],
}

impl Cluster {
    /// Makes the cluster. It appears under its name only when it is complete, so that a killed
    /// initdb leaves nothing that looks like a cluster.
    pub(crate) async fn init(&self, password: &str, extra: &[&str]) -> Result<(), EmbeddedError> {
        let parent = self.dir.parent().unwrap_or(Path::new("/"));
        let staging = self.dir.with_extension("new");
        remove_dir(&staging)?;
        self.account.make_dir(&staging)?;

        // Mode 0600 from the start, and gone when this function ends.
        let mut secret = tempfile::NamedTempFile::new_in(parent).map_err(file("create", parent))?;
        secret.write_all(password.as_bytes()).map_err(file("write", secret.path()))?;
        self.account.give(secret.path())?;

        let mut command = self.account.command(self.binaries.dir.join("initdb"));
        command
            .arg("--pgdata")
            .arg(&staging)
            .arg("--pwfile")
            .arg(secret.path())
            .args(["--username", SUPERUSER, "--auth=scram-sha-256"])
            // Text sorts by its bytes: the same on every machine, and fast.
            .args(["--encoding=UTF8", "--locale=C"])
            .args(["--data-checksums", "--no-instructions"])
            .args(extra);
        let output = run(command).await?;
        if !output.status.success() {
            let line = telling_line(&String::from_utf8_lossy(&output.stderr));
            remove_dir(&staging)?;
            return Err(EmbeddedError::Initdb { cluster: self.dir.clone(), line });
        }
        fs::rename(&staging, &self.dir).map_err(file("create", &self.dir))?;
        File::open(parent).and_then(|dir| dir.sync_all()).map_err(file("write", parent))
    }

    /// Starts the postmaster, on the given port or any free one, and waits until it is ready.
    pub(crate) async fn start(&self, port: Option<u16>) -> Result<u16, EmbeddedError> {
        let deadline = Instant::now() + RETRY_WAIT;
        loop {
            let port = match port {
                Some(port) => port,
                None => free_port()?,
            };
            let log = match self.try_start(port).await? {
                Outcome::Ready => return Ok(port),
                Outcome::Failed { log } => log,
            };
            // The port was lost to another program, or a killed postmaster's processes still end.
            let is_locked = log.contains("lock file \"postmaster.pid\" already exists");
            if is_locked {
                postmaster::remove_abandoned_lock(&self.dir)
                    .map_err(file("remove the lock of", &self.dir))?;
            }
            let passes =
                is_locked || log.contains("could not bind") || log.contains("still in use");
            if !passes || Instant::now() >= deadline {
                return Err(EmbeddedError::Start { line: self.reason(&log), log: self.log() });
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn try_start(&self, port: u16) -> Result<Outcome, EmbeddedError> {
        // One log per start: it stays small, and what it says is about this start.
        if self.log().exists() {
            let old = self.log().with_extension("log.old");
            fs::rename(self.log(), old).map_err(file("rename", &self.log()))?;
        }
        let mut options = format!("-c port={port}");
        for setting in SETTINGS.iter().chain(self.settings) {
            options.push_str(" -c ");
            options.push_str(setting);
        }
        let mut command = self.account.command(self.binaries.dir.join("pg_ctl"));
        command
            .args(["start", "--wait", "--timeout"])
            .arg(START_WAIT.as_secs().to_string())
            .arg("--pgdata")
            .arg(&self.dir)
            .arg("--log")
            .arg(self.log())
            .arg("--options")
            .arg(options);
        let output = run(command).await?;
        if output.status.success() {
            return Ok(Outcome::Ready);
        }
        if Postmaster::of(&self.dir).is_some() {
            return Err(not_ready(&self.dir));
        }
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        if log.trim().is_empty() {
            return Ok(Outcome::Failed { log: String::from_utf8_lossy(&output.stderr).into() });
        }
        Ok(Outcome::Failed { log })
    }

    /// The postmaster that runs already, once it is ready; `None` when there is none.
    pub(crate) async fn running(&self) -> Result<Option<Postmaster>, EmbeddedError> {
        running(&self.dir).await
    }

    /// Stops the postmaster and everything below it; at most about 12 s.
    pub(crate) async fn stop(&self) -> Result<(), EmbeddedError> {
        let Some(postmaster) = Postmaster::of(&self.dir) else { return Ok(()) };
        // PostgreSQL's names: SIGINT is a fast shutdown, SIGQUIT an immediate one.
        for (signal, wait) in [
            (Signal::INT, FAST_WAIT),
            (Signal::QUIT, IMMEDIATE_WAIT),
            (Signal::KILL, Duration::from_secs(1)),
        ] {
            postmaster.signal(signal);
            if postmaster.ends_within(&self.dir, wait).await {
                return Ok(());
            }
            tracing::warn!(pid = postmaster.pid, ?signal, "PostgreSQL did not stop in time");
        }
        Err(EmbeddedError::Stop { pid: postmaster.pid, log: self.log() })
    }

    /// Why it did not start. On a full disk PostgreSQL cannot even write that down.
    fn reason(&self, log: &str) -> String {
        let is_full = rustix::fs::statvfs(&self.dir).is_ok_and(|disk| disk.f_bavail == 0);
        if is_full { "its disk is full".to_owned() } else { telling_line(log) }
    }

    /// Where the postmaster logs.
    pub(crate) fn log(&self) -> PathBuf {
        log_of(&self.dir)
    }
}

/// The postmaster of the cluster in `dir`, once it is ready; `None` when there is none.
pub(crate) async fn running(dir: &Path) -> Result<Option<Postmaster>, EmbeddedError> {
    Postmaster::settled(dir, START_WAIT).await.map_err(|_| not_ready(dir))
}

fn not_ready(dir: &Path) -> EmbeddedError {
    EmbeddedError::NotReady { waited_secs: START_WAIT.as_secs(), log: log_of(dir) }
}

fn log_of(dir: &Path) -> PathBuf {
    dir.join("server.log")
}

/// How one try to start ended.
enum Outcome {
    Ready,
    Failed { log: String },
}

/// A port below those that the system gives to outgoing connections, so that it is still free when
/// the postmaster is started on it again.
fn free_port() -> Result<u16, EmbeddedError> {
    (0..100)
        .map(|_| rand::random_range(20_000..32_000))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or(EmbeddedError::NoPort)
}

/// The line that says why: the first fatal one, else the last that is not empty.
fn telling_line(log: &str) -> String {
    let mut lines = log.lines().map(str::trim).filter(|line| !line.is_empty());
    let fatal = lines.clone().find_map(|line| {
        let at = ["FATAL:", "PANIC:", "error:"].iter().find_map(|level| line.find(level))?;
        Some(&line[at..])
    });
    fatal.or_else(|| lines.next_back()).unwrap_or("it said nothing").to_owned()
}

fn remove_dir(dir: &Path) -> Result<(), EmbeddedError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(file("remove", dir)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fatal_line_tells_more_than_the_last() {
        let log = "2026-01-01 UTC [7] LOG:  starting\n2026-01-01 UTC [7] FATAL:  no memory\n\
                   2026-01-01 UTC [7] LOG:  database system is shut down\n\n";
        assert_eq!(telling_line(log), "FATAL:  no memory");
        assert_eq!(telling_line("one\ntwo\n\n"), "two");
        assert_eq!(telling_line("\n"), "it said nothing");
    }
}
