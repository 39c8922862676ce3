//! A database belongs to the keys that it was begun with.

use orion_store::testing::masters;
use orion_store::{Keys, KeysError, MasterKeys, connect};

use crate::fixtures::World;

#[tokio::test]
async fn other_keys_are_refused() {
    let world = World::new().await;
    let pool = connect(world.url(), 2).await.unwrap();
    // Whoever asks first makes them; the world has.
    Keys::load(&pool, masters()).await.unwrap();
    let refused = Keys::load(&pool, MasterKeys::new(&[2; 32], &[])).await;
    assert!(matches!(refused, Err(KeysError::Foreign)), "{refused:?}");
}
