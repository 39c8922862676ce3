//! The master key, with which personal values are read.

use std::path::{Path, PathBuf};

use clap::Args;
use orion_store::MasterKeys;
use orion_store::keys::parse_key;
use secrecy::{ExposeSecret as _, SecretString};

/// Where the master key is.
#[derive(Debug, Args)]
pub struct MasterKeySettings {
    /// 32 bytes in base64; unset: the file `master.key` in the data directory.
    #[arg(long, env = "ORION_MASTER_KEY", hide_env_values = true, global = true)]
    master_key: Option<SecretString>,

    /// Earlier master keys, separated by commas, which still open what they wrapped.
    #[arg(
        long,
        env = "ORION_MASTER_KEY_OLD",
        hide_env_values = true,
        value_delimiter = ',',
        global = true
    )]
    master_key_old: Vec<SecretString>,
}

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// Neither is it set, nor is there a file.
    #[error("ORION_MASTER_KEY: it is not set, and {path} cannot be read: {source}")]
    Missing {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is no key.
    #[error("{0}: each key must be 32 bytes in base64")]
    Malformed(&'static str),
}

impl MasterKeySettings {
    /// The keys, from the settings or the data directory.
    pub fn load(&self, data_dir: &Path) -> Result<MasterKeys, MasterKeyError> {
        let path = data_dir.join("master.key");
        let text = match &self.master_key {
            Some(text) => text.clone(),
            None => std::fs::read_to_string(&path)
                .map_err(|source| MasterKeyError::Missing { path, source })?
                .into(),
        };
        let current =
            parse_key(text.expose_secret()).ok_or(MasterKeyError::Malformed("ORION_MASTER_KEY"))?;
        let old: Option<Vec<_>> =
            self.master_key_old.iter().map(|text| parse_key(text.expose_secret())).collect();
        let old = old.ok_or(MasterKeyError::Malformed("ORION_MASTER_KEY_OLD"))?;
        Ok(MasterKeys::new(&current, &old))
    }
}
