//! Loading aggregates: the state is the fold of the stream, with a snapshot or without one.

use std::collections::HashMap;

use cqrs_es::{Aggregate, AggregateError, EventStore as _};
use orion_domain::values::{
    AssetType, FilePath, MediaAssetId, ProviderName, Title, TrendId, UserId,
};
use orion_domain::{AggregateRoot, Content, ContentCommand, ContentError, ContentEvent, Trend};
use orion_store::{Commit, EventStore, Loaded, Metadata};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::fixtures::World;

/// A history in which an event that is applied twice shows: each adds a media asset.
fn history(count: usize) -> Vec<ContentEvent> {
    let drafted = ContentEvent::Drafted {
        trend_id: TrendId(Uuid::now_v7()),
        created_by: UserId(Uuid::now_v7()),
        title: Title::parse("Orion").unwrap(),
        hook: None,
        script_body: None,
        visual_prompts: None,
    };
    let attached = |_| ContentEvent::MediaAssetAttached {
        asset_id: MediaAssetId(Uuid::now_v7()),
        asset_type: AssetType::Image,
        provider: ProviderName::parse("painter").unwrap(),
        file_path: FilePath::parse("/media/1.png").unwrap(),
        metadata: None,
    };
    std::iter::once(drafted).chain((1..count).map(attached)).collect()
}

fn fold(events: &[ContentEvent]) -> Content {
    let mut content = Content::default();
    for event in events {
        content.apply(event.clone());
    }
    content
}

fn titled(title: &str) -> ContentEvent {
    ContentEvent::Edited {
        title: Some(Title::parse(title).unwrap()),
        hook: orion_domain::values::Patch::Keep,
        script_body: orion_domain::values::Patch::Keep,
        visual_prompts: orion_domain::values::Patch::Keep,
    }
}

async fn append(store: &EventStore, id: Uuid, version: i64, events: &[ContentEvent]) {
    let mut commit = Commit::new(Metadata::new());
    commit.append::<Content>(id, version, events).unwrap();
    store.log().append(commit).await.unwrap();
}

async fn load(store: &EventStore, id: Uuid) -> Loaded<Content> {
    store.load(id).await.unwrap()
}

/// A stream of `count` events, as it was written.
async fn stream(count: usize) -> (World, EventStore, Uuid, Vec<ContentEvent>) {
    let world = World::new().await;
    let store = EventStore::new(world.log.clone());
    let (id, events) = (Uuid::now_v7(), history(count));
    append(&store, id, 0, &events).await;
    (world, store, id, events)
}

