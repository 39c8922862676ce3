//! What the runner promises to every reactor: one leader, in order, and each event until it is done.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use orion_commands::reactors::{Reactor, run};
use orion_commands::{Bus, CommandError};
use orion_store::{Fact, Position};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::fixtures::{World, eventually};

/// Writes down what it is called for, and fails where it is told to.
#[derive(Clone, Default)]
struct Witness {
    seen: Arc<Mutex<Vec<Position>>>,
    fails_at: Option<Position>,
    /// Waits for this before it is done with position 2, the first time.
    waits_at_2: Option<Arc<Notify>>,
}

impl Witness {
    fn seen(&self) -> Vec<i64> {
        self.seen.lock().unwrap().iter().map(|position| position.0).collect()
    }
}

impl Reactor for Witness {
    const NAME: &'static str = "witness";

    async fn react(&self, _: &Bus, fact: &Fact) -> Result<(), CommandError> {
        let is_first_time = {
            let mut seen = self.seen.lock().unwrap();
            seen.push(fact.position);
            seen.iter().filter(|position| **position == fact.position).count() == 1
        };
        if let Some(go_on) = &self.waits_at_2
            && fact.position == Position(2)
            && is_first_time
        {
            go_on.notified().await;
        }
        let fails = self.fails_at == Some(fact.position) && is_first_time;
        if fails { Err(CommandError::Overloaded) } else { Ok(()) }
    }
}

async fn checkpoint(world: &World) -> i64 {
    world.count("SELECT coalesce(max(position), -1) FROM reactor_checkpoints").await
}

/// Waits until the reactor has done all events up to a position.
async fn done(world: &World, position: i64) {
    eventually("the reactor is done", async || checkpoint(world).await == position).await;
}

#[tokio::test]
async fn only_the_leader_sees_events_and_another_goes_on_where_it_stopped() {
    let world = World::new().await;
    let (witness, stop_leader, stop) =
        (Witness::default(), CancellationToken::new(), CancellationToken::new());
    let leader = tokio::spawn(run(world.bus.clone(), witness.clone(), stop_leader.clone()));
    done(&world, 0).await;
    let others: Vec<_> = [world.another_bus().await, world.another_bus().await]
        .into_iter()
        .map(|bus| tokio::spawn(run(bus, witness.clone(), stop.clone())))
        .collect();

    for position in 1..=20 {
        world.trend().await;
        done(&world, position).await;
    }
    stop_leader.cancel();
    leader.await.unwrap();
    world.trend().await;
    done(&world, 21).await;
    stop.cancel();
    for other in others {
        other.await.unwrap();
    }
    assert!(witness.seen().into_iter().eq(1..=21), "{:?}", witness.seen());
}

#[tokio::test]
async fn a_failed_reaction_is_tried_again_and_nothing_overtakes_it() {
    let world = World::new().await;
    let witness = Witness { fails_at: Some(Position(2)), ..Witness::default() };
    let stop = CancellationToken::new();
    let runner = tokio::spawn(run(world.bus.clone(), witness.clone(), stop.clone()));
    done(&world, 0).await;
    for _ in 0..3 {
        world.trend().await;
    }
    done(&world, 3).await;
    stop.cancel();
    runner.await.unwrap();
    // What came before it in its batch may be repeated; what comes after it waits.
    let seen = witness.seen();
    let tries: Vec<_> = (0..seen.len()).filter(|index| seen[*index] == 2).collect();
    let [_, second_try] = tries[..] else { panic!("{seen:?}") };
    assert_eq!(seen[second_try..], [2, 3]);
    assert!(!seen[..second_try].contains(&3), "{seen:?}");
}

/// Two servers whose leading reactor waits in the middle of position 2.
struct Waiting {
    world: World,
    witness: Witness,
    go_on: Arc<Notify>,
    _stop: tokio_util::sync::DropGuard,
}

impl Waiting {
    async fn new() -> Self {
        let (world, go_on, stop) = (World::new().await, Arc::default(), CancellationToken::new());
        let witness = Witness { waits_at_2: Some(Arc::clone(&go_on)), ..Witness::default() };
        tokio::spawn(run(world.bus.clone(), witness.clone(), stop.clone()));
        done(&world, 0).await;
        tokio::spawn(run(world.another_bus().await, witness.clone(), stop.clone()));
        for _ in 0..3 {
            world.trend().await;
        }
        eventually("the leader waits", async || witness.seen().contains(&2)).await;
        Self { world, witness, go_on, _stop: stop.drop_guard() }
    }

    fn is_tried_again(&self) -> bool {
        self.witness.seen().iter().filter(|position| **position == 2).count() > 1
    }
}

/// Longer than a leader may stand.
const LONG: Duration = Duration::from_secs(6);

#[tokio::test]
async fn a_reaction_that_takes_long_keeps_its_place() {
    let waiting = Waiting::new().await;
    let taken_over =
        timeout(LONG, eventually("another takes over", async || waiting.is_tried_again()));
    assert!(taken_over.await.is_err(), "another took over");
    waiting.go_on.notify_one();
    done(&waiting.world, 3).await;
    assert_eq!(waiting.witness.seen(), [1, 2, 3]);
}

#[tokio::test]
async fn who_loses_its_place_in_the_middle_of_a_reaction_is_replaced() {
    let waiting = Waiting::new().await;
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .execute(&waiting.world.owner)
    .await
    .unwrap();
    done(&waiting.world, 3).await;
    let seen = waiting.witness.seen();
    assert_eq!(seen[seen.len() - 2..], [2, 3], "{seen:?}");
}
