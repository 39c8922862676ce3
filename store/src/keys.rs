//! The master key and what is derived from it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use orion_domain::{Claim, ClaimChange};
use rand::RngCore;
use sha2::Sha256;
use sqlx::PgPool;

/// The length of a nonce of XChaCha20-Poly1305, in bytes.
const NONCE_BYTES: usize = 24;

/// The keys that are derived from the master key, each for one use.
#[derive(Clone)]
pub struct Keys {
    fingerprint: [u8; 32],
    claims: [u8; 32],
    receipts: [u8; 32],
    refresh: [u8; 32],
    links: [u8; 32],
    credentials: [u8; 32],
}

/// Why the keys may not be used on a database.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Claims and ciphertexts were made with another master key.
    #[error("the database was begun with another master key")]
    Foreign,
    /// PostgreSQL refused or could not be reached.
    #[error("reading the fingerprint of the keys")]
    Database(#[from] sqlx::Error),
}

/// A ciphertext that does not open: cut short, changed, of another place or another key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ciphertext of {place} does not open")]
pub struct OpenError {
    /// What the ciphertext was for.
    pub place: String,
}

impl Keys {
    /// Derives the keys from 32 secret bytes.
    pub fn derive(master: &[u8; 32]) -> Self {
        let derive = |label: &str| mac(master, label.as_bytes());
        Self {
            fingerprint: derive("orion fingerprint 1"),
            claims: derive("orion claims 1"),
            receipts: derive("orion receipts 1"),
            refresh: derive("orion refresh 1"),
            links: derive("orion links 1"),
            credentials: derive("orion credentials 1"),
        }
    }

    /// Checks that the database was begun with these keys; the first to ask decides.
    ///
    /// With others, no e-mail would be found again, and a taken one would seem free.
    pub async fn check(&self, pool: &PgPool) -> Result<(), KeysError> {
        let ours = hex::encode(self.fingerprint);
        sqlx::query("INSERT INTO key_fingerprints VALUES ('master', $1) ON CONFLICT DO NOTHING")
            .bind(&ours)
            .execute(pool)
            .await?;
        let known: String =
            sqlx::query_scalar("SELECT fingerprint FROM key_fingerprints WHERE name = 'master'")
                .fetch_one(pool)
                .await?;
        if known == ours { Ok(()) } else { Err(KeysError::Foreign) }
    }

    /// The form of a unique value in which the `claims` table keeps it.
    pub fn claim_value(&self, claim: &Claim) -> String {
        if claim.personal {
            hex::encode(mac(
                &self.claims,
                format!("{}\0{}", claim.namespace, claim.value).as_bytes(),
            ))
        } else {
            claim.value.clone()
        }
    }

    /// The change with its value in the stored form.
    pub fn stored_claim(&self, change: ClaimChange) -> ClaimChange {
        let stored = |claim: Claim| Claim { value: self.claim_value(&claim), ..claim };
        match change {
            ClaimChange::Take(claim) => ClaimChange::Take(stored(claim)),
            ClaimChange::Release(claim) => ClaimChange::Release(stored(claim)),
        }
    }

    /// What a receipt remembers of an input; it tells nothing of the input without the key.
    pub fn input_hash(&self, input: &[u8]) -> Vec<u8> {
        mac(&self.receipts, input).to_vec()
    }

    /// The secret of the refresh token that follows another: whoever has the one and not the key
    /// cannot guess the other, and the server can give it out twice.
    pub fn successor_secret(&self, refresh_token: &str) -> [u8; 32] {
        mac(&self.refresh, refresh_token.as_bytes())
    }

    /// What makes a link that is sent by mail ours: the HMAC of what it says.
    pub fn link_tag(&self, message: &[u8]) -> [u8; 32] {
        mac(&self.links, message)
    }

    /// Encrypts a credential for one place; it opens only there.
    ///
    /// # Panics
    ///
    /// On more than 256 GiB, which no request can bring.
    pub fn seal(&self, place: &str, clear: &str) -> String {
        let mut nonce = [0; NONCE_BYTES];
        rand::rng().fill_bytes(&mut nonce);
        let payload = Payload { msg: clear.as_bytes(), aad: place.as_bytes() };
        #[expect(clippy::expect_used, reason = "the cipher fails only beyond 256 GiB")]
        let sealed = self
            .cipher()
            .encrypt(XNonce::from_slice(&nonce), payload)
            .expect("credentials are bounded by the request's size");
        BASE64.encode([nonce.as_slice(), &sealed].concat())
    }

    /// Decrypts what [`Self::seal`] made for the same place.
    pub fn open(&self, place: &str, sealed: &str) -> Result<String, OpenError> {
        let fail = || OpenError { place: place.to_owned() };
        let bytes = BASE64.decode(sealed).map_err(|_| fail())?;
        let (nonce, msg) = bytes.split_at_checked(NONCE_BYTES).ok_or_else(fail)?;
        let payload = Payload { msg, aad: place.as_bytes() };
        let clear =
            self.cipher().decrypt(XNonce::from_slice(nonce), payload).map_err(|_| fail())?;
        String::from_utf8(clear).map_err(|_| fail())
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.credentials.into())
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(***)")
    }
}

fn mac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "new_from_slice of an HMAC never fails")]
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes any key");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_opens_only_in_its_place_and_with_its_key() {
        let keys = Keys::derive(&[7; 32]);
        let sealed = keys.seal("social_account 1", "token");
        assert_eq!(keys.open("social_account 1", &sealed).as_deref(), Ok("token"));
        assert!(keys.open("social_account 2", &sealed).is_err());
        assert!(Keys::derive(&[8; 32]).open("social_account 1", &sealed).is_err());
        assert!(keys.open("social_account 1", &sealed[..20]).is_err());
        assert!(!sealed.contains("token"));
    }

    #[test]
    fn personal_claims_are_stored_as_a_hash() {
        let claim = |value: &str| Claim {
            namespace: "user.email",
            value: value.to_owned(),
            personal: true,
            taken_code: "EMAIL_TAKEN",
            field: "email",
        };
        let keys = Keys::derive(&[7; 32]);
        let stored = keys.claim_value(&claim("ada@example.org"));
        assert_eq!(stored.len(), 64);
        assert_eq!(stored, keys.claim_value(&claim("ada@example.org")));
        assert_ne!(stored, keys.claim_value(&claim("bob@example.org")));
    }
}