async fn put_snapshot(world: &World, id: Uuid, version: i64, shape: i32, payload: &str) {
    sqlx::query("INSERT INTO snapshots VALUES ('content', $1, $2, $3, $4::json)")
        .bind(id.to_string())
        .bind(version)
        .bind(i64::from(shape))
        .bind(payload)
        .execute(&world.owner)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_state_is_the_fold_of_the_stream() {
    let (_world, store, id, events) = stream(12).await;
    let loaded = load(&store, id).await;
    assert_eq!((loaded.id, loaded.version), (id, 12));
    assert_eq!(loaded.aggregate, fold(&events));

    let empty = load(&store, Uuid::now_v7()).await;
    assert_eq!((empty.version, empty.aggregate), (0, Content::default()));
    // Another noun with the same id is another stream.
    assert_eq!(store.load::<Trend>(id).await.unwrap().version, 0);
}

#[tokio::test]
async fn a_snapshot_changes_no_state() {
    let (_world, store, id, mut events) = stream(20).await;
    for at in [1, 10, 19, 20] {
        store.save_snapshot(id, i64::try_from(at).unwrap(), &fold(&events[..at])).await;
        assert_eq!(load(&store, id).await.aggregate, fold(&events), "snapshot at {at}");
    }
    // What comes after the snapshot is applied, once.
    events.push(titled("later"));
    append(&store, id, 20, &events[20..]).await;
    let loaded = load(&store, id).await;
    assert_eq!((loaded.version, loaded.aggregate), (21, fold(&events)));
}

#[tokio::test]
async fn a_snapshot_is_used() {
    let (_world, store, id, events) = stream(10).await;
    let mut different = fold(&events[..6]);
    different.apply(titled("only in the snapshot"));
    store.save_snapshot(id, 6, &different).await;
    for event in &events[6..] {
        different.apply(event.clone());
    }
    let loaded = load(&store, id).await;
    assert_eq!((loaded.version, loaded.aggregate), (10, different));
}

#[tokio::test]
async fn an_older_snapshot_does_not_replace_a_newer_one() {
    let (world, store, id, events) = stream(10).await;
    store.save_snapshot(id, 8, &fold(&events[..8])).await;
    store.save_snapshot(id, 5, &fold(&events[..5])).await;
    assert_eq!(world.count("SELECT last_sequence FROM snapshots").await, 8);
    store.save_snapshot(id, 9, &fold(&events[..9])).await;
    assert_eq!(world.count("SELECT last_sequence FROM snapshots").await, 9);
}

#[tokio::test]
async fn a_snapshot_of_another_shape_is_ignored_and_replaced() {
    let (world, store, id, events) = stream(10).await;
    let mut different = fold(&events);
    different.apply(titled("of another shape"));
    let payload = serde_json::to_string(&different).unwrap();
    put_snapshot(&world, id, 10, Content::SNAPSHOT_SHAPE + 1, &payload).await;
    assert_eq!(load(&store, id).await.aggregate, fold(&events));
    store.save_snapshot(id, 7, &fold(&events[..7])).await;
    assert_eq!(world.count("SELECT last_sequence FROM snapshots").await, 7);
    assert_eq!(load(&store, id).await.aggregate, fold(&events));
}

#[tokio::test]
async fn garbage_in_a_snapshot_is_ignored() {
    for payload in ["{}", "7", "null", r#""text""#, r#"{"status": "draft"}"#, "[]"] {
        let (world, store, id, events) = stream(3).await;
        put_snapshot(&world, id, 2, Content::SNAPSHOT_SHAPE, payload).await;
        let loaded = load(&store, id).await;
        assert_eq!((loaded.version, loaded.aggregate), (3, fold(&events)), "{payload}");
    }
}

#[tokio::test]
async fn the_contract_of_cqrs_es_holds() {
    let world = World::new().await;
    let store = EventStore::new(world.log.clone());
    let id = Uuid::now_v7();
    let events = history(3);
    let metadata = HashMap::from([("actor".to_owned(), "ada".to_owned())]);

    let context: Loaded<Content> = store.load_aggregate(&id.to_string()).await.unwrap();
    let stale = context.clone();
    let committed = store.commit(events.clone(), context, metadata.clone()).await.unwrap();
    let read = cqrs_es::EventStore::<Content>::load_events(&store, &id.to_string()).await.unwrap();
    assert_eq!(read.len(), 3);
    for ((read, committed), (event, sequence)) in
        read.iter().zip(&committed).zip(events.iter().zip(1..))
    {
        assert_eq!((&read.payload, &committed.payload), (event, event));
        assert_eq!((read.sequence, committed.sequence), (sequence, sequence));
        assert_eq!((&read.metadata, &committed.metadata), (&metadata, &metadata));
        assert_eq!(read.aggregate_id, id.to_string());
    }

    let loaded: Loaded<Content> = store.load_aggregate(&id.to_string()).await.unwrap();
    assert_eq!((loaded.version, loaded.aggregate), (3, fold(&events)));
    let refused: AggregateError<ContentError> =
        store.commit(vec![titled("late")], stale, HashMap::new()).await.unwrap_err();
    assert!(matches!(refused, AggregateError::AggregateConflict), "{refused:?}");
    assert_eq!(world.rows().await.len(), 3);
}

/// The framework of cqrs-es runs on the store, and sees what it wrote.
#[tokio::test]
async fn the_framework_of_cqrs_es_runs_on_the_store() {
    let world = World::new().await;
    let store = EventStore::new(world.log.clone());
    let framework = cqrs_es::CqrsFramework::<Content, _>::new(store.clone(), Vec::new(), ());
    let id = Uuid::now_v7().to_string();
    let draft = ContentCommand::Draft {
        trend_id: TrendId(Uuid::now_v7()),
        created_by: UserId(Uuid::now_v7()),
        title: Title::parse("Orion").unwrap(),
        hook: None,
        script_body: None,
        visual_prompts: None,
    };
    framework.execute(&id, draft.clone()).await.unwrap();
    let again = framework.execute(&id, draft).await.unwrap_err();
    assert!(matches!(again, AggregateError::UserError(ContentError::AlreadyExists)), "{again:?}");
}

/// Three deposits of 10 load as 60 through the snapshot store of cqrs-es 0.5.0.
#[tokio::test]
async fn what_a_handler_leaves_is_the_state_to_keep() {
    let (_world, store, id, mut events) = stream(1).await;
    for version in 1..=5_i64 {
        let mut loaded = load(&store, id).await;
        let more = history(2).split_off(1);
        append(&store, id, version, &more).await;
        events.extend(more.clone());
        // As `EventSink::write` does: at the commit the aggregate has applied its events.
        for event in more {
            loaded.aggregate.apply(event);
        }
        store.save_snapshot(id, version + 1, &loaded.aggregate).await;
        assert_eq!(load(&store, id).await.aggregate, fold(&events));
    }
    let assets = serde_json::to_value(load(&store, id).await.aggregate).unwrap();
    assert_eq!(assets["assets"].as_array().map(Vec::len), Some(5));
}

/// The payload in the log is the event's fields, and PostgreSQL keeps it byte for byte.
#[tokio::test]
async fn the_log_keeps_the_bytes_of_the_payload() {
    let (world, store, _, events) = stream(2).await;
    let read = store.log().read(orion_store::Position::START, 10).await.unwrap();
    let facts = store.log().read_facts(&read).await.unwrap();
    for ((read, fact), event) in read.iter().zip(facts).zip(&events) {
        assert_eq!(read.payload, orion_domain::event::payload(event).unwrap().to_string());
        assert_eq!(fact.event, event.clone().into());
    }
    let columns: Value = json!(["content.drafted", "1", "content"]);
    let sql = "SELECT json_build_array(event_type, event_version, aggregate_type) FROM events";
    let kept: Value = sqlx::query_scalar(sql).fetch_one(&world.owner).await.unwrap();
    assert_eq!(kept, columns);
}
