//! A small disk of the test's own, which can be filled.

use std::env::var_os;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Set where a disk that cannot be mounted is a failure, as in CI.
const REQUIRED: &str = "ORION_TEST_MOUNT_REQUIRED";

/// Mounts `$1` with `$2`, says so, waits for the end of its input, which comes with the end of the test process,
/// and takes the disk away once nobody works on it any more.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
mount -t tmpfs -o "$2" tmpfs "$1" || { rmdir "$1"; exit 1; }
echo mounted
cat
for round in $(seq 100); do
    umount "$1" && rmdir "$1" && exit
    sleep 0.2
done
"#;

/// A file system in memory, gone with this value.
pub struct Disk {
    folder: PathBuf,
    /// Dropped with its input, which ends it.
    keeper: Child,
}

impl Disk {
    /// One of so many MiB; none where mounting is not permitted and nobody insists.
    pub fn of_mib(size: u32) -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("orion-disk-").tempdir().unwrap().keep();
        let mut keeper = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "sh"])
            .arg(&folder)
            .arg(format!("mode=1777,size={size}m"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut said).unwrap();
        if said == "mounted\n" {
            return Some(Self { folder, keeper });
        }
        keeper.wait().unwrap();
        assert!(var_os(REQUIRED).is_none(), "no disk can be mounted, and {REQUIRED} is set");
        // Past the harness, which keeps to itself what good tests print.
        let _ =
            writeln!(std::io::stderr(), "skipped: no disk can be mounted here, which needs root");
        None
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        let mut filler = File::options().append(true).create(true).open(self.filler()).unwrap();
        let full = loop {
            if let Err(error) = filler.write_all(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
    }

    /// Gives it back.
    pub fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
