//! Passwords: parsed at the edge, hashed by bcrypt away from the async threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use metrics::{counter, histogram};
use orion_domain::values::Personal;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::error::{CommandError, Refusal};

/// bcrypt reads no more bytes than this; a longer password would be cut silently.
const BYTES_MAX: usize = 72;

/// The fewest characters of a new password.
const CHARS_MIN: usize = 12;

/// The most hashes for each core that are made or waited for. At the usual cost, a quarter of a second, the last
/// of them takes 8 s; more would be answered after everybody has given up.
const HASHES_PER_CORE: usize = 32;

/// Passwords that are long enough and that everybody tries first; in lower case, without repeats
/// and sequences, which [`is_common`] finds by itself.
const COMMON: [&str; 24] = [
    "administrator",
    "changemechangeme",
    "correcthorsebatterystaple",
    "iloveyouiloveyou",
    "letmeinletmein",
    "masterpassword",
    "mynameismyname",
    "p@ssw0rdp@ssw0rd",
    "passw0rdpassw0rd",
    "password1234",
    "password12345",
    "password123456",
    "password1234567890",
    "passwordpassword",
    "q1w2e3r4t5y6",
    "qazwsxedcrfv",
    "qwerty123456",
    "qwertyqwerty",
    "qwertyuiop12",
    "qwertyuiop123",
    "qwertyuiop[]",
    "qwertyuiopas",
    "supersecretpassword",
    "welcomewelcome",
];

/// A new password that may be set.
#[derive(Clone, Debug)]
pub struct Password(SecretString);

impl Password {
    /// Accepts 12 characters or more in at most 72 bytes.
    pub fn parse(raw: &str) -> Result<Self, Refusal> {
        if raw.chars().count() < CHARS_MIN {
            let message = format!("the password must have at least {CHARS_MIN} characters");
            return Err(Refusal::new("PASSWORD_TOO_SHORT", message).at("password"));
        }
        if raw.len() > BYTES_MAX {
            let message = format!("the password must have at most {BYTES_MAX} bytes");
            return Err(Refusal::new("PASSWORD_TOO_LONG", message).at("password"));
        }
        if raw.contains('\0') {
            let message = "the password must not contain the character U+0000";
            return Err(Refusal::new("INVALID_CHARACTER", message).at("password"));
        }
        if is_common(raw) {
            let message = "the password is one of those that are tried first";
            return Err(Refusal::new("PASSWORD_TOO_COMMON", message).at("password"));
        }
        Ok(Self(raw.into()))
    }

    /// A password that is set already; the rules for new ones may have changed since.
    pub(crate) fn known(raw: SecretString) -> Self {
        Self(raw)
    }
}

/// True of a password on the list, of few characters repeated, and of a run of neighbours such as
/// `123456789012`.
fn is_common(raw: &str) -> bool {
    let lower = raw.to_lowercase();
    let characters: Vec<u32> = lower.chars().map(u32::from).collect();
    let distinct: std::collections::BTreeSet<_> = characters.iter().collect();
    // 9 is followed by 0 on every keyboard.
    let follows = |pair: &[u32]| pair[0] + 1 == pair[1] || (pair[0], pair[1]) == (0x39, 0x30);
    let precedes = |pair: &[u32]| pair[1] + 1 == pair[0] || (pair[1], pair[0]) == (0x39, 0x30);
    COMMON.contains(&lower.as_str())
        || distinct.len() <= 3
        || characters.windows(2).all(follows)
        || characters.windows(2).all(precedes)
}

/// Hashes and compares passwords, at most one per core at a time. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Passwords {
    cost: u32,
    cores: usize,
    permits: Arc<Semaphore>,
    /// How many hashes are being made or waited for.
    waiting: Arc<AtomicUsize>,
    /// Compared with when there is no such user, so that the answer takes as long.
    decoy: Arc<str>,
    hashes: Arc<AtomicU64>,
}

