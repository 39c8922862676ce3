//! The keys of the settings: from a variable, or from a file that is made on the first start.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use orion_store::MasterKeys;
use orion_store::keys::parse_key;
use orion_store::seal::{LogKey, LogPublicKey};
use rand::RngCore as _;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Config, ConfigError};

impl Config {
    /// The master key, and those that were.
    pub fn master_keys(&self) -> Result<MasterKeys, ConfigError> {
        let path = self.data_dir.join("master.key");
        let current = key(self.master_key.as_ref(), "ORION_MASTER_KEY", &path)?;
        Ok(MasterKeys::new(&current, &old_keys(&self.master_key_old, "ORION_MASTER_KEY_OLD")?))
    }

    /// The seed of the key that signs access tokens.
    pub fn token_key(&self) -> Result<[u8; 32], ConfigError> {
        key(self.token_key.as_ref(), "ORION_TOKEN_KEY", &self.data_dir.join("token.key"))
    }

    /// The seeds of earlier keys whose tokens are still good.
    pub fn token_keys_old(&self) -> Result<Vec<[u8; 32]>, ConfigError> {
        old_keys(&self.token_keys_old, "ORION_TOKEN_KEYS_OLD")
    }

    /// The key that signs the log's checkpoints.
    pub fn log_key(&self) -> Result<LogKey, ConfigError> {
        let seed = key(self.log_key.as_ref(), "ORION_LOG_KEY", &self.data_dir.join("log.key"))?;
        Ok(LogKey::from_seed(&seed))
    }

    /// The keys that have signed checkpoints before.
    pub fn log_keys_old(&self) -> Result<Vec<LogPublicKey>, ConfigError> {
        let invalid = || ConfigError::Value {
            variable: "ORION_LOG_KEYS_OLD",
            problem:
                "each key must be 32 bytes in base64, or a public key that begins with orion/log+"
                    .to_owned(),
        };
        let read = |key: &SecretString| {
            LogPublicKey::parse_setting(key.expose_secret()).ok_or_else(invalid)
        };
        self.log_keys_old.iter().map(read).collect()
    }
}

fn old_keys(
    settings: &[SecretString],
    variable: &'static str,
) -> Result<Vec<[u8; 32]>, ConfigError> {
    let problem = || "each key must be 32 bytes in base64".to_owned();
    let invalid = || ConfigError::Value { variable, problem: problem() };
    settings.iter().map(|key| parse_key(key.expose_secret()).ok_or_else(invalid)).collect()
}

/// The key of a variable, or of a file that is made on the first start.
fn key(
    setting: Option<&SecretString>,
    variable: &'static str,
    path: &Path,
) -> Result<[u8; 32], ConfigError> {
    let invalid = |what: &str| ConfigError::Value {
        variable,
        problem: format!("{what} must be 32 bytes in base64"),
    };
    if let Some(setting) = setting {
        return parse_key(setting.expose_secret()).ok_or_else(|| invalid("the value"));
    }
    let failed = |source| ConfigError::KeyFile { path: path.to_owned(), source };
    match std::fs::read_to_string(path) {
        Ok(text) => {
            parse_key(&text).ok_or_else(|| invalid(&format!("the file {}", path.display())))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut fresh = [0; 32];
            rand::rng().fill_bytes(&mut fresh);
            write_secret(path, &BASE64.encode(fresh)).map_err(failed)?;
            Ok(fresh)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Writes a file that only its owner can read; it is there whole, or not at all.
fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let part = path.with_extension("part");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(part, path)?;
    // The name must last as well: without the key the database is lost.
    std::fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_only_the_owner_reads_them() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/master.key");
        let made = key(None, "ORION_MASTER_KEY", &path).unwrap();
        assert_eq!(key(None, "ORION_MASTER_KEY", &path).unwrap(), made);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = key(Some(&"short".into()), "ORION_MASTER_KEY", &path).unwrap_err().to_string();
        assert_eq!(error, "ORION_MASTER_KEY: the value must be 32 bytes in base64");
    }
}
