//! Finds the programs of PostgreSQL on this machine.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::account::{Account, run};
use super::{DownloadError, EmbeddedError, download};

/// The oldest PostgreSQL that Orion runs.
pub(crate) const MAJOR_MIN: u32 = 15;
/// The newest one that it was made for.
pub(crate) const MAJOR_MAX: u32 = 18;

/// Where packages put each version into a folder of its own: Debian, PGDG's RPMs, Homebrew. Two
/// parts around the version.
const VERSIONED: [(&str, &str); 4] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/opt/homebrew/opt", "postgresql@"),
    ("/usr/local/opt", "postgresql@"),
];

/// A folder with `initdb`, `pg_ctl` and `postgres` of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binaries {
    pub(crate) dir: PathBuf,
    pub(crate) major: u32,
}

impl Binaries {
    /// Finds the binaries for a new cluster, or those of an existing cluster's major version;
    /// downloads them into `downloads` when the machine has none.
    pub(crate) async fn find_or_download(
        account: &Account,
        cluster: &Path,
        major: Option<u32>,
        downloads: &Path,
    ) -> Result<Self, EmbeddedError> {
        let search = Search::of_machine(downloads).await;
        if let Some(found) = search.find(account, major).await {
            return Ok(found);
        }
        let error = match download::fetch(downloads, major).await {
            Ok(dir) => match probe(account, &dir).await {
                Some(binaries) => return Ok(binaries),
                None => DownloadError::Unusable { dir },
            },
            Err(error) => error,
        };
        Err(search.failed(cluster, major, error))
    }
}

/// The folders to look into, best first.
#[derive(Debug)]
pub(crate) struct Search {
    dirs: Vec<PathBuf>,
    /// For the message when nothing is found.
    looked_in: String,
}

impl Search {
    /// What the machine offers, and what an earlier start downloaded.
    pub(crate) async fn of_machine(downloads: &Path) -> Self {
        let mut dirs = Vec::new();
        dirs.extend(configured_dir().await);
        for (parent, prefix) in VERSIONED {
            dirs.extend(versions_in(Path::new(parent), prefix));
        }
        if let Some(path) = std::env::var_os("PATH") {
            dirs.extend(std::env::split_paths(&path));
        }
        dirs.extend(versions_in(downloads, ""));
        let looked_in = format!(
            "`pg_config --bindir`, /usr/lib/postgresql/*/bin, PATH, {}",
            downloads.display()
        );
        Self { dirs, looked_in }
    }

    /// The first folder that counts: it has all programs, and they run as `account`.
    pub(crate) async fn find(&self, account: &Account, major: Option<u32>) -> Option<Binaries> {
        for dir in &self.dirs {
            if let Some(found) = probe(account, dir).await
                && major.is_none_or(|major| major == found.major)
            {
                return Some(found);
            }
        }
        None
    }

    fn failed(self, cluster: &Path, major: Option<u32>, source: DownloadError) -> EmbeddedError {
        let looked_in = self.looked_in;
        match major {
            Some(major) => EmbeddedError::VersionMissing {
                cluster: cluster.to_owned(),
                major,
                looked_in,
                source,
            },
            None => EmbeddedError::NoBinaries { looked_in, source },
        }
    }
}

/// What is in the folder, if it has everything and a version that we run.
async fn probe(account: &Account, dir: &Path) -> Option<Binaries> {
    if !["initdb", "pg_ctl", "postgres"].iter().all(|program| dir.join(program).is_file()) {
        return None;
    }
    let mut command = account.command(dir.join("postgres"));
    command.arg("--version");
    let output = run(command).await.ok()?;
    let major = major_of_banner(&String::from_utf8_lossy(&output.stdout))?;
    (MAJOR_MIN..=MAJOR_MAX).contains(&major).then(|| Binaries { dir: dir.to_owned(), major })
}

/// `postgres (PostgreSQL) 15.13 (Debian …)` or `postgres (PostgreSQL) 18beta1`.
fn major_of_banner(banner: &str) -> Option<u32> {
    leading_number(banner.split_once("(PostgreSQL) ")?.1)
}

/// The folder that `pg_config` names.
async fn configured_dir() -> Option<PathBuf> {
    let mut command = Command::new("pg_config");
    command.arg("--bindir").stdin(Stdio::null());
    let output = run(command).await.ok()?;
    let dir = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(dir.trim()))
}

/// `parent/<prefix><version>/bin`, newest first.
fn versions_in(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = parent.read_dir() else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let major = version_of(&entry.file_name(), prefix)?;
            Some((major, entry.path().join("bin")))
        })
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, dir)| dir).collect()
}

fn version_of(name: &OsStr, prefix: &str) -> Option<u32> {
    leading_number(name.to_str()?.strip_prefix(prefix)?)
}

fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A folder under `root` with programs that claim to be this PostgreSQL.
    fn install(root: &Path, folder: &str, version: &str) -> PathBuf {
        let bin = root.join(folder).join("bin");
        fs::create_dir_all(&bin).unwrap();
        for program in ["initdb", "pg_ctl", "postgres"] {
            let file = bin.join(program);
            fs::write(&file, format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n"))
                .unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        bin
    }

    /// A root that every account can enter.
    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        root
    }

    fn search(root: &Path) -> Search {
        Search { dirs: versions_in(root, ""), looked_in: root.display().to_string() }
    }

    #[tokio::test]
    async fn the_newest_version_that_we_run_wins() {
        let root = root();
        install(root.path(), "9", "9.6.24");
        install(root.path(), "14", "14.9");
        install(root.path(), "16", "16.4 (Debian 16.4-1)");
        let newest = install(root.path(), "18.1.0", "18.1");
        install(root.path(), "19", "19devel");
        let account = Account::for_new_cluster().await.unwrap();

        let found = search(root.path()).find(&account, None).await.unwrap();
        assert_eq!(found, Binaries { dir: newest, major: 18 });
    }

    #[tokio::test]
    async fn an_existing_cluster_gets_its_own_version() {
        let root = root();
        let older = install(root.path(), "16", "16.4");
        install(root.path(), "17", "17.0");
        let account = Account::for_new_cluster().await.unwrap();

        let found = search(root.path()).find(&account, Some(16)).await.unwrap();
        assert_eq!(found.dir, older);
        assert_eq!(search(root.path()).find(&account, Some(15)).await, None);
    }

    #[tokio::test]
    async fn a_folder_with_a_program_missing_does_not_count() {
        let root = root();
        let bin = install(root.path(), "16", "16.4");
        fs::remove_file(bin.join("initdb")).unwrap();
        let account = Account::for_new_cluster().await.unwrap();

        let search = search(root.path());
        assert_eq!(search.find(&account, None).await, None);
    }

    #[test]
    fn what_is_missing_is_said_in_one_line() {
        let timed_out = || DownloadError::TimedOut { waited_secs: 1 };
        let search = || Search { dirs: Vec::new(), looked_in: "/here, /there".to_owned() };

        let none = search().failed(Path::new("/c"), None, timed_out()).to_string();
        assert_eq!(
            none,
            "no PostgreSQL 15 to 18 server binaries (initdb, pg_ctl, postgres) were found in \
             /here, /there, and the download failed; install them (Debian, Ubuntu: apt install \
             postgresql) or set DATABASE_URL"
        );
        let other = search().failed(Path::new("/c"), Some(16), timed_out()).to_string();
        assert!(other.starts_with("the cluster /c needs PostgreSQL 16, which was not found in"));
        assert!(!other.contains('\n'));
    }
}
