//! The timer that expires trends which no source reports any more.

use std::time::Duration;

use orion_commands::reactors::expire_trends;
use orion_commands::{Actor, Envelope, Single};
use orion_domain::values::{Score, TrendStatus};
use orion_domain::{Trend, TrendCommand};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::fixtures::{World, code, eventually};

const HOUR: Duration = Duration::from_hours(1);

/// A trend of which the newest event happened two hours ago. It goes straight into the table:
/// nobody can wait that long.
async fn old_trend(world: &World, later: Option<&str>) -> Uuid {
    let id = Uuid::now_v7();
    let detected = r#"{"topic":"Orion","source":"test","score":0.5}"#;
    let score = r#"{"score":0.4}"#;
    let events = std::iter::once(("trend.detected", detected))
        .chain(later.map(|later| (later, if later == "trend.rescored" { score } else { "{}" })));
    for ((event_type, payload), sequence) in events.zip(1_i64..) {
        sqlx::query(
            "INSERT INTO events SELECT coalesce(max(position), 0) + 1, 'trend', $1, $2, $3, '1',
                    $4::json, '{}', now() - interval '2 hours' FROM events",
        )
        .bind(id.to_string())
        .bind(sequence)
        .bind(event_type)
        .bind(payload)
        .execute(&world.owner)
        .await
        .unwrap();
    }
    id
}

async fn status(world: &World, id: Uuid) -> Option<TrendStatus> {
    world.bus.store().load::<Trend>(id).await.unwrap().aggregate.status()
}

#[tokio::test]
async fn only_what_has_rested_for_the_time_to_live_expires() {
    let world = World::new().await;
    let resting = old_trend(&world, None).await;
    let archived = old_trend(&world, Some("trend.archived")).await;
    let expired = old_trend(&world, Some("trend.expired")).await;
    let rescored_now = old_trend(&world, None).await;
    // The last one that is due: when it is done, all are.
    let resting_too = old_trend(&world, Some("trend.rescored")).await;
    let score = Score::parse(0.9).unwrap();
    let rescore = Single::<Trend>::new(rescored_now, TrendCommand::Rescore { score });
    world.run(Actor::System, &rescore).await.unwrap();
    let fresh = world.trend().await.0;

    let stop = CancellationToken::new();
    let buses = [world.bus.clone(), world.another_bus().await];
    // Two servers do it at once.
    let timers = buses.map(|bus| tokio::spawn(expire_trends(bus, HOUR, stop.clone())));
    eventually("what rested expires", async || {
        status(&world, resting_too).await == Some(TrendStatus::Expired)
    })
    .await;
    stop.cancel();
    for timer in timers {
        timer.await.unwrap();
    }

    assert_eq!(status(&world, resting).await, Some(TrendStatus::Expired));
    assert_eq!(status(&world, archived).await, Some(TrendStatus::Archived));
    assert_eq!(status(&world, expired).await, Some(TrendStatus::Expired));
    for active in [rescored_now, fresh] {
        assert_eq!(status(&world, active).await, Some(TrendStatus::Active));
    }
    // Two now, each once, and the one that was expired before.
    assert_eq!(world.events("trend.expired").await, 3);
    let caused = "SELECT count(*) FROM events expired JOIN events cause
                  ON cause.position::text = expired.metadata ->> 'causation_id'
                  AND cause.aggregate_id = expired.aggregate_id AND cause.sequence = expired.sequence - 1
                  WHERE expired.event_type = 'trend.expired'";
    assert_eq!(world.count(caused).await, 2);
}

#[tokio::test]
async fn a_short_time_to_live_is_kept_too() {
    let world = World::new().await;
    let trend = world.trend().await.0;
    let stop = CancellationToken::new();
    let timer =
        tokio::spawn(expire_trends(world.bus.clone(), Duration::from_millis(300), stop.clone()));
    eventually("the trend expires", async || {
        status(&world, trend).await == Some(TrendStatus::Expired)
    })
    .await;
    stop.cancel();
    timer.await.unwrap();
}

#[tokio::test]
async fn what_was_rescored_since_the_search_does_not_expire() {
    let world = World::new().await;
    let trend = old_trend(&world, None).await;
    let due = world.bus.log().resting_since("trend", &["trend.detected"], HOUR, 10).await.unwrap();
    assert_eq!(due.iter().map(|due| (due.id, due.version)).collect::<Vec<_>>(), [(trend, 1)]);
    let score = Score::parse(0.9).unwrap();
    let rescore = Single::<Trend>::new(trend, TrendCommand::Rescore { score });
    world.run(Actor::System, &rescore).await.unwrap();
    let found = Envelope { expected_version: Some(due[0].version), ..Envelope::of(Actor::System) };
    let expire = Single::<Trend>::new(trend, TrendCommand::Expire);
    assert_eq!(code(world.bus.run(&found, &expire).await).0, "VERSION_CONFLICT");
    assert_eq!(status(&world, trend).await, Some(TrendStatus::Active));
}
