//! What the log keeps of a token.

use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

/// The SHA-256 of a token of 256 random bits, in hex.
///
/// It tells nothing of the token, so it needs no key; it still prints as `***`, for it has no business
/// in a log line. Two of them are compared in a time that does not depend on where they differ.
#[derive(Clone, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenHash(String);

impl TokenHash {
    /// Wraps a hash.
    pub fn new(hex: String) -> Self {
        Self(hex)
    }

    /// The hash in hex.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(hex: &str) -> TokenHash {
        TokenHash::new(hex.to_owned())
    }

    #[test]
    fn debug_hides_the_value() {
        assert_eq!(format!("{:?}", hash("5f2c")), "***");
    }

    #[test]
    fn it_is_kept_as_its_text() {
        assert_eq!(serde_json::to_string(&hash("5f2c")).unwrap(), r#""5f2c""#);
        assert_eq!(serde_json::from_str::<TokenHash>(r#""5f2c""#).unwrap(), hash("5f2c"));
    }

    #[test]
    fn only_the_same_hash_is_equal() {
        assert_eq!(hash("5f2c"), hash("5f2c"));
        for other in ["5f2d", "6f2c", "5f2", "5f2c0", ""] {
            assert_ne!(hash("5f2c"), hash(other));
        }
    }
}
