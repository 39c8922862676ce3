//! Which database a query reads: the replica while it keeps up, else the primary.
//!
//! Only queries read the replica, and only the tables. Who somebody is and what it may do, the log, and all
//! that mutations and subscriptions show, is read from the primary.

mod pace;
mod replica;

use orion_store::{Kept, Position};

pub use self::replica::{Replica, Standing};

/// How far the tables of a database are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The documented tables.
    pub tables: Position,
    /// The notifications.
    pub notifications: Position,
}

impl Extent {
    /// True when nothing of the other is missing here.
    pub fn covers(self, other: Self) -> bool {
        self.tables >= other.tables && self.notifications >= other.notifications
    }

    /// As far as both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            tables: self.tables.max(other.tables),
            notifications: self.notifications.max(other.notifications),
        }
    }
}

/// The connections for queries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reads {
    primary: Kept,
    replica: Option<Replica>,
}

impl Reads {
    /// Connections that are not those of the log, so that slow queries keep nobody from writing, and on which
    /// PostgreSQL cancels what takes too long.
    pub fn new(primary: Kept, replica: Option<Replica>) -> Self {
        Self { primary, replica }
    }

    /// The same for those who must not be sent away: what they have begun is to be ended, or they are few.
    #[must_use]
    pub fn patient(&self) -> Self {
        Self { primary: self.primary.patient(), replica: self.replica.clone() }
    }

    /// The primary's.
    pub fn primary(&self) -> &Kept {
        &self.primary
    }

    /// The replica, if there is one, whatever its state.
    pub fn replica(&self) -> Option<&Replica> {
        self.replica.as_ref()
    }

    /// The replica, if a query that has to show this may read there; it may take the replica a moment.
    pub async fn replica_with(&self, needed: Extent) -> Option<Replica> {
        let replica = self.replica.as_ref()?;
        replica.has(needed).await.then(|| replica.clone())
    }

    /// True when queries show this, which the primary's tables show already.
    pub async fn show(&self, shown: Extent) -> bool {
        match &self.replica {
            Some(replica) => replica.has(shown).await || replica.is_left_until(shown),
            None => true,
        }
    }
}
