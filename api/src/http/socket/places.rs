//! How many sockets are open, and whose they are.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::Account;

/// The most sockets of one account: a person's tabs and devices, or a machine's workers.
const SOCKETS_MAX: usize = 20;

/// All sockets of this server.
#[derive(Debug)]
pub struct Sockets {
    /// False where accounts may have as many as they like.
    is_limited: bool,
    by_account: Mutex<HashMap<Account, usize>>,
    streams: Arc<AtomicUsize>,
    /// How often a socket is asked for a sign of life.
    pub(super) ping_every: Duration,
    /// When the server stops.
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// A socket's place among those of its account, until it is dropped.
#[derive(Debug)]
pub struct Place {
    sockets: Arc<Sockets>,
    account: Account,
}

/// Something that is counted until it is dropped.
#[derive(Debug)]
pub struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Sockets {
    /// None is open. They are closed when the server stops.
    pub fn new(is_limited: bool, ping_every: Duration, stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            is_limited,
            by_account: Mutex::default(),
            streams: Arc::default(),
            ping_every,
            stop,
            tasks: TaskTracker::new(),
        })
    }

    /// A place for one more socket of an account, unless it has as many as it may.
    pub fn place(self: &Arc<Self>, account: Account) -> Option<Place> {
        let mut by_account = self.lock();
        let open = by_account.entry(account).or_default();
        if self.is_limited && *open >= SOCKETS_MAX {
            return None;
        }
        *open += 1;
        Some(Place { sockets: self.clone(), account })
    }

    /// Counts an operation until the count is dropped.
    pub fn count_stream(&self) -> Counted {
        self.streams.fetch_add(1, Ordering::Relaxed);
        Counted(self.streams.clone())
    }

    /// How many sockets are open.
    pub fn open(&self) -> usize {
        self.tasks.len()
    }

    /// How many operations go on over them.
    pub fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Waits until all are closed, after the server was told to stop.
    pub async fn closed(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Account, usize>> {
        self.by_account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_account = self.sockets.lock();
        if let Some(open) = by_account.get_mut(&self.account) {
            *open -= 1;
            if *open == 0 {
                by_account.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orion_domain::values::UserId;
    use uuid::Uuid;

    fn account(number: u128) -> Account {
        Account::User(UserId(Uuid::from_u128(number)))
    }

    #[test]
    fn an_account_has_so_many_places_and_gets_them_back() {
        let sockets = Sockets::new(true, Duration::from_secs(1), CancellationToken::new());
        let mut places: Vec<_> =
            (0..SOCKETS_MAX).map(|_| sockets.place(account(1)).unwrap()).collect();
        assert!(sockets.place(account(1)).is_none());
        assert!(sockets.place(account(2)).is_some(), "another has its own");
        places.pop();
        places.push(sockets.place(account(1)).unwrap());
        assert!(sockets.place(account(1)).is_none());
        drop(places);
        assert!(sockets.lock().is_empty(), "nobody is remembered");
    }
}
