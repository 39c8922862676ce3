//! Whether PostgreSQL's disk has room for what is appended.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tracing::{error, info};

use crate::record::Position;

/// No position: nothing was refused for want of room since the last append.
const ENOUGH: i64 = -1;

/// The head of the log when an append was refused because the disk was full. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<AtomicI64>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(ENOUGH)))
    }
}

impl Room {
    /// True from a refusal until the log grows, whichever server writes to it.
    pub fn is_missing(&self, head: Position) -> bool {
        self.0.load(Ordering::Relaxed) == head.0
    }

    /// An append was refused. Said once, until there is room again.
    pub fn refused(&self, head: Position, error: &sqlx::Error) {
        // At another head, too: another server has found room in between.
        if self.0.swap(head.0, Ordering::Relaxed) != head.0 {
            error!(error = %error, "PostgreSQL's disk is full: commands are refused until there is room");
        }
    }

    /// An append was written.
    pub fn found(&self) {
        if self.0.swap(ENOUGH, Ordering::Relaxed) != ENOUGH {
            info!("PostgreSQL's disk has room again: commands are written");
        }
    }
}