impl Passwords {
    /// Hashes with a cost of 2^`cost` rounds. Takes as long as one hash.
    pub fn new(cost: u32) -> Result<Self, CommandError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let decoy = bcrypt::hash("a password that nobody has", cost)
            .map_err(|error| CommandError::Hash(error.into()))?;
        Ok(Self {
            cost,
            cores,
            permits: Arc::new(Semaphore::new(cores)),
            waiting: Arc::default(),
            decoy: decoy.into(),
            hashes: Arc::default(),
        })
    }

    /// How many passwords were hashed so far, to set or to compare them.
    pub fn hashes(&self) -> u64 {
        self.hashes.load(Ordering::Relaxed)
    }

    /// The bcrypt hash of a new password.
    pub async fn hash(&self, password: &Password) -> Result<Personal<String>, CommandError> {
        let (password, cost) = (password.clone(), self.cost);
        let hash = self.off_thread(move || bcrypt::hash(password.0.expose_secret(), cost)).await?;
        Ok(Personal::new(hash))
    }

    /// True when the password belongs to the hash. Without a hash it takes as long, and is false.
    pub async fn verify(
        &self,
        password: SecretString,
        hash: Option<&Personal<String>>,
    ) -> Result<bool, CommandError> {
        let known = hash.and_then(|hash| hash.expose().cloned());
        let is_known = known.is_some();
        let hash = known.unwrap_or_else(|| self.decoy.to_string());
        // No password longer than this was ever set, and bcrypt must not compare a part of it.
        let clear = password.expose_secret();
        let is_possible = clear.len() <= BYTES_MAX && !clear.contains('\0');
        let matches = self
            .off_thread(move || {
                let presented = if is_possible { password.expose_secret() } else { "" };
                bcrypt::verify(presented, &hash)
            })
            .await?;
        Ok(matches && is_known && is_possible)
    }

    /// True of a hash that was made with fewer rounds than today's.
    pub fn is_outdated(&self, hash: &Personal<String>) -> bool {
        let parts = hash.expose().and_then(|hash| hash.parse::<bcrypt::HashParts>().ok());
        parts.is_some_and(|parts| parts.get_cost() < self.cost)
    }

    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, bcrypt::BcryptError> + Send + 'static,
    ) -> Result<T, CommandError> {
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let one_less = OneLess(self.waiting.clone());
        if waiting >= HASHES_PER_CORE * self.cores {
            counter!("orion_overloaded_total", "of" => "passwords").increment(1);
            return Err(CommandError::Overloaded);
        }
        // The semaphore is never closed, and without it the work may as well go on.
        let permit = self.permits.clone().acquire_owned().await.ok();
        self.hashes.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        // Both end with the work: whoever asked may be gone before, or not look at what has come of it.
        let worked = spawn_blocking(move || {
            let _held = (permit, one_less);
            work()
        })
        .await;
        histogram!("orion_password_hash_duration_seconds").record(began.elapsed());
        match worked {
            Ok(result) => result.map_err(|error| CommandError::Hash(error.into())),
            Err(panic) => Err(CommandError::Hash(panic.into())),
        }
    }
}

/// Counts one down when it is dropped, also when whoever waits has gone.
struct OneLess(Arc<AtomicUsize>);

impl Drop for OneLess {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_passwords_are_long_enough_and_not_cut() {
        assert_eq!(Password::parse("short").unwrap_err().code, "PASSWORD_TOO_SHORT");
        assert_eq!(Password::parse(&"a".repeat(73)).unwrap_err().code, "PASSWORD_TOO_LONG");
        assert_eq!(Password::parse("a password\0with nul").unwrap_err().code, "INVALID_CHARACTER");
        assert!(Password::parse("correct horse battery").is_ok());
    }

    #[test]
    fn passwords_that_are_tried_first_are_refused() {
        for common in [
            "Password1234",
            "aaaaaaaaaaaa",
            "ababababababab",
            "123456789012",
            "abcdefghijklm",
            "9876543210987",
        ] {
            assert_eq!(
                Password::parse(common).unwrap_err().code,
                "PASSWORD_TOO_COMMON",
                "{common}"
            );
        }
    }

    #[tokio::test]
    async fn a_hash_that_nobody_looks_at_keeps_nobody_waiting() {
        let passwords = Passwords::new(4).unwrap();
        let password = Password::parse("correct horse battery").unwrap();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut begun: Vec<_> = (0..cores).map(|_| Box::pin(passwords.hash(&password))).collect();
        for hash in &mut begun {
            // They begin, and then nobody asks for them.
            std::future::poll_fn(|cx| std::task::Poll::Ready(hash.as_mut().poll(cx).is_ready()))
                .await;
        }
        let next = passwords.hash(&password);
        tokio::time::timeout(std::time::Duration::from_secs(10), next).await.unwrap().unwrap();
    }

    /// The bound is on the work that is done: more than there are cores would slow everybody.
    #[tokio::test]
    async fn work_that_was_given_up_is_counted_until_it_ends() {
        let passwords = Passwords::new(4).unwrap();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let mut given_up = Box::pin(passwords.off_thread(move || {
            let _ = wait.recv();
            Ok(())
        }));
        std::future::poll_fn(|cx| std::task::Poll::Ready(given_up.as_mut().poll(cx).is_ready()))
            .await;
        drop(given_up);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        assert_eq!(passwords.permits.available_permits(), cores - 1);
        drop(go);
        let all = passwords.permits.acquire_many(u32::try_from(cores).unwrap());
        let all = tokio::time::timeout(std::time::Duration::from_secs(10), all).await;
        assert!(all.is_ok(), "it is given back");
    }

    #[tokio::test]
    async fn a_hash_of_fewer_rounds_is_outdated() {
        let password = Password::parse("correct horse battery").unwrap();
        let (old, new) = (Passwords::new(4).unwrap(), Passwords::new(5).unwrap());
        let hash = old.hash(&password).await.unwrap();
        assert!(new.is_outdated(&hash) && !old.is_outdated(&hash));
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_matches() {
        let passwords = Passwords::new(4).unwrap();
        let hash =
            passwords.hash(&Password::parse("correct horse battery").unwrap()).await.unwrap();
        let verify =
            async |password: &str, hash| passwords.verify(password.into(), hash).await.unwrap();
        assert!(verify("correct horse battery", Some(&hash)).await);
        assert!(!verify("wrong horse battery", Some(&hash)).await);
        assert!(!verify("a password that nobody has", None).await);
        assert!(!verify(&"a".repeat(100), Some(&hash)).await);
    }
}
