//! The vault: personal values are sealed before an event is written and opened when it is read.
//!
//! Each subject (a user, a social account, a provider) has a data key, and data keys are wrapped by the
//! master key. In the log a personal value is `{"$sealed": "<subject>.<base64>"}`: XChaCha20-Poly1305
//! under the subject's key, bound to its stream, event type, version and field. Who destroys the key
//! erases the subject; what it sealed is `null` from then on.

mod ring;

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use chacha20poly1305::XChaCha20Poly1305;
use lru::LruCache;
use orion_domain::event::{SEALED, replace_nodes};
use orion_domain::values::{Ciphertext, MARK};
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

pub use self::ring::{KeyRing, ReadError};
use crate::error::StoreError;
use crate::keys::{Keys, MasterKeys, OpenError, Secret, cipher, encrypt, fresh_secret};
use crate::record::RecordedEvent;

/// The most data keys that are kept in memory.
const CACHED_MAX: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();

/// The events after which the key of their stream is gone.
pub(crate) const ERASURES: [&str; 2] = ["user.erased", "social_account.erased"];

/// Has the data keys of a database. Cheap to clone; all clones share one cache.
#[derive(Clone, Debug)]
pub struct Vault {
    pool: PgPool,
    masters: MasterKeys,
    cache: Arc<Mutex<LruCache<Uuid, Entry>>>,
}

/// What is known of a subject's key.
#[derive(Clone)]
enum Entry {
    Living(Arc<XChaCha20Poly1305>),
    Destroyed,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Living(_) => "Living(***)",
            Self::Destroyed => "Destroyed",
        })
    }
}

/// A subject's key, to seal with.
#[derive(Clone)]
pub(crate) struct SealingKey {
    subject: Uuid,
    cipher: Arc<XChaCha20Poly1305>,
    /// The key as the database is to keep it, where it is new.
    pub fresh: Option<String>,
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SealingKey").field(&self.subject).finish()
    }
}

/// What is sealed, so that no ciphertext can be moved: a stream's event, or a snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Aggregate type and id.
    pub stream: String,
    /// The event's type; `snapshot` for a snapshot.
    pub kind: String,
    /// The event's version, or the snapshot's shape.
    pub version: String,
}

impl Place {
    fn field(&self, field: &str) -> String {
        format!("{}\n{}\n{}\n{field}", self.stream, self.kind, self.version)
    }

    /// The error of a field whose ciphertext does not open; for people, so in one line.
    fn fail(&self, field: &str) -> OpenError {
        OpenError { place: format!("{} of {} in {}", field, self.kind, self.stream) }
    }
}

impl Vault {
    /// The vault of a database.
    pub fn new(pool: PgPool, keys: &Keys) -> Self {
        Self::of(pool, keys.masters().clone())
    }

    /// The vault of a database whose data keys these wrap. It only reads.
    pub fn of(pool: PgPool, masters: MasterKeys) -> Self {
        Self { pool, masters, cache: Arc::new(Mutex::new(LruCache::new(CACHED_MAX))) }
    }

