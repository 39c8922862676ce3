//! Rotation: another master key, another key for claims, and not an event touched.

use std::collections::BTreeSet;

use orion_domain::User;
use orion_store::testing::masters;
use orion_store::{
    AppendError, EventStore, Keys, KeysError, Log, MasterKeys, StoreError, connect, rewrap_keys,
    rotate_claims_key,
};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::fixtures::World;
use crate::people::{erased, is_forgotten, named, read, registered, try_write, write};

/// The master key of tests and the one that follows it.
const OLD: [u8; 32] = [7; 32];
const NEW: [u8; 32] = [9; 32];

async fn texts(world: &World, sql: &str) -> Vec<String> {
    sqlx::query_scalar(sql).fetch_all(&world.owner).await.unwrap()
}

async fn all_events(world: &World) -> Vec<String> {
    texts(world, "SELECT events::text FROM events ORDER BY position").await
}

async fn wrapped(world: &World) -> Vec<String> {
    texts(
        world,
        "SELECT wrapped FROM data_keys WHERE wrapped IS NOT NULL
         UNION ALL SELECT wrapped FROM server_keys",
    )
    .await
}

async fn pool(world: &World) -> PgPool {
    connect(world.url(), 4).await.unwrap()
}

/// The store of a server that is started with these master keys.
async fn started(world: &World, masters: MasterKeys) -> Result<EventStore, KeysError> {
    let pool = pool(world).await;
    let keys = Keys::load(&pool, masters).await?;
    let log = Log::open(pool, keys, CancellationToken::new()).await.unwrap();
    Ok(EventStore::new(log))
}

/// Two users, of whom one is erased.
async fn world() -> (World, EventStore, Uuid, Uuid) {
    let world = World::new().await;
    let store = EventStore::new(world.log.clone());
    let (ada, bob) = (Uuid::now_v7(), Uuid::now_v7());
    write(&store, ada, &[registered("ada@example.org"), named("countess")]).await;
    write(&store, bob, &[registered("bob@example.org"), erased()]).await;
    (world, store, ada, bob)
}

#[tokio::test]
async fn a_new_master_key_takes_over_without_touching_an_event() {
    let (world, store, ada, bob) = world().await;
    let (events, before) = (all_events(&world).await, wrapped(&world).await);
    // A server that opens both runs meanwhile.
    let both = MasterKeys::new(&NEW, &[OLD]);
    let running = started(&world, both.clone()).await.unwrap();
    let pool = pool(&world).await;
    assert_eq!(rewrap_keys(&pool, &both).await.unwrap(), before.len());
    let after = wrapped(&world).await;
    assert_eq!(after.len(), before.len());
    assert!(after.iter().all(|key| !before.contains(key)), "a key is as it was");
    assert_eq!(all_events(&world).await, events);

    for old in [masters(), MasterKeys::new(&[1; 32], &[OLD])] {
        let refused = started(&world, old).await.err();
        assert!(matches!(refused, Some(KeysError::Foreign)), "{refused:?}");
    }
    let new = started(&world, MasterKeys::new(&NEW, &[])).await.unwrap();
    // A server with the old one alone opens nothing any more that it has not kept.
    let closed = read(&store, ada).await;
    assert!(matches!(closed, Err(StoreError::Open(_))), "{closed:?}");
    for store in [&running, &new] {
        assert_eq!(read(store, ada).await.unwrap()[0], registered("ada@example.org"));
        assert!(is_forgotten(&read(store, bob).await.unwrap()[0]));
    }
    // Claims are hashed as they were: the address is found, and taken.
    let taken = try_write(&new, Uuid::now_v7(), &[registered("ada@example.org")]).await;
    assert!(matches!(taken, Err(AppendError::Taken { .. })), "{taken:?}");
    write(&new, ada, &[named("another")]).await;
    write(&running, ada, &[named("third")]).await;
    assert_eq!(new.load::<User>(ada).await.unwrap().version, 4);
}

#[tokio::test]
async fn rewrapping_again_does_nothing() {
    let (world, ..) = world().await;
    let (both, pool) = (MasterKeys::new(&NEW, &[OLD]), pool(&world).await);
    assert!(rewrap_keys(&pool, &both).await.unwrap() > 0);
    let after = wrapped(&world).await;
    for masters in [both, MasterKeys::new(&NEW, &[])] {
        assert_eq!(rewrap_keys(&pool, &masters).await.unwrap(), 0);
    }
    assert_eq!(wrapped(&world).await, after);
}

#[tokio::test]
async fn rewrapping_is_refused_to_who_does_not_have_the_keys() {
    let (world, store, ada, _) = world().await;
    let (before, pool) = (wrapped(&world).await, pool(&world).await);
    let refused = rewrap_keys(&pool, &MasterKeys::new(&NEW, &[[1; 32]])).await;
    assert!(matches!(refused, Err(StoreError::Open(_))), "{refused:?}");
    assert_eq!(wrapped(&world).await, before);
    assert_eq!(read(&store, ada).await.unwrap()[0], registered("ada@example.org"));
}

#[tokio::test]
async fn a_destroyed_key_stays_destroyed() {
    let (world, ..) = world().await;
    let tombstones = "SELECT data_keys::text FROM data_keys WHERE wrapped IS NULL";
    let before = texts(&world, tombstones).await;
    assert_eq!(before.len(), 1);
    rewrap_keys(&pool(&world).await, &MasterKeys::new(&NEW, &[OLD])).await.unwrap();
    assert_eq!(texts(&world, tombstones).await, before);
}

