//! The keys of the servers: the master key, which wraps all others, and those that are for one use each.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use orion_domain::{Claim, ClaimChange};
use rand::RngCore;
use sha2::Sha256;
use sqlx::{PgConnection, PgPool};
use zeroize::Zeroizing;

/// The length of a nonce of XChaCha20-Poly1305, in bytes.
const NONCE_BYTES: usize = 24;

/// 32 secret bytes, overwritten when they are dropped.
pub type Secret = Zeroizing<[u8; 32]>;

/// The master key, which wraps the other keys, and earlier ones, which still open what they wrapped.
/// Cheap to clone.
#[derive(Clone)]
pub struct MasterKeys(Arc<[Master]>);

struct Master {
    /// Tells which of them wrapped a key.
    id: String,
    cipher: XChaCha20Poly1305,
}

/// Keys for one use each, the same for all servers of a database. Cheap to clone.
///
/// They are random, and kept in the table `server_keys`, wrapped by the master key: so the master key
/// can change, and each of them can.
#[derive(Clone)]
pub struct Keys {
    masters: MasterKeys,
    keys: Arc<ServerKeys>,
}

struct ServerKeys {
    claims: Secret,
    receipts: Secret,
    refresh: Secret,
    links: Secret,
}

/// Why the keys may not be used on a database.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The database's keys were wrapped by another master key.
    #[error("the database was begun with another master key, or has keys that another one wrapped")]
    Foreign,
    /// PostgreSQL refused or could not be reached.
    #[error("reading the keys of the database")]
    Database(#[from] sqlx::Error),
}

/// A ciphertext that does not open: cut short, changed, of another place or another key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ciphertext of {place} does not open")]
pub struct OpenError {
    /// What the ciphertext was for.
    pub place: String,
}

impl MasterKeys {
    /// Wraps by `current`; `old` are opened as well.
    pub fn new(current: &[u8; 32], old: &[[u8; 32]]) -> Self {
        let master = |bytes: &[u8; 32]| Master {
            id: hex::encode(&mac(bytes, b"orion master key id 1")[..4]),
            cipher: cipher(&mac(bytes, b"orion wrapping key 1")),
        };
        Self(std::iter::once(current).chain(old).map(master).collect())
    }

    /// Encrypts a key for one place: `<id of the master key>.<base64>`.
    pub(crate) fn wrap(&self, place: &str, key: &Secret) -> String {
        let Master { id, cipher } = &self.0[0];
        format!("{id}.{}", encrypt(cipher, place, key.as_slice()))
    }

    /// Decrypts what [`Self::wrap`] made for the same place, by whichever master key.
    pub(crate) fn unwrap(&self, place: &str, wrapped: &str) -> Result<Secret, OpenError> {
        let fail = || OpenError { place: place.to_owned() };
        let (id, sealed) = wrapped.split_once('.').ok_or_else(fail)?;
        let master = self.0.iter().find(|master| master.id == id).ok_or_else(fail)?;
        let key = Zeroizing::new(decrypt(&master.cipher, place, sealed).ok_or_else(fail)?);
        let key: [u8; 32] = key.as_slice().try_into().map_err(|_| fail())?;
        Ok(Secret::new(key))
    }

    /// True of what the present master key wrapped.
    pub(crate) fn is_current(&self, wrapped: &str) -> bool {
        wrapped.split_once('.').is_some_and(|(id, _)| id == self.0[0].id)
    }
}

impl Keys {
    /// The keys of a database; the first to ask makes them.
    ///
    /// With those of another master key no e-mail would be found again, and a taken one would seem
    /// free: they are refused.
    pub async fn load(pool: &PgPool, masters: MasterKeys) -> Result<Self, KeysError> {
        let mut connection = pool.acquire().await?;
        let keys = ServerKeys {
            claims: load_key(&mut connection, &masters, "claims").await?,
            receipts: load_key(&mut connection, &masters, "receipts").await?,
            refresh: load_key(&mut connection, &masters, "refresh").await?,
            links: load_key(&mut connection, &masters, "links").await?,
        };
        // Not only these: a key that nobody opens any more would be found when somebody is missing.
        let ids: Vec<&str> = masters.0.iter().map(|master| master.id.as_str()).collect();
        let is_foreign: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM data_keys
                            WHERE wrapped IS NOT NULL AND split_part(wrapped, '.', 1) <> ALL ($1))",
        )
        .bind(ids)
        .fetch_one(&mut *connection)
        .await?;
        if is_foreign {
            return Err(KeysError::Foreign);
        }
        Ok(Self { masters, keys: Arc::new(keys) })
    }

    /// The master keys that these were wrapped by.
    pub(crate) fn masters(&self) -> &MasterKeys {
        &self.masters
    }

    /// Tells whether claims were hashed with the key that holds now.
    pub(crate) fn claims_fingerprint(&self) -> String {
        fingerprint(&self.keys.claims)
    }

    /// The form of a unique value in which the `claims` table keeps it.
    pub fn claim_value(&self, claim: &Claim) -> String {
        claim_value(&self.keys.claims, claim)
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
        mac(&self.keys.receipts, input).to_vec()
    }

    /// The secret of the refresh token that follows another: whoever has the one and not the key
    /// cannot guess the other, and the server can give it out twice.
    pub fn successor_secret(&self, refresh_token: &str) -> [u8; 32] {
        mac(&self.keys.refresh, refresh_token.as_bytes())
    }

    /// The tag of a message that goes through a person's hands, such as a link in a mail.
    pub fn link_tag(&self, message: &[u8]) -> [u8; 32] {
        mac(&self.keys.links, message)
    }

    /// A key of its own for a use that lies outside this crate, such as the cookie of a dance between
    /// servers.
    pub fn derived(&self, label: &str) -> Secret {
        Secret::new(mac(&self.keys.links, format!("orion derived key 1\0{label}").as_bytes()))
    }
}