    /// The keys that these events need to be read.
    pub async fn ring<'e>(
        &self,
        events: impl IntoIterator<Item = &'e RecordedEvent>,
    ) -> Result<KeyRing, StoreError> {
        let mut subjects = HashSet::new();
        for event in events {
            ring::subjects_of(event, &mut subjects);
        }
        self.ring_of(subjects).await
    }

    /// The same as a transaction sees them, past the cache: what is read with them is of one moment.
    pub async fn ring_within<'e>(
        &self,
        transaction: &mut PgConnection,
        events: impl IntoIterator<Item = &'e RecordedEvent>,
    ) -> Result<KeyRing, StoreError> {
        let mut subjects = HashSet::new();
        for event in events {
            ring::subjects_of(event, &mut subjects);
        }
        let subjects: Vec<Uuid> = subjects.into_iter().collect();
        let mut ring = KeyRing::default();
        for (subject, entry) in self.load(transaction, &subjects).await? {
            ring.insert(subject, entry);
        }
        Ok(ring)
    }

    /// The keys that payloads need that are parsed already.
    pub(crate) async fn ring_of_payloads<'v>(
        &self,
        payloads: impl IntoIterator<Item = &'v Value>,
    ) -> Result<KeyRing, StoreError> {
        let mut subjects = HashSet::new();
        for payload in payloads {
            ring::subjects_in(payload, &mut subjects);
        }
        self.ring_of(subjects).await
    }

    async fn ring_of(&self, subjects: HashSet<Uuid>) -> Result<KeyRing, StoreError> {
        let mut ring = KeyRing::default();
        let mut missing = Vec::new();
        {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            for subject in subjects {
                match cache.get(&subject) {
                    Some(entry) => ring.insert(subject, entry.clone()),
                    None => missing.push(subject),
                }
            }
        }
        let mut loaded = self.load(&self.pool, &missing).await?;
        self.remember(&mut loaded);
        for (subject, entry) in loaded {
            ring.insert(subject, entry);
        }
        Ok(ring)
    }

    async fn load(
        &self,
        executor: impl PgExecutor<'_>,
        subjects: &[Uuid],
    ) -> Result<Vec<(Uuid, Entry)>, StoreError> {
        if subjects.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<(Uuid, Option<String>)> =
            sqlx::query_as("SELECT subject, wrapped FROM data_keys WHERE subject = ANY ($1)")
                .bind(subjects)
                .fetch_all(executor)
                .await
                .map_err(StoreError::database("reading data keys"))?;
        let mut entries = Vec::with_capacity(rows.len());
        for (subject, wrapped) in rows {
            let entry = match wrapped {
                Some(wrapped) => {
                    let key = self.masters.unwrap(&data_key_place(subject), &wrapped)?;
                    Entry::Living(Arc::new(cipher(&key)))
                }
                None => Entry::Destroyed,
            };
            entries.push((subject, entry));
        }
        Ok(entries)
    }

    fn remember(&self, entries: &mut [(Uuid, Entry)]) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        for (subject, entry) in entries {
            // It may have been destroyed since it was read.
            match cache.get(subject) {
                Some(Entry::Destroyed) => *entry = Entry::Destroyed,
                Some(Entry::Living(_)) | None => _ = cache.put(*subject, entry.clone()),
            }
        }
    }

    /// The key to seal a subject's values with; a fresh one for a subject that has none yet.
    pub(crate) async fn sealing_key(&self, subject: Uuid) -> Result<SealingKey, StoreError> {
        let ring = self.ring_of(HashSet::from([subject])).await?;
        let (cipher, fresh) = match ring.get(subject) {
            Some(Entry::Living(cipher)) => (cipher.clone(), None),
            Some(Entry::Destroyed) => return Err(StoreError::Erased { subject }),
            None => {
                let key: Secret = fresh_secret();
                let wrapped = self.masters.wrap(&data_key_place(subject), &key);
                (Arc::new(cipher(&key)), Some(wrapped))
            }
        };
        Ok(SealingKey { subject, cipher, fresh })
    }

    /// Forgets a subject's key, which was destroyed.
    pub(crate) fn forget(&self, subject: Uuid) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.put(subject, Entry::Destroyed);
    }

    /// Destroys the keys that should be gone: a backup that is older than the log brings them back.
    /// Says how many there were.
    pub async fn destroy_again(&self) -> Result<usize, StoreError> {
        let failed = || StoreError::database("destroying the keys of the erased");
        // Also where there is no row at all: the events say that there was a key.
        let alive: Vec<Uuid> = sqlx::query_scalar(
            "SELECT DISTINCT e.aggregate_id::uuid FROM events e
             LEFT JOIN data_keys k ON k.subject = e.aggregate_id::uuid
             WHERE e.event_type = ANY ($1)
               AND (k.subject IS NULL OR k.wrapped IS NOT NULL)",
        )
        .bind(&ERASURES[..])
        .fetch_all(&self.pool)
        .await
        .map_err(failed())?;
        if !alive.is_empty() {
            sqlx::query("SELECT destroy_data_key(subject) FROM unnest($1::uuid[]) AS s (subject)")
                .bind(&alive)
                .execute(&self.pool)
                .await
                .map_err(failed())?;
        }
        Ok(alive.len())
    }

    /// What a ciphertext says that `EventStore::seal_text` made for the same place.
    pub async fn open_text(&self, place: &str, sealed: &Ciphertext) -> Result<String, StoreError> {
        let fail = || OpenError { place: place.to_owned() };
        let subject = ring::subject_of_text(sealed.as_str()).ok_or_else(fail)?;
        let ring = self.ring_of(HashSet::from([subject])).await?;
        let clear = ring.open(place, sealed.as_str()).ok_or_else(fail)?;
        Ok(String::from_utf8(clear).map_err(|_| fail())?)
    }
}

impl SealingKey {
    pub fn subject(&self) -> Uuid {
        self.subject
    }

    fn seal(&self, place: &str, clear: &[u8]) -> String {
        format!("{}.{}", self.subject, encrypt(&self.cipher, place, clear))
    }

    /// Encrypts a text for one place; it opens only there.
    pub fn seal_text(&self, place: &str, clear: &str) -> Ciphertext {
        Ciphertext::new(self.seal(place, clear.as_bytes()))
    }

    /// Seals every value that is marked as personal.
    pub fn seal_marked(&self, place: &Place, value: &mut Value) {
        let Ok(()) = replace_nodes(value, MARK, &mut |field, clear| {
            let sealed = self.seal(&place.field(field), clear.to_string().as_bytes());
            Ok::<_, std::convert::Infallible>(serde_json::json!({ SEALED: sealed }))
        });
    }
}

/// How many keys were destroyed so far. None comes back, so the number only grows.
pub async fn destroyed_keys(executor: impl PgExecutor<'_>) -> Result<i64, StoreError> {
    sqlx::query_scalar("SELECT count(*) FROM data_keys WHERE wrapped IS NULL")
        .fetch_one(executor)
        .await
        .map_err(StoreError::database("counting the destroyed keys"))
}

/// Keeps keys from being made and destroyed until the transaction ends. Needs the right to lock the table.
pub async fn hold_keys(transaction: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("LOCK TABLE data_keys IN SHARE MODE")
        .execute(transaction)
        .await
        .map_err(StoreError::database("holding the keys"))?;
    Ok(())
}

/// What a data key is wrapped for.
pub(crate) fn data_key_place(subject: Uuid) -> String {
    format!("data key {subject}")
}