#[tokio::test]
async fn more_keys_than_one_batch_are_all_wrapped_again() {
    let (world, ..) = world().await;
    let (both, pool) = (MasterKeys::new(&NEW, &[OLD]), pool(&world).await);
    // Any wrapped key will do, if its place is right; these are of subjects without events.
    let (store, mut subjects) = (EventStore::new(world.log.clone()), BTreeSet::new());
    for _ in 0..5 {
        let mut commit = orion_store::Commit::new(orion_store::Metadata::new());
        for _ in 0..250 {
            let subject = Uuid::now_v7();
            store.seal_text(&mut commit, subject, "a place", "a secret").await.unwrap();
            subjects.insert(subject);
        }
        store.log().append(commit).await.unwrap();
    }
    let expected = wrapped(&world).await.len();
    assert!(expected > 1_250, "{expected}");
    assert_eq!(rewrap_keys(&pool, &both).await.unwrap(), expected);
    assert_eq!(rewrap_keys(&pool, &both).await.unwrap(), 0);
}

/// The claims by namespace and holder, without their values.
async fn held(world: &World) -> Vec<String> {
    texts(world, "SELECT namespace || ' ' || aggregate_id FROM claims ORDER BY 1").await
}

async fn values(world: &World) -> BTreeSet<String> {
    texts(world, "SELECT value FROM claims").await.into_iter().collect()
}

#[tokio::test]
async fn a_new_claims_key_keeps_every_claim_under_another_hash() {
    let (world, store, ada, bob) = world().await;
    let (eve, free) = (Uuid::now_v7(), "first");
    // Released in one way and in the other, and taken by somebody else since.
    write(&store, eve, &[registered("eve@example.org"), named(free)]).await;
    write(&store, eve, &[named("second")]).await;
    write(&store, eve, &[named("third")]).await;
    write(&store, ada, &[named("second")]).await;
    let (events, before) = (all_events(&world).await, (held(&world).await, values(&world).await));

    let pool = pool(&world).await;
    let keys = Keys::load(&pool, masters()).await.unwrap();
    assert_eq!(rotate_claims_key(&pool, &keys).await.unwrap(), before.0.len());
    assert_eq!(held(&world).await, before.0);
    assert!(values(&world).await.is_disjoint(&before.1), "a hash is as it was");
    assert_eq!(all_events(&world).await, events);
    let of_bob = format!("SELECT count(*) FROM claims WHERE aggregate_id = '{bob}'");
    assert_eq!(world.count(&of_bob).await, 0);

    // Whoever still hashes with the old key would not see who holds what.
    for events in [[registered("ada@example.org")], [registered("new@example.org")]] {
        let refused = try_write(&store, Uuid::now_v7(), &events).await;
        assert!(matches!(refused, Err(AppendError::Data(_))), "{refused:?}");
    }
    // What claims nothing goes on.
    write(&store, ada, &[crate::people::prefers(serde_json::json!({ "a": 1 }))]).await;

    let new = EventStore::new(world.another_log().await);
    for (event, taken) in [
        (registered("ada@example.org"), true),
        (registered("eve@example.org"), true),
        (registered("bob@example.org"), false),
        (registered("new@example.org"), false),
    ] {
        let written = try_write(&new, Uuid::now_v7(), std::slice::from_ref(&event)).await;
        let refused = matches!(written, Err(AppendError::Taken { .. }));
        assert_eq!((refused, written.is_err()), (taken, taken), "{event:?}");
    }
    let someone = Uuid::now_v7();
    write(&new, someone, &[registered("someone@example.org"), named(free)]).await;
    for username in [free, "second", "third"] {
        let events = [registered("n@example.org"), named(username)];
        let written = try_write(&new, Uuid::now_v7(), &events).await;
        assert!(matches!(written, Err(AppendError::Taken { .. })), "{username}: {written:?}");
    }
    // What is held under the new hash can be given back.
    write(&new, ada, &[named("fourth")]).await;
    write(&new, Uuid::now_v7(), &[registered("n@example.org"), named("second")]).await;
}

/// A page has 500 events at first: it ends between the two events of somebody.
#[tokio::test]
async fn more_events_than_one_page_keep_all_their_claims() {
    let (world, store, ..) = world().await;
    write(&store, Uuid::now_v7(), &[registered("odd@example.org")]).await;
    for n in 0..300 {
        let (email, username) = (format!("{n}@example.org"), format!("user_{n}"));
        write(&store, Uuid::now_v7(), &[registered(&email), named(&username)]).await;
    }
    let before = held(&world).await;
    assert_eq!(before.len(), 2 + 1 + 600);
    let pool = pool(&world).await;
    let keys = Keys::load(&pool, masters()).await.unwrap();
    assert_eq!(rotate_claims_key(&pool, &keys).await.unwrap(), before.len());
    assert_eq!(held(&world).await, before);
}

#[tokio::test]
async fn the_claims_key_can_be_rotated_many_times_and_keeps_what_is_not_personal() {
    let (world, ..) = world().await;
    let claim = "INSERT INTO claims VALUES ('provider.name', 'painter', gen_random_uuid()::text)";
    sqlx::query(claim).execute(&world.owner).await.unwrap();
    let before = held(&world).await;
    let pool = pool(&world).await;
    for _ in 0..3 {
        let keys = Keys::load(&pool, masters()).await.unwrap();
        assert_eq!(rotate_claims_key(&pool, &keys).await.unwrap(), before.len() - 1);
        assert_eq!(held(&world).await, before);
    }
    let painters = "SELECT count(*) FROM claims WHERE value = 'painter'";
    assert_eq!(world.count(painters).await, 1);
    let new = EventStore::new(world.another_log().await);
    let taken = try_write(&new, Uuid::now_v7(), &[registered("ada@example.org")]).await;
    assert!(matches!(taken, Err(AppendError::Taken { .. })), "{taken:?}");
}
