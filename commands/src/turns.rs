//! Turns: one command at a time on each aggregate, within this process.
//!
//! Without them, many commands on one aggregate would all decide on the same version, and all but
//! one of each batch in vain. Between processes the versions in the log decide.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use metrics::counter;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use uuid::Uuid;

use crate::error::CommandError;

/// How many commands on one aggregate may wait or be decided: at 5 ms each the last one waits for as long as
/// one may wait for a connection.
const COMMANDS_MAX: usize = 128;

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
    /// Waits for one's turn on an aggregate, unless too many do.
    pub async fn take(&self, id: Uuid) -> Result<Turn, CommandError> {
        let (queue, commands) = {
            let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let queue = queues.entry(id).or_default().clone();
            // Each has a clone, and the map has one.
            let commands = Arc::strong_count(&queue) - 1;
            (queue, commands)
        };
        if commands > COMMANDS_MAX {
            counter!("orion_overloaded_total", "of" => "aggregate").increment(1);
            return Err(CommandError::Overloaded);
        }
        // Whoever goes away before its turn leaves nothing behind, either.
        let mut turn = Turn { turns: self.clone(), id, guard: None };
        turn.guard = Some(queue.lock_owned().await);
        Ok(turn)
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
                let _turn = turns.take(Uuid::nil()).await.unwrap();
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

    #[tokio::test]
    async fn who_would_wait_too_long_is_refused_and_who_goes_away_makes_room() {
        let turns = Turns::default();
        let held = turns.take(Uuid::nil()).await.unwrap();
        let mut waiting: Vec<_> =
            (1..COMMANDS_MAX).map(|_| Box::pin(turns.take(Uuid::nil()))).collect();
        for turn in &mut waiting {
            assert!(futures::poll!(turn).is_pending());
        }
        let refused = turns.take(Uuid::nil()).await;
        assert!(matches!(refused, Err(CommandError::Overloaded)));
        turns.take(Uuid::max()).await.unwrap();
        waiting.pop();
        assert!(futures::poll!(Box::pin(turns.take(Uuid::nil()))).is_pending());
        drop(held);
        drop(waiting);
        assert!(turns.0.lock().unwrap().is_empty());
    }
}
