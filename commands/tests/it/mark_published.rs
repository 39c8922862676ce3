//! The reactor that marks a content published when its first publish request has succeeded.

use orion_commands::reactors::{MarkPublished, run};
use orion_commands::{Actor, Bus};
use orion_domain::values::{ContentId, ContentStatus, PublishId};
use orion_store::Position;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fixtures::{World, editor, eventually, request, succeed};

struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn on(bus: &Bus) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(bus.clone(), MarkPublished, stop.clone()));
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// How far the reactor is; -1 before its first start.
async fn checkpoint(world: &World) -> i64 {
    let sql = "SELECT coalesce(max(position), -1) FROM reactor_checkpoints
               WHERE name = 'mark_published'";
    world.count(sql).await
}

/// Waits until the reactor has seen everything that is in the log, and all that it did itself.
async fn caught_up(world: &World) {
    eventually("the reactor has caught up", async || {
        let head = world.bus.log().head().await.unwrap();
        Position(checkpoint(world).await) == head
    })
    .await;
}

async fn published(world: &World, actor: Actor, content: ContentId, platform: &str) -> PublishId {
    let request = request(content, None, Some(platform), actor);
    world.run(actor, &request).await.unwrap();
    world.run(actor, &succeed(request.publish_id)).await.unwrap();
    request.publish_id
}

async fn status(world: &World, content: ContentId) -> Option<ContentStatus> {
    world.content(content).await.status()
}

#[tokio::test]
async fn the_first_success_publishes_the_content_and_no_later_one_does() {
    let world = World::new().await;
    let ada = editor();
    let content = world.approved(ada).await;
    let untouched = world.approved(ada).await;
    let reactor = Running::on(&world.bus);
    eventually("the reactor starts", async || checkpoint(&world).await >= 0).await;

    let first = published(&world, ada, content, "youtube").await;
    caught_up(&world).await;
    assert_eq!(status(&world, content).await, Some(ContentStatus::Published));
    published(&world, ada, content, "tiktok").await;
    caught_up(&world).await;
    assert_eq!(world.events("content.published").await, 1);
    assert_eq!(status(&world, untouched).await, Some(ContentStatus::Approved));

    let (publish, causes): (String, bool) = sqlx::query_as(
        "SELECT done.payload ->> 'publish_id',
                done.metadata ->> 'causation_id' = cause.position::text
                  AND done.metadata ->> 'actor' = 'system'
         FROM events done JOIN events cause
           ON cause.event_type = 'publish.succeeded' AND cause.aggregate_id = done.payload ->> 'publish_id'
         WHERE done.event_type = 'content.published'",
    )
    .fetch_one(&world.owner)
    .await
    .unwrap();
    assert_eq!((publish, causes), (first.to_string(), true));
    reactor.stop().await;
}

#[tokio::test]
async fn a_reactor_that_starts_again_repeats_nothing_and_misses_nothing() {
    let world = World::new().await;
    let ada = editor();
    let (before, during) = (world.approved(ada).await, world.approved(ada).await);
    let reactor = Running::on(&world.bus);
    eventually("the reactor starts", async || checkpoint(&world).await >= 0).await;
    published(&world, ada, before, "youtube").await;
    caught_up(&world).await;
    reactor.stop().await;

    // While it is down, the log goes on; and it forgets that it had done something already.
    published(&world, ada, during, "youtube").await;
    sqlx::query("UPDATE reactor_checkpoints SET position = 0").execute(&world.owner).await.unwrap();
    let reactor = Running::on(&world.another_bus().await);
    caught_up(&world).await;
    assert_eq!(world.events("content.published").await, 2);
    for content in [before, during] {
        assert_eq!(status(&world, content).await, Some(ContentStatus::Published));
    }
    reactor.stop().await;
}

#[tokio::test]
async fn a_new_reactor_starts_at_the_head() {
    let world = World::new().await;
    let ada = editor();
    let past = world.approved(ada).await;
    published(&world, ada, past, "youtube").await;
    let reactor = Running::on(&world.bus);
    caught_up(&world).await;
    assert_eq!(status(&world, past).await, Some(ContentStatus::Approved));
    reactor.stop().await;
}

#[tokio::test]
async fn of_two_reactors_one_leads_and_the_other_takes_over() {
    let world = World::new().await;
    let ada = editor();
    let (first, second) = (world.approved(ada).await, world.approved(ada).await);
    let leader = Running::on(&world.bus);
    eventually("the leader starts", async || checkpoint(&world).await >= 0).await;
    let follower = Running::on(&world.another_bus().await);

    published(&world, ada, first, "youtube").await;
    caught_up(&world).await;
    leader.stop().await;
    published(&world, ada, second, "youtube").await;
    caught_up(&world).await;
    assert_eq!(world.events("content.published").await, 2);
    follower.stop().await;
}

#[tokio::test]
async fn a_reactor_goes_on_when_its_connections_are_killed() {
    let world = World::new().await;
    let ada = editor();
    let content = world.approved(ada).await;
    let reactor = Running::on(&world.bus);
    eventually("the reactor starts", async || checkpoint(&world).await >= 0).await;
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = 'orion'";
    assert!(world.count(kill).await > 0);
    // Who is answered over a connection that ended just now hears of it, and asks again.
    eventually("commands go through again", async || {
        let request = request(content, None, Some("youtube"), ada);
        world.run(ada, &request).await.is_ok()
            && world.run(ada, &succeed(request.publish_id)).await.is_ok()
    })
    .await;
    caught_up(&world).await;
    assert_eq!(world.events("content.published").await, 1);
    reactor.stop().await;
}
