//! Tokens that were shown lately, with whom they stand for while nothing has ended that.
//!
//! Who shows one again is known without a question to the database, for the rights are kept like those of
//! somebody who stays: by the events of the log. What another server wrote ends them when the tail has it,
//! and a tail that has not heard from the database lately vouches for nobody. Nor does a program that is older than
//! the log: it has no word for all that may end them.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use lru::LruCache;
use orion_store::Log;
use sha2::{Digest as _, Sha256};

use super::Known;
use super::rights::{Standing, streams};

/// How many tokens are remembered; those that were not shown for longest are forgotten first.
// It is not zero.
const TOKENS_MAX: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// How old the tail's knowledge of the log may be. It asks once a second.
const TAIL_WITHIN: Duration = Duration::from_secs(2);

/// The tokens, by their hashes: no memory dump shows them.
#[derive(Debug)]
pub struct Recognised(Mutex<LruCache<[u8; 32], Shown>>);

#[derive(Clone, Debug)]
struct Shown {
    standing: Standing,
    expires_at: Option<DateTime<Utc>>,
}

impl Default for Recognised {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(TOKENS_MAX)))
    }
}

impl Recognised {
    /// Who a token stands for, if it was shown lately and nothing has ended its rights since.
    pub(super) fn find(&self, log: &Log, token: &str) -> Option<Known> {
        let tail = log.tail();
        tail.age().filter(|age| *age <= TAIL_WITHIN)?;
        if log.outdated().is_outdated() {
            return None;
        }
        let shown = self.lock().get(&hash(token)).cloned()?;
        let Shown { standing, expires_at } = shown;
        // Before the actor: what the reader of the rights has not seen yet must not be about this one.
        let seen = standing.seen();
        let actor = standing.actor()?;
        let is_valid = expires_at.is_none_or(|end| orion_store::now() < end);
        (is_valid && tail.is_quiet(seen, &streams(actor))).then_some(Known { actor, expires_at })
    }

    /// Remembers whom a token stands for.
    pub(super) fn keep(&self, token: &str, standing: Standing, expires_at: Option<DateTime<Utc>>) {
        self.lock().put(hash(token), Shown { standing, expires_at });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<[u8; 32], Shown>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}
