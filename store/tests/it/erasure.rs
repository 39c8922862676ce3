//! Erasure: with the key goes what it sealed, on every server and for ever; the events stay as they are.

use orion_domain::session::{REFRESH_TOKEN_TTL, Token};
use orion_domain::values::{Personal, RefreshTokenId, TokenHash, UserId};
use orion_domain::{Event, Session, SessionEvent, User};
use orion_store::{Commit, EventStore, Metadata, Position, StoreError};
use uuid::Uuid;

use crate::fixtures::{World, eventually};
use crate::people::{
    commit_of, described, erased, fold, is_forgotten, named, read, registered, stored, write,
};

const EMAIL: &str = "ada@example.org";

async fn texts(world: &World, sql: &str) -> Vec<String> {
    sqlx::query_scalar(sql).fetch_all(&world.owner).await.unwrap()
}

async fn all_events(world: &World) -> Vec<String> {
    texts(world, "SELECT events::text FROM events ORDER BY position").await
}

/// What is kept of a subject beside the log: `(claims, snapshots, living keys, destroyed keys)`.
async fn kept(world: &World, subject: Uuid) -> (i64, i64, i64, i64) {
    sqlx::query_as(
        "SELECT (SELECT count(*) FROM claims WHERE aggregate_id = $1::text),
                (SELECT count(*) FROM snapshots WHERE aggregate_id = $1::text),
                (SELECT count(*) FROM data_keys WHERE subject = $1 AND wrapped IS NOT NULL),
                (SELECT count(*) FROM data_keys WHERE subject = $1 AND wrapped IS NULL AND destroyed_at IS NOT NULL)",
    )
    .bind(subject)
    .fetch_one(&world.owner)
    .await
    .unwrap()
}

/// A store, an erased user's future, and a bystander.
async fn world() -> (World, EventStore, Uuid, Uuid) {
    let world = World::new().await;
    let store = EventStore::new(world.log.clone());
    let (ada, bob) = (Uuid::now_v7(), Uuid::now_v7());
    write(&store, ada, &[registered(EMAIL), described()]).await;
    write(&store, bob, &[registered("bob@example.org"), named("bob")]).await;
    store.save_snapshot(ada, 2, &fold(&[registered(EMAIL), described()])).await;
    store.save_snapshot(bob, 2, &fold(&[registered("bob@example.org"), named("bob")])).await;
    (world, store, ada, bob)
}

#[tokio::test]
async fn an_erasure_leaves_the_events_and_nothing_else() {
    let (world, store, ada, bob) = world().await;
    let before = all_events(&world).await;
    assert_eq!(kept(&world, ada).await, (2, 1, 1, 0));
    write(&store, ada, &[erased()]).await;
    assert_eq!(kept(&world, ada).await, (0, 0, 0, 1));
    assert_eq!(kept(&world, bob).await, (2, 1, 1, 0));
    let after = all_events(&world).await;
    assert_eq!(after[..before.len()], before);
    assert_eq!(after.len(), before.len() + 1);

    let events = read(&store, ada).await.unwrap();
    assert!(is_forgotten(&events[0]) && events.len() == 3);
    assert!(store.load::<User>(ada).await.unwrap().aggregate.is_erased());
    assert!(!is_forgotten(&read(&store, bob).await.unwrap()[0]));
    // The address is free for somebody else.
    write(&store, Uuid::now_v7(), &[registered(EMAIL), named("countess")]).await;
}

#[tokio::test]
async fn another_server_forgets_a_key_that_it_knew() {
    let (world, store, ada, bob) = world().await;
    let (knew, knew_not) =
        (EventStore::new(world.another_log().await), EventStore::new(world.another_log().await));
    let events = read(&knew, ada).await.unwrap();
    assert!(!is_forgotten(&events[0]));
    assert!(knew.load::<User>(ada).await.unwrap().aggregate.email().is_some());
    write(&store, ada, &[erased()]).await;
    assert!(is_forgotten(&read(&knew_not, ada).await.unwrap()[0]));
    eventually("the key is forgotten", async || is_forgotten(&read(&knew, ada).await.unwrap()[0]))
        .await;
    for store in [&knew, &knew_not] {
        assert!(!is_forgotten(&read(store, bob).await.unwrap()[0]));
        assert!(store.load::<User>(ada).await.unwrap().aggregate.is_erased());
        let sealed = seal(store, ada).await;
        assert!(matches!(sealed, Err(StoreError::Erased { subject }) if subject == ada));
    }
}

