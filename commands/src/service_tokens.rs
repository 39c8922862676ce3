//! The tokens of machines, as they stand in a request.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use orion_domain::values::{ServiceTokenId, TokenHash};
use rand::RngCore;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// How every service token begins, so that people and scanners know one when they find it.
const PREFIX: &str = "orion_st_";

/// The digits of the id in a token.
const ID_DIGITS: usize = 32;

/// A service token in clear: `orion_st_<id as 32 hex digits>_<256 bits>`.
///
/// Only the client keeps it; the log has the SHA-256 of the whole text.
#[derive(Clone)]
pub struct ServiceSecret {
    id: ServiceTokenId,
    text: String,
}

impl ServiceSecret {
    /// A new token with a new id.
    pub fn draw() -> Self {
        let mut secret = [0; 32];
        rand::rng().fill_bytes(&mut secret);
        let id = Uuid::now_v7();
        let text = format!("{PREFIX}{}_{}", id.simple(), URL_SAFE_NO_PAD.encode(secret));
        Self { id: ServiceTokenId(id), text }
    }

    /// True of a text that wants to be a service token.
    pub fn is_one(bearer: &str) -> bool {
        bearer.starts_with(PREFIX)
    }

    /// Reads the token that somebody shows. Whether it is good, only the hash tells.
    pub fn parse(bearer: &str) -> Option<Self> {
        let (id, _) = bearer.strip_prefix(PREFIX)?.split_once('_')?;
        let id = Uuid::try_parse(id).ok().filter(|_| id.len() == ID_DIGITS)?;
        Some(Self { id: ServiceTokenId(id), text: bearer.to_owned() })
    }

    /// The token that it claims to be.
    pub fn id(&self) -> ServiceTokenId {
        self.id
    }

    /// What the log keeps of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::new(hex::encode(Sha256::digest(&self.text)))
    }

    /// The text, for the answer that hands it out and for nothing else.
    pub fn into_text(self) -> String {
        self.text
    }
}

impl std::fmt::Debug for ServiceSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceSecret").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_token_is_read_as_itself() {
        let drawn = ServiceSecret::draw();
        let text = drawn.clone().into_text();
        assert_eq!(text.len(), PREFIX.len() + ID_DIGITS + 1 + 43);
        let read = ServiceSecret::parse(&text).unwrap();
        assert_eq!((read.id(), read.hash()), (drawn.id(), drawn.hash()));
        assert!(ServiceSecret::is_one(&text));
        assert_ne!(ServiceSecret::draw().hash(), drawn.hash());
    }

    #[test]
    fn every_character_counts() {
        let text = ServiceSecret::draw().into_text();
        let hash = ServiceSecret::parse(&text).unwrap().hash();
        assert_ne!(ServiceSecret::parse(&text[..text.len() - 1]).unwrap().hash(), hash);
        assert_ne!(ServiceSecret::parse(&format!("{text}A")).unwrap().hash(), hash);
    }

    #[test]
    fn what_names_no_token_is_not_read() {
        let id = Uuid::now_v7();
        for text in [
            String::new(),
            PREFIX.to_owned(),
            format!("{PREFIX}{}", id.simple()),
            format!("{PREFIX}{id}_secret"),
            format!("{PREFIX}{{{id}}}_secret"),
            format!("orion_xx_{}_secret", id.simple()),
            format!("{PREFIX}_secret"),
        ] {
            assert!(ServiceSecret::parse(&text).is_none(), "{text}");
        }
    }

    #[test]
    fn debug_hides_the_secret() {
        let secret = ServiceSecret::draw();
        let shown = format!("{secret:?}");
        assert!(!shown.contains(&secret.into_text()) && !shown.contains(PREFIX), "{shown}");
    }
}
