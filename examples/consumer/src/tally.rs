//! The counts, and the position that they reach, in one file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Why the counts cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum TallyError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not one of this program.
    #[error("{path} does not hold counts: {source}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// How often each type of event has happened.
#[derive(Debug)]
pub struct Tally {
    path: PathBuf,
    kept: Kept,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// The newest event that is counted.
    position: u64,
    counts: BTreeMap<String, u64>,
}

impl Tally {
    /// Reads what was counted before; nothing if there is no file.
    pub fn open(path: PathBuf) -> Result<Self, TallyError> {
        let kept = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|source| TallyError::Content { path: path.clone(), source })?,
            Err(error) if error.kind() == ErrorKind::NotFound => Kept::default(),
            Err(source) => return Err(TallyError::File { path, source }),
        };
        Ok(Self { path, kept })
    }

    /// The newest event that is counted; 0 if none is.
    pub fn position(&self) -> u64 {
        self.kept.position
    }

    /// Counts an event and keeps it; false, and nothing is done, if it was counted before.
    pub fn count(&mut self, position: u64, event_type: &str) -> Result<bool, TallyError> {
        if position <= self.kept.position {
            return Ok(false);
        }
        self.kept.position = position;
        *self.kept.counts.entry(event_type.to_owned()).or_default() += 1;
        self.keep()?;
        Ok(true)
    }

    /// Writes a file beside it and puts it in the place of the old one: there is always one of the two, whole. At
    /// the end it is the new one, also after a power cut.
    fn keep(&self) -> Result<(), TallyError> {
        let text = serde_json::to_vec_pretty(&self.kept)
            .map_err(|source| TallyError::Content { path: self.path.clone(), source })?;
        let beside = self.path.with_extension("new");
        let written = File::create(&beside)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&beside, &self.path))
            .and_then(|()| File::open(self.folder())?.sync_all());
        written.map_err(|source| TallyError::File { path: self.path.clone(), source })
    }

    fn folder(&self) -> &Path {
        // A name alone is one in the working directory.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder.unwrap_or(Path::new("."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_is_counted_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tally.json");
        let mut tally = Tally::open(path.clone()).unwrap();
        assert!(tally.count(3, "content.drafted").unwrap());
        assert!(tally.count(5, "content.drafted").unwrap());

        // After a crash between the count and its acknowledgement.
        let mut tally = Tally::open(path).unwrap();
        assert_eq!(tally.position(), 5);
        assert!(!tally.count(5, "content.drafted").unwrap());
        assert!(!tally.count(3, "content.drafted").unwrap());
        assert_eq!(tally.kept.counts["content.drafted"], 2);
    }
}
