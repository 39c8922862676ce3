//! Where the cluster of a data directory lies.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::EmbeddedError;
use super::account::Account;
use super::error::file;

/// The cluster's folder in the data directory, or in a folder of its own elsewhere.
const CLUSTER: &str = "postgres";
/// The file in the data directory that names a cluster elsewhere.
const POINTER: &str = "cluster";
/// For clusters of data directories that their account cannot enter.
const ELSEWHERE: &str = "/var/lib/orion";

/// Makes the data directory if needed, and returns its canonical path.
pub(crate) fn data_dir(data_dir: &Path) -> Result<PathBuf, EmbeddedError> {
    // The keys in it have a mode of their own; the postmaster's account must get through.
    DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(data_dir)
        .and_then(|()| fs::canonicalize(data_dir))
        .map_err(|source| EmbeddedError::DataDir { data_dir: data_dir.to_owned(), source })
}

/// The cluster that this data directory already has, made or only promised by its pointer.
pub(crate) fn existing(data_dir: &Path) -> Result<Option<PathBuf>, EmbeddedError> {
    let pointer = data_dir.join(POINTER);
    match fs::read_to_string(&pointer) {
        Ok(text) => {
            let cluster = PathBuf::from(text.trim_end_matches('\n'));
            // Its folder was there before the pointer: the cluster is lost, not yet to be made.
            if !cluster.is_absolute() || !cluster.parent().is_some_and(Path::is_dir) {
                return Err(EmbeddedError::PointerDangles { pointer, cluster });
            }
            Ok(Some(cluster))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let cluster = data_dir.join(CLUSTER);
            Ok(cluster.exists().then_some(cluster))
        }
        Err(error) => Err(file("read", &pointer)(error)),
    }
}

/// Chooses a place for a new cluster: the data directory, unless `account` cannot work there.
pub(crate) async fn choose(data_dir: &Path, account: &Account) -> Result<PathBuf, EmbeddedError> {
    let cluster = if !account.is_other() || is_usable(data_dir, account).await? {
        data_dir.join(CLUSTER)
    } else {
        let cluster = elsewhere(data_dir, account)?;
        tracing::info!(
            cluster = %cluster.display(),
            "the user of PostgreSQL cannot enter the data directory; its cluster lies elsewhere"
        );
        point_to(data_dir, &cluster)?;
        cluster
    };
    checked(cluster)
}

/// Refuses a path that `pg_ctl` could not quote for its shell, or that would break the lines of
/// `postmaster.pid`.
pub(crate) fn checked(cluster: PathBuf) -> Result<PathBuf, EmbeddedError> {
    let is_safe = cluster
        .to_str()
        .is_some_and(|path| !path.contains(['"', '\'', '\\', '$', '`', '\n', '\r']));
    if is_safe { Ok(cluster) } else { Err(EmbeddedError::PathUnusable { path: cluster }) }
}

/// Tries it with a folder like the cluster's. Any failure of the try (a file system without
/// owners, say) means no.
async fn is_usable(data_dir: &Path, account: &Account) -> Result<bool, EmbeddedError> {
    let probe = data_dir.join(format!("{CLUSTER}.probe"));
    let _ = fs::remove_dir(&probe);
    if account.make_dir(&probe).is_err() {
        return Ok(false);
    }
    let is_usable = account.can_use(&probe).await;
    fs::remove_dir(&probe).map_err(file("remove", &probe))?;
    is_usable
}

/// A folder of its own under [`ELSEWHERE`], named after the data directory.
fn elsewhere(data_dir: &Path, account: &Account) -> Result<PathBuf, EmbeddedError> {
    let root = Path::new(ELSEWHERE);
    DirBuilder::new().recursive(true).mode(0o755).create(root).map_err(file("create", root))?;
    let hash = hex::encode(Sha256::digest(data_dir.as_os_str().as_bytes()));
    let mut home = root.join(&hash[..16]);
    // Someone deleted the data directory to start afresh. The data that it belonged to cannot be
    // opened without the password, but is not ours to delete.
    let mut attempt = 1;
    while home.join(CLUSTER).exists() {
        tracing::warn!(cluster = %home.display(), "leaving an older cluster of this path alone");
        attempt += 1;
        home = root.join(format!("{}-{attempt}", &hash[..16]));
    }
    if !home.exists() {
        account.make_dir(&home)?;
    }
    Ok(home.join(CLUSTER))
}

/// Writes the pointer file, all of it or nothing.
fn point_to(data_dir: &Path, cluster: &Path) -> Result<(), EmbeddedError> {
    let pointer = data_dir.join(POINTER);
    write_private(data_dir, &pointer, cluster.as_os_str().as_bytes())
        .map_err(file("write", &pointer))
}

/// Writes a file with mode 0600 that appears only when it is complete and on disk.
pub(crate) fn write_private(dir: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut staging = tempfile::NamedTempFile::new_in(dir)?;
    staging.write_all(content)?;
    staging.as_file().sync_all()?;
    staging.persist(path).map_err(|error| error.error)?;
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_without_a_cluster_has_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(existing(dir.path()).unwrap(), None);
    }

    #[test]
    fn a_pointer_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let home = tempfile::tempdir().unwrap();
        let cluster = home.path().join(CLUSTER);
        point_to(dir.path(), &cluster).unwrap();
        assert_eq!(existing(dir.path()).unwrap(), Some(cluster));
    }

    #[test]
    fn a_pointer_to_nowhere_is_an_error_and_no_new_database() {
        let dir = tempfile::tempdir().unwrap();
        point_to(dir.path(), Path::new("/nowhere/at/all")).unwrap();
        let error = existing(dir.path()).unwrap_err();
        assert!(matches!(error, EmbeddedError::PointerDangles { .. }), "{error}");
    }

    #[test]
    fn a_path_that_a_shell_would_read_is_refused() {
        assert!(checked("/with space/and.dot".into()).is_ok());
        for path in ["/a\"b", "/a$b", "/a`b`", "/a\nb", "/a\\b"] {
            assert!(checked(path.into()).is_err(), "{path:?}");
        }
    }
}
