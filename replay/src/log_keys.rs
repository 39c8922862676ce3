//! The keys with which checkpoints are verified.

use std::path::{Path, PathBuf};

use clap::Args;
use orion_store::keys::parse_key;
use orion_store::seal::{LogKey, LogPublicKey};
use secrecy::{ExposeSecret as _, SecretString};

/// Whoever signs the log, where no file with its public keys is named.
#[derive(Debug, Args)]
pub struct LogKeySettings {
    /// An Ed25519 seed in base64; unset: the file `log.key` in the data directory.
    #[arg(long, env = "ORION_LOG_KEY", hide_env_values = true, global = true)]
    log_key: Option<SecretString>,

    /// Earlier log keys, separated by commas, whose checkpoints are good.
    #[arg(
        long,
        env = "ORION_LOG_KEYS_OLD",
        hide_env_values = true,
        value_delimiter = ',',
        global = true
    )]
    log_keys_old: Vec<SecretString>,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum LogKeyError {
    /// None was named, and there is no file of our own.
    #[error(
        "--key: it is not given, ORION_LOG_KEY is not set, and {path} cannot be read: {source}"
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The named file cannot be read.
    #[error("--key: {path} cannot be read: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The named file is of another kind.
    #[error("--key: {0} has no public key of an Orion log, such as orion/log+0123abcd+AQID…")]
    NoKey(PathBuf),
    /// A setting is no key.
    #[error("{0}: each key must be 32 bytes in base64")]
    Malformed(&'static str),
}

impl LogKeySettings {
    /// The keys of a file or, where none is named, of the settings or the data directory.
    pub fn load(
        &self,
        data_dir: &Path,
        file: Option<&Path>,
    ) -> Result<Vec<LogPublicKey>, LogKeyError> {
        if let Some(path) = file {
            let failed = |source| LogKeyError::File { path: path.to_owned(), source };
            let text = std::fs::read_to_string(path).map_err(failed)?;
            return LogPublicKey::parse_all(&text)
                .ok_or_else(|| LogKeyError::NoKey(path.to_owned()));
        }
        let path = data_dir.join("log.key");
        let text = match &self.log_key {
            Some(text) => text.clone(),
            None => std::fs::read_to_string(&path)
                .map_err(|source| LogKeyError::Missing { path, source })?
                .into(),
        };
        let seed =
            parse_key(text.expose_secret()).ok_or(LogKeyError::Malformed("ORION_LOG_KEY"))?;
        let old = self.log_keys_old.iter().map(|text| {
            LogPublicKey::parse_setting(text.expose_secret())
                .ok_or(LogKeyError::Malformed("ORION_LOG_KEYS_OLD"))
        });
        std::iter::once(Ok(LogKey::from_seed(&seed).public())).chain(old).collect()
    }
}
