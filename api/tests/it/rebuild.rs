//! `orion-replay rebuild` beside the server: commands and queries go on while it computes and mends, and
//! whatever kills it, the tables that are served are not harmed.

use std::time::Instant;

use orion_store::locks;
use sqlx::{Postgres, Transaction};

use crate::eventually::eventually;
use crate::spoiled::{Load, RESTING, World};

/// How often a rebuild is killed.
const KILLS: usize = 10;

#[tokio::test]
async fn commands_and_queries_go_on_while_a_rebuild_mends() {
    let world = World::new().await;
    let load = Load::start(&world);
    for _ in 0..3 {
        load.goes_on().await;
        assert!(world.spoil().await > 4 * RESTING);
        load.goes_on().await;
        let mend = HeldMend::hold(&world).await;
        let rebuild = tokio::spawn(world.replay(["rebuild"]).exits(0));
        mend.begins().await;
        load.queries_go_on().await;
        assert!(mend.waits().await, "the answers came while it mended");
        mend.release().await;
        let said = rebuild.await.unwrap();
        assert!(said.contains("rows were mended"), "{said}");
        assert_eq!(world.differing().await, 0);
    }
    load.goes_on().await;
    load.ends().await;
    world.assert_whole().await;
}

#[tokio::test]
async fn a_rebuild_that_is_killed_at_any_moment_harms_nothing() {
    let world = World::new().await;
    let load = Load::start(&world);
    let begun = Instant::now();
    world.replay(["rebuild", "--dry-run"]).exits(0).await;
    let whole = begun.elapsed();
    let (mut killed, mut spoiled) = (0, world.spoil().await);
    while killed < KILLS {
        let moment = whole.mul_f64(rand::random());
        if world.replay(["rebuild"]).killed_after(moment).await {
            killed += 1;
        }
        load.goes_on().await;
        // All that was spoiled still is, or nothing is any more.
        let differing = world.differing().await;
        assert!([0, spoiled].contains(&differing), "{differing} of {spoiled} after {moment:?}");
        if differing == 0 {
            spoiled = world.spoil().await;
        }
    }
    kill_while_it_mends(&world).await;
    assert_eq!(world.differing().await, spoiled);
    load.goes_on().await;
    world.replay(["rebuild"]).exits(0).await;
    assert_eq!(world.differing().await, 0);
    load.ends().await;
    world.assert_whole().await;
}

/// Keeps a rebuild where it has mended some rows and not others. That is done in a moment, so somebody holds a table
/// that it needs, as no command does; who reads does not need it alone.
struct HeldMend<'a> {
    world: &'a World,
    holding: Transaction<'static, Postgres>,
}

impl<'a> HeldMend<'a> {
    async fn hold(world: &'a World) -> Self {
        let mut holding = world.records.pool.begin().await.unwrap();
        let lock = sqlx::query("LOCK TABLE orion.trends IN SHARE MODE");
        lock.execute(&mut *holding).await.unwrap();
        Self { world, holding }
    }

    /// True while the rebuild waits for the table.
    async fn waits(&self) -> bool {
        is_locked(self.world, "NOT granted AND relation = 'orion.trends'::regclass").await
    }

    async fn begins(&self) {
        eventually("it waits", async || self.waits().await.then_some(())).await;
    }

    async fn release(self) {
        self.holding.rollback().await.unwrap();
    }
}

/// True where there is such a lock.
async fn is_locked(world: &World, lock: &str) -> bool {
    let exists = format!("SELECT EXISTS (SELECT FROM pg_locks WHERE {lock})");
    sqlx::query_scalar(&exists).fetch_one(&world.records.pool).await.unwrap()
}

async fn kill_while_it_mends(world: &World) {
    let mend = HeldMend::hold(world).await;
    let mut rebuild = world.replay(["rebuild"]).spawn();
    mend.begins().await;
    rebuild.kill().await.unwrap();
    mend.release().await;
    let lock = format!(
        "locktype = 'advisory' AND (classid::bigint << 32 | objid::bigint) = {} AND database =
         (SELECT oid FROM pg_database WHERE datname = current_database())",
        locks::REBUILD
    );
    eventually("its connection ends", async || (!is_locked(world, &lock).await).then_some(()))
        .await;
}
