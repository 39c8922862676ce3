//! Ends a test cluster when the test process ends, however it does.

use std::path::Path;
use std::process::{Child, Stdio};

use super::or_panic;
use crate::embedded::Cluster;

/// Waits for the end of its input, which comes with the end of the test process, then stops the
/// postmaster and removes the folder. A postmaster that was just being started may appear late,
/// hence the rounds. `$1` is `pg_ctl`, `$2` the cluster, `$3` the folder.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
cat
for round in 1 2 3 4 5 6 7 8 9 10; do
    "$1" stop -D "$2" -m immediate -t 6
    rm -rf "$3" && test ! -e "$3" && exit
    sleep 0.2
done
"#;

/// A shell in a process group of its own, so that Ctrl-C reaches the tests only.
#[derive(Debug)]
pub(super) struct Watchdog(Child);

impl Watchdog {
    /// Watches from now on; to be called before there is anything to end.
    pub(super) fn over(cluster: &Cluster, folder: &Path) -> Self {
        let mut command = cluster.account.command("/bin/sh");
        command
            .args(["-c", SCRIPT, "sh"])
            .arg(cluster.binaries.dir.join("pg_ctl"))
            .args([&cluster.dir, folder])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self(or_panic("starting the watchdog of a test cluster", command.spawn()))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
