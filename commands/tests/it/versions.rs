//! Concurrent changes: none is lost, none is done on a version that the sender did not expect.

use cqrs_es::Aggregate;
use futures::future::join_all;
use orion_commands::{CommandError, Envelope};
use orion_domain::Content;
use orion_store::Loaded;
use uuid::Uuid;

use crate::fixtures::{World, code, detect, edit, editor, eventually};

fn expecting(actor: orion_commands::Actor, version: i64) -> Envelope {
    Envelope { expected_version: Some(version), ..Envelope::of(actor) }
}

#[tokio::test]
async fn a_stale_version_is_refused() {
    let world = World::new().await;
    let ada = editor();
    let content = world.draft(ada).await;
    world.bus.run(&expecting(ada, 1), &edit(content, "One")).await.unwrap();
    for stale in [1, 0, 3] {
        let refused = world.bus.run(&expecting(ada, stale), &edit(content, "Two")).await;
        assert_eq!(code(refused), ("VERSION_CONFLICT", Some("expectedVersion")), "{stale}");
    }
    assert_eq!(world.events("content.edited").await, 1);
    world.bus.run(&expecting(ada, 2), &edit(content, "Two")).await.unwrap();
}

/// It is decided without a look at first, and the append finds that the stream is there.
#[tokio::test]
async fn what_is_there_does_not_begin_again() {
    let world = World::new().await;
    let id = Uuid::now_v7();
    let sender = Envelope::of(editor());
    world.bus.run(&sender, &detect(id)).await.unwrap();
    let again = world.bus.run(&sender, &detect(id)).await;
    assert_eq!(code(again).0, "ALREADY_EXISTS");
    assert_eq!(world.events("trend.detected").await, 1);
    // Two at once, too: one begins, the other is told.
    let (id, second) = (Uuid::now_v7(), world.another_bus().await);
    let begin = detect(id);
    let (one, other) = tokio::join!(world.bus.run(&sender, &begin), second.run(&sender, &begin));
    let refused = if one.is_ok() { other } else { one };
    assert_eq!(code(refused).0, "ALREADY_EXISTS");
    assert_eq!(world.events("trend.detected").await, 2);
}

#[tokio::test]
async fn of_many_edits_of_one_version_one_succeeds() {
    let world = World::new().await;
    let buses = [world.bus.clone(), world.another_bus().await];
    let ada = editor();
    let content = world.draft(ada).await;
    let envelope = expecting(ada, 1);
    let edits: Vec<_> = (0..8).map(|n| edit(content, &format!("Title {n}"))).collect();
    let outcomes =
        join_all(edits.iter().enumerate().map(|(n, edit)| buses[n % 2].run(&envelope, edit))).await;
    let (done, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(done.len(), 1);
    for refused in refused {
        assert_eq!(code(refused).0, "VERSION_CONFLICT");
    }
    assert_eq!(world.events("content.edited").await, 1);
}

#[tokio::test]
async fn concurrent_edits_succeed_or_say_conflict_and_none_is_lost() {
    let world = World::new().await;
    let buses = [world.bus.clone(), world.another_bus().await];
    let ada = editor();
    let content = world.draft(ada).await;
    let envelope = Envelope::of(ada);
    let edits: Vec<_> = (0..16).map(|n| edit(content, &format!("Title {n}"))).collect();
    let outcomes =
        join_all(edits.iter().enumerate().map(|(n, edit)| buses[n % 2].run(&envelope, edit))).await;

    let (done, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    let mut positions: Vec<_> = done.into_iter().map(|done| done.unwrap().position).collect();
    positions.sort_unstable();
    positions.dedup();
    let succeeded = i64::try_from(positions.len()).unwrap();
    assert_eq!(world.events("content.edited").await, succeeded);
    for refused in refused {
        assert!(matches!(refused, Err(CommandError::Conflict)), "{refused:?}");
    }
    assert!(succeeded > 0);
    let loaded: Loaded<Content> = world.bus.store().load(content.0).await.unwrap();
    assert_eq!(loaded.version, succeeded + 1);
}

#[tokio::test]
async fn on_one_server_many_edits_take_turns_and_all_succeed() {
    let world = World::new().await;
    let ada = editor();
    let content = world.draft(ada).await;
    let edits: Vec<_> = (0..120).map(|n| edit(content, &format!("Title {n}"))).collect();
    let outcomes = join_all(edits.iter().map(|edit| world.run(ada, edit))).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(world.events("content.edited").await, 120);
}

#[tokio::test]
async fn a_long_stream_gets_a_snapshot_that_is_its_state() {
    let world = World::new().await;
    let ada = editor();
    let content = world.draft(ada).await;
    for n in 0..120 {
        world.run(ada, &edit(content, &format!("Title {n}"))).await.unwrap();
    }
    let snapshot = "SELECT coalesce(max(last_sequence), 0) FROM snapshots";
    eventually("the snapshot is written", async || world.count(snapshot).await == 100).await;

    let id = content.0.to_string();
    let events = cqrs_es::EventStore::<Content>::load_events(world.bus.store(), &id).await.unwrap();
    assert_eq!(events.len(), 121);
    let fold = |upto| {
        let mut state = Content::default();
        for event in &events[..upto] {
            state.apply(event.payload.clone());
        }
        state
    };
    let kept: serde_json::Value =
        sqlx::query_scalar("SELECT payload FROM snapshots").fetch_one(&world.owner).await.unwrap();
    assert_eq!(kept, serde_json::to_value(fold(100)).unwrap());
    assert_eq!(world.content(content).await, fold(121));
}
