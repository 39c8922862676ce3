//! Turns: one command at a time on each aggregate, within this process.
//!
//! Without them, many commands on one aggregate would all decide on the same version, and all but
//! one of each batch in vain. Between processes the versions in the log decide.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use uuid::Uuid;

/// Gives out turns. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(Arc<Mutex<HashMap<Uuid, Arc<AsyncMutex<()>>>>>);

/// It is one's turn until this is dropped.
pub(crate) struct Turn {
    turns: Turns,
    id: Uuid,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for one's turn on an aggregate.
    pub async fn take(&self, id: Uuid) -> Turn {
        let queue = {
            let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            queues.entry(id).or_default().clone()
        };
        let guard = queue.lock_owned().await;
        Turn { turns: self.clone(), id, guard: Some(guard) }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guard = None;
        let mut queues = self.turns.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Only the map holds it: nobody waits. Whoever comes now finds the map locked.
        if queues.get(&self.id).is_some_and(|queue| Arc::strong_count(queue) == 1) {
            queues.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn one_at_a_time_and_nothing_is_left_behind() {
        let (turns, inside) = (Turns::default(), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..50).map(|_| {
            let (turns, inside) = (turns.clone(), inside.clone());
            tokio::spawn(async move {
                let _turn = turns.take(Uuid::nil()).await;
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        assert!(turns.0.lock().unwrap().is_empty());
    }
}
