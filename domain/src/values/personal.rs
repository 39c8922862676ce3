//! Personal and secret values.

use std::fmt;

use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A personal value: clear in the domain, never in the log.
///
/// It prints as `***`, so that no log line or error can leak it. It is *written* marked, as
/// `{"$personal": value}`: so the vault finds each one, whatever it is nested in, and seals it. It is
/// *read* bare, as the vault has opened it; `null` stands for a value whose person was erased.
#[derive(Clone, PartialEq, Eq)]
pub struct Personal<T>(Option<T>);

/// The key of the mark that a personal value is written with.
pub const MARK: &str = "$personal";

impl<T> Personal<T> {
    /// Wraps a value.
    pub fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// What is left of a value whose person was erased.
    pub fn erased() -> Self {
        Self(None)
    }

    /// The value, unless its person was erased; call it only where the value is needed, never to
    /// print it.
    pub fn expose(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

impl<T> fmt::Debug for Personal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<T: Serialize> Serialize for Personal<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(value) = &self.0 else { return serializer.serialize_none() };
        let mut marked = serializer.serialize_map(Some(1))?;
        marked.serialize_entry(MARK, value)?;
        marked.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Personal<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Not an `Option`, which a field that is missing would be too.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Opened<T> {
            Erased(()),
            Clear(T),
        }
        Ok(match Opened::deserialize(deserializer)? {
            Opened::Erased(()) => Self(None),
            Opened::Clear(value) => Self(Some(value)),
        })
    }
}

/// A secret that only the vault can open: text of the form that the vault gives ciphertexts.
///
/// The domain and the tables pass it on as it is; documented columns that say "encrypted" hold it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ciphertext(String);

impl Ciphertext {
    /// Wraps what the vault has made.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The ciphertext.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Ciphertext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_value() {
        assert_eq!(format!("{:?}", Personal::new("secret")), "***");
        assert_eq!(format!("{:?}", Ciphertext::new("secret".to_owned())), "***");
    }

    #[test]
    fn a_value_is_written_marked_and_read_bare() {
        let written = serde_json::to_string(&Personal::new("ada")).unwrap();
        assert_eq!(written, r#"{"$personal":"ada"}"#);
        let read: Personal<String> = serde_json::from_str(r#""ada""#).unwrap();
        assert_eq!(read.expose().map(String::as_str), Some("ada"));
    }

    #[test]
    fn an_erased_value_is_null() {
        let read: Personal<String> = serde_json::from_str("null").unwrap();
        assert_eq!(read.expose(), None);
        assert_eq!(serde_json::to_string(&read).unwrap(), "null");
    }
}
