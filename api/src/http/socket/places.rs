//! How many sockets and streams are open, and whose they are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::Account;

/// What an account may have open only so many of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A socket.
    Socket,
    /// A stream of server-sent events.
    Stream,
}

impl Kind {
    /// The most of one account: a person's tabs and devices, or a machine's workers. Each operation has a
    /// stream of its own, where a socket has many.
    const fn max(self) -> usize {
        match self {
            Self::Socket => 20,
            Self::Stream => 100,
        }
    }
}

/// All sockets and streams of this server.
#[derive(Debug)]
pub struct Sockets {
    /// False where accounts may have as many as they like.
    is_limited: bool,
    by_account: Mutex<HashMap<(Kind, Account), usize>>,
    /// How often a socket is asked for a sign of life.
    pub(super) ping_every: Duration,
    /// When the server stops.
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// A place among those of an account, until it is dropped.
#[derive(Debug)]
pub struct Place {
    sockets: Arc<Sockets>,
    taken: (Kind, Account),
}

impl Sockets {
    /// None is open. They are closed when the server stops.
    pub fn new(is_limited: bool, ping_every: Duration, stop: CancellationToken) -> Arc<Self> {
        let (by_account, tasks) = (Mutex::default(), TaskTracker::new());
        Arc::new(Self { is_limited, by_account, ping_every, stop, tasks })
    }

    /// A place for one more of an account, unless it has as many as it may.
    pub fn place(self: &Arc<Self>, kind: Kind, account: Account) -> Option<Place> {
        let taken = (kind, account);
        let mut by_account = self.lock();
        let open = by_account.entry(taken).or_default();
        if self.is_limited && *open >= kind.max() {
            return None;
        }
        *open += 1;
        Some(Place { sockets: self.clone(), taken })
    }

    /// Waits until all sockets are closed, after the server was told to stop.
    pub async fn closed(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(Kind, Account), usize>> {
        self.by_account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_account = self.sockets.lock();
        if let Some(open) = by_account.get_mut(&self.taken) {
            *open -= 1;
            if *open == 0 {
                by_account.remove(&self.taken);
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
        for kind in [Kind::Socket, Kind::Stream] {
            let sockets = Sockets::new(true, Duration::from_secs(1), CancellationToken::new());
            let mut places: Vec<_> =
                (0..kind.max()).map(|_| sockets.place(kind, account(1)).unwrap()).collect();
            assert!(sockets.place(kind, account(1)).is_none());
            assert!(sockets.place(kind, account(2)).is_some(), "another has its own");
            places.pop();
            places.push(sockets.place(kind, account(1)).unwrap());
            assert!(sockets.place(kind, account(1)).is_none());
            drop(places);
            assert!(sockets.lock().is_empty(), "nobody is remembered");
        }
    }

    #[test]
    fn where_nothing_is_limited_there_are_always_places() {
        let sockets = Sockets::new(false, Duration::from_secs(1), CancellationToken::new());
        let places: Vec<_> =
            (0..200).map(|_| sockets.place(Kind::Socket, account(1)).unwrap()).collect();
        assert_eq!(places.len(), 200);
    }
}
