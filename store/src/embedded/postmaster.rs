//! The running postmaster, as its file `postmaster.pid` and the system tell of it.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::time::Instant;

/// How often a change is looked for.
const POLL: Duration = Duration::from_millis(20);

/// A postmaster that is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Postmaster {
    pub(crate) pid: i32,
    /// `None` while it starts up or shuts down.
    pub(crate) ready_on: Option<u16>,
}

impl Postmaster {
    /// The postmaster of the cluster, if one is alive. A file that a killed one left behind is not
    /// one, even when its process id was given to another process since.
    pub(crate) fn of(cluster: &Path) -> Option<Self> {
        let file = fs::read_to_string(cluster.join("postmaster.pid")).ok()?;
        let postmaster = Self::parse(&file)?;
        postmaster.is_alive(cluster).then_some(postmaster)
    }

    /// Lines: process id, folder, start time, port, socket folder, address, memory key, status.
    fn parse(file: &str) -> Option<Self> {
        let lines: Vec<&str> = file.lines().map(str::trim).collect();
        let pid = lines.first()?.parse().ok().filter(|pid| *pid > 0)?;
        let port = lines.get(3).and_then(|port| port.parse().ok());
        let is_ready = lines.get(7) == Some(&"ready");
        Some(Self { pid, ready_on: port.filter(|_| is_ready) })
    }

    /// True while this very postmaster runs.
    pub(crate) fn is_alive(self, cluster: &Path) -> bool {
        let Some(pid) = Pid::from_raw(self.pid) else { return false };
        if test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
            return false;
        }
        // Tells the postmaster from a zombie, and from a stranger with its process id.
        !cfg!(target_os = "linux")
            || fs::canonicalize(cluster).is_ok_and(|cluster| works_in(self.pid, &cluster))
    }

    /// Waits while a postmaster of the cluster starts up or shuts down. The answer is one that is
    /// ready, or that there is none.
    pub(crate) async fn settled(
        cluster: &Path,
        wait: Duration,
    ) -> Result<Option<Self>, NotSettled> {
        let deadline = Instant::now() + wait;
        loop {
            match Self::of(cluster) {
                Some(Self { ready_on: None, .. }) => {}
                settled => return Ok(settled),
            }
            if Instant::now() >= deadline {
                return Err(NotSettled);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Sends a signal; that the process is gone already is as good.
    pub(crate) fn signal(self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid) {
            let _ = kill_process(pid, signal);
        }
    }

    /// True when it has ended in time.
    pub(crate) async fn ends_within(self, cluster: &Path, wait: Duration) -> bool {
        let deadline = Instant::now() + wait;
        while self.is_alive(cluster) {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
        true
    }
}

/// Removes the lock file of a killed postmaster that PostgreSQL itself takes for a live one: its
/// process id is that of a zombie (in a container nobody may ever reap it) or of a stranger. Only
/// where the system shows that no process, not even an orphaned backend, works in the cluster.
pub(crate) fn remove_abandoned_lock(cluster: &Path) -> io::Result<()> {
    let cluster = fs::canonicalize(cluster)?;
    if !cfg!(target_os = "linux") || Process::all()?.any(|pid| works_in(pid, &cluster)) {
        return Ok(());
    }
    match fs::remove_file(cluster.join("postmaster.pid")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// True when the process is a PostgreSQL in this folder, or may be one.
fn works_in(pid: i32, cluster: &Path) -> bool {
    if Process::of(pid).is_none_or(|process| process.name != "postgres") {
        return false;
    }
    match fs::read_link(format!("/proc/{pid}/cwd")) {
        Ok(folder) => folder == cluster,
        // A container may forbid the look; the name has to do.
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

/// A process that is alive, as Linux tells of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) parent: i32,
}

impl Process {
    /// The ids of all processes.
    pub(crate) fn all() -> io::Result<impl Iterator<Item = i32>> {
        let entries = fs::read_dir("/proc")?.flatten();
        Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
    }

    /// The process, unless it is gone or a zombie.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// `4711 (postgres) S 1 …`: id, name (which may contain anything), state, parent.
    fn parse(stat: &str) -> Option<Self> {
        let (before, after) = stat.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        let mut fields = after.split_ascii_whitespace();
        if matches!(fields.next()?, "Z" | "X") {
            return None;
        }
        Some(Self { name: name.to_owned(), parent: fields.next()?.parse().ok()? })
    }
}

/// The time was over before the postmaster was ready or gone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NotSettled;

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "4711\n/data\n1700000000\n20815\n\n127.0.0.1\n  1 2\nready   \n";

    #[test]
    fn a_ready_postmaster_has_a_port() {
        let ready = Postmaster { pid: 4711, ready_on: Some(20815) };
        assert_eq!(Postmaster::parse(FILE), Some(ready));
    }

    #[test]
    fn one_that_starts_or_stops_has_none() {
        let pending = Some(Postmaster { pid: 4711, ready_on: None });
        assert_eq!(Postmaster::parse(&FILE.replace("ready", "stopping")), pending);
        assert_eq!(Postmaster::parse("4711\n/data\n17000"), pending);
    }

    #[test]
    fn a_damaged_file_is_no_postmaster() {
        for file in ["", "\n", "x\n", "-1\n", "0\n"] {
            assert_eq!(Postmaster::parse(file), None, "{file:?}");
        }
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let alive = Process { name: "a) b".to_owned(), parent: 1 };
        assert_eq!(Process::parse("7 (a) b) S 1 7 7"), Some(alive));
        assert_eq!(Process::parse("7 (a) b) Z 1 7 7"), None);
    }

    #[test]
    fn a_stranger_with_the_same_process_id_is_none() {
        let ourselves = i32::try_from(std::process::id()).unwrap();
        let stranger = Postmaster { pid: ourselves, ready_on: Some(1) };
        assert!(!cfg!(target_os = "linux") || !stranger.is_alive(Path::new("/data")));
    }
}