/// A key as it is written in settings and files: 32 bytes in base64.
pub fn parse_key(text: &str) -> Option<[u8; 32]> {
    BASE64.decode(text.trim()).ok()?.try_into().ok()
}

/// The form of a unique value under a key for claims.
pub(crate) fn claim_value(key: &Secret, claim: &Claim) -> String {
    if claim.personal {
        hex::encode(mac(key, format!("{}\0{}", claim.namespace, claim.value).as_bytes()))
    } else {
        claim.value.clone()
    }
}

/// A key of the database by its name; the first to ask makes it.
pub(crate) async fn load_key(
    connection: &mut PgConnection,
    masters: &MasterKeys,
    name: &str,
) -> Result<Secret, KeysError> {
    let fresh = fresh_secret();
    let insert = "INSERT INTO server_keys (name, wrapped, fingerprint) VALUES ($1, $2, $3)
                  ON CONFLICT DO NOTHING";
    sqlx::query(insert)
        .bind(name)
        .bind(masters.wrap(&server_key_place(name), &fresh))
        .bind(fingerprint(&fresh))
        .execute(&mut *connection)
        .await?;
    let wrapped: String = sqlx::query_scalar("SELECT wrapped FROM server_keys WHERE name = $1")
        .bind(name)
        .fetch_one(connection)
        .await?;
    masters.unwrap(&server_key_place(name), &wrapped).map_err(|_| KeysError::Foreign)
}

/// What a server's key is wrapped for.
pub(crate) fn server_key_place(name: &str) -> String {
    format!("server key {name}")
}

/// Tells two keys apart, and nothing else of them.
pub(crate) fn fingerprint(key: &Secret) -> String {
    hex::encode(&mac(key, b"orion key fingerprint 1")[..8])
}

pub(crate) fn fresh_secret() -> Secret {
    let mut secret = Secret::default();
    rand::rng().fill_bytes(secret.as_mut_slice());
    secret
}

pub(crate) fn cipher(key: &[u8; 32]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.into())
}

/// Encrypts for one place, in base64; it opens only there.
pub(crate) fn encrypt(cipher: &XChaCha20Poly1305, place: &str, clear: &[u8]) -> String {
    let mut nonce = [0; NONCE_BYTES];
    rand::rng().fill_bytes(&mut nonce);
    let payload = Payload { msg: clear, aad: place.as_bytes() };
    #[expect(clippy::expect_used, reason = "the cipher fails only beyond 256 GiB")]
    let sealed = cipher
        .encrypt(XNonce::from_slice(&nonce), payload)
        .expect("values are bounded by the request's size");
    BASE64.encode([nonce.as_slice(), &sealed].concat())
}

/// Decrypts what [`encrypt`] made for the same place.
pub(crate) fn decrypt(cipher: &XChaCha20Poly1305, place: &str, sealed: &str) -> Option<Vec<u8>> {
    let bytes = BASE64.decode(sealed).ok()?;
    let (nonce, msg) = bytes.split_at_checked(NONCE_BYTES)?;
    let payload = Payload { msg, aad: place.as_bytes() };
    cipher.decrypt(XNonce::from_slice(nonce), payload).ok()
}

fn mac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "new_from_slice of an HMAC never fails")]
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes any key");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(***)")
    }
}

impl std::fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKeys(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masters(seed: u8, old: &[[u8; 32]]) -> MasterKeys {
        MasterKeys::new(&[seed; 32], old)
    }

    #[test]
    fn a_wrapped_key_opens_only_in_its_place_and_with_its_master_key() {
        let key = fresh_secret();
        let wrapped = masters(7, &[]).wrap("data key 1", &key);
        assert_eq!(masters(7, &[]).unwrap("data key 1", &wrapped).unwrap(), key);
        assert!(masters(7, &[]).unwrap("data key 2", &wrapped).is_err());
        assert!(masters(8, &[]).unwrap("data key 1", &wrapped).is_err());
        assert!(masters(7, &[]).unwrap("data key 1", &wrapped[..40]).is_err());
    }

    #[test]
    fn an_old_master_key_opens_and_does_not_wrap() {
        let key = fresh_secret();
        let wrapped = masters(7, &[]).wrap("data key 1", &key);
        let rotated = masters(8, &[[7; 32]]);
        assert_eq!(rotated.unwrap("data key 1", &wrapped).unwrap(), key);
        assert!(!rotated.is_current(&wrapped));
        let again = rotated.wrap("data key 1", &key);
        assert!(
            rotated.is_current(&again) && masters(7, &[]).unwrap("data key 1", &again).is_err()
        );
    }

    #[test]
    fn personal_claims_are_stored_as_a_hash() {
        let claim = |value: &str, personal| Claim {
            namespace: "user.email",
            value: value.to_owned(),
            personal,
            taken_code: "EMAIL_TAKEN",
            field: "email",
        };
        let key = fresh_secret();
        let stored = claim_value(&key, &claim("ada@example.org", true));
        assert_eq!(stored.len(), 64);
        assert_eq!(stored, claim_value(&key, &claim("ada@example.org", true)));
        assert_ne!(stored, claim_value(&key, &claim("bob@example.org", true)));
        assert_ne!(stored, claim_value(&fresh_secret(), &claim("ada@example.org", true)));
        assert_eq!(claim_value(&key, &claim("gpt", false)), "gpt");
    }
}