/// Tries to seal something for a subject.
async fn seal(store: &EventStore, subject: Uuid) -> Result<(), StoreError> {
    let mut commit = Commit::new(Metadata::new());
    store.seal_text(&mut commit, subject, "a place", "a secret").await.map(|_| ())
}

#[tokio::test]
async fn nothing_is_sealed_for_the_erased() {
    let (world, store, ada, _) = world().await;
    let state = store.load::<User>(ada).await.unwrap();
    let late = commit_of(&store, ada, (2, state.aggregate.clone()), &[named("later")]).await;
    write(&store, ada, &[erased()]).await;
    for outcome in [
        seal(&store, ada).await,
        commit_of(&store, ada, (3, state.aggregate), &[named("later")]).await.map(|_| ()),
    ] {
        assert!(matches!(outcome, Err(StoreError::Erased { subject }) if subject == ada));
    }
    // What was sealed before and comes now is too late.
    assert!(store.log().append(late.unwrap()).await.is_err());
    // A snapshot of before has no key either.
    store.save_snapshot(ada, 2, &fold(&[registered(EMAIL), described()])).await;
    assert_eq!(kept(&world, ada).await, (0, 0, 0, 1));
}

#[tokio::test]
async fn what_a_late_commit_brings_for_the_erased_is_never_read() {
    let (world, store, ada, _) = world().await;
    let session = Uuid::now_v7();
    let token = Token {
        token_id: RefreshTokenId(Uuid::now_v7()),
        token_hash: TokenHash::new("00".repeat(32)),
        expires_at: chrono::DateTime::UNIX_EPOCH + REFRESH_TOKEN_TTL,
    };
    let started = SessionEvent::Started {
        user_id: UserId(ada),
        token,
        ip: Some(Personal::new("203.0.113.7".to_owned())),
        user_agent: None,
    };
    let mut state = Session::default();
    cqrs_es::Aggregate::apply(&mut state, started.clone());
    let mut commit = Commit::new(Metadata::new());
    store.add(&mut commit, session, 0, &state, &[started]).await.unwrap();
    write(&store, ada, &[erased()]).await;
    store.log().append(commit).await.unwrap();
    assert_eq!(kept(&world, ada).await, (0, 0, 0, 1));
    let head = store.log().head().await.unwrap();
    let events = store.log().read(Position(head.0 - 1), 1).await.unwrap();
    let facts = store.log().read_facts(&events).await.unwrap();
    let Event::Session(SessionEvent::Started { ip, .. }) = &facts[0].event else {
        panic!("{facts:?}")
    };
    assert_eq!(ip.as_ref().and_then(Personal::expose), None);
}

#[tokio::test]
async fn what_a_backup_brings_back_is_destroyed_when_a_log_is_opened() {
    let (world, store, ada, bob) = world().await;
    for table in ["data_keys", "claims", "snapshots"] {
        let backup = format!("CREATE TABLE backup_{table} AS SELECT * FROM {table}");
        sqlx::query(&backup).execute(&world.owner).await.unwrap();
    }
    write(&store, ada, &[erased()]).await;
    for table in ["data_keys", "claims", "snapshots"] {
        let delete = format!("DELETE FROM {table}");
        let restore = format!("INSERT INTO {table} SELECT * FROM backup_{table}");
        sqlx::query(&delete).execute(&world.owner).await.unwrap();
        sqlx::query(&restore).execute(&world.owner).await.unwrap();
    }
    assert_eq!(kept(&world, ada).await, (2, 1, 1, 0));
    let restored = EventStore::new(world.another_log().await);
    assert_eq!(kept(&world, ada).await, (0, 0, 0, 1));
    assert_eq!(kept(&world, bob).await, (2, 1, 1, 0));
    assert!(is_forgotten(&read(&restored, ada).await.unwrap()[0]));
    assert!(!is_forgotten(&read(&restored, bob).await.unwrap()[0]));
    assert_eq!(restored.log().vault().destroy_again().await.unwrap(), 0);
    assert_eq!(stored(&restored, ada).await.len(), 3);
}
