//! A database belongs to the keys that it was begun with.

use orion_store::{Keys, KeysError, connect};

use crate::fixtures::World;

#[tokio::test]
async fn other_keys_are_refused() {
    let world = World::new().await;
    let pool = connect(world.url(), 2).await.unwrap();
    let ours = Keys::derive(&[1; 32]);
    ours.check(&pool).await.unwrap();
    ours.check(&pool).await.unwrap();
    let refused = Keys::derive(&[2; 32]).check(&pool).await;
    assert!(matches!(refused, Err(KeysError::Foreign)), "{refused:?}");
}
