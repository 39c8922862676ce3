//! What the runner promises to every reactor: one leader, in order, and each event until it is done.

use std::sync::{Arc, Mutex};

use orion_commands::reactors::{Reactor, run};
use orion_commands::{Bus, CommandError};
use orion_store::{Fact, Position};
use tokio_util::sync::CancellationToken;

use crate::fixtures::{World, eventually};

/// Writes down what it is called for, and fails where it is told to.
#[derive(Clone, Default)]
struct Witness {
    seen: Arc<Mutex<Vec<Position>>>,
    fails_at: Option<Position>,
}

impl Witness {
    fn seen(&self) -> Vec<i64> {
        self.seen.lock().unwrap().iter().map(|position| position.0).collect()
    }
}

impl Reactor for Witness {
    const NAME: &'static str = "witness";

    async fn react(&self, _: &Bus, fact: &Fact) -> Result<(), CommandError> {
        let mut seen = self.seen.lock().unwrap();
        seen.push(fact.position);
        // The first time only.
        let fails = self.fails_at == Some(fact.position)
            && seen.iter().filter(|position| **position == fact.position).count() == 1;
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
