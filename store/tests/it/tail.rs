//! The tail: every event once and in order, whatever becomes of the connections.

use std::time::{Duration, Instant};

use futures::future::join_all;
use orion_store::{Log, Position};
use sqlx::postgres::PgConnectOptions;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::fixtures::{World, commit, eventually, in_time, one_event, open};

/// Follows a log from a position until it has seen `until`.
async fn follow(log: Log, from: Position, until: i64) -> Vec<i64> {
    let mut seen = Vec::new();
    let mut last = from;
    while last.0 < until {
        // Steps of every size, so that they end everywhere.
        let limit = 1 + seen.len() % 97;
        // A reader whose connection broke asks again from where it is.
        let Ok(events) = log.tail().next(last, limit).await else { continue };
        assert!(!events.is_empty() && events.len() <= limit);
        seen.extend(events.iter().map(|event| event.position.0));
        last = events.last().unwrap().position;
    }
    seen
}

/// True when the tails of this many logs wait for notifications.
async fn listeners(world: &World, expected: i64) -> bool {
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND query LIKE 'LISTEN%' AND state = 'idle'";
    world.count(sql).await == expected
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_sees_each_event_once_while_connections_are_killed() {
    const WRITERS: usize = 8;
    const COMMITS: i64 = 60;
    let world = World::new().await;
    let logs = [world.log.clone(), world.another_log().await];
    let total = i64::try_from(WRITERS).unwrap() * COMMITS;

    let writers = (0..WRITERS).map(|n| {
        let log = logs[n % 2].clone();
        tokio::spawn(async move {
            let trend = Uuid::now_v7();
            for version in 0..COMMITS {
                // A conflict would mean that the answer to an append that was written got lost.
                log.append(commit(Uuid::now_v7(), trend, version, 1)).await.unwrap();
            }
        })
    });
    let followers = logs.iter().map(|log| follow(log.clone(), Position::START, total));
    let killer = async {
        for kill in 1..=5 {
            eventually("the writers go on", async || {
                world.log.head().await.is_ok_and(|head| head.0 > total * kill / 7)
            })
            .await;
            assert!(world.terminate_backends().await > 0);
        }
    };
    let (writers, followed, ()) = in_time("following", async {
        tokio::join!(join_all(writers), join_all(followers), killer)
    })
    .await;

    writers.into_iter().for_each(Result::unwrap);
    for seen in followed {
        assert!(seen.iter().copied().eq(1..=total), "{seen:?}");
    }
    assert_eq!(world.rows().await.len(), usize::try_from(total).unwrap());
}

#[tokio::test]
async fn another_process_is_heard_at_once() {
    let world = World::new().await;
    let other = world.another_log().await;
    eventually("both logs listen", async || listeners(&world, 2).await).await;
    let start = Instant::now();
    for position in 1..=20 {
        let appended = other.append(one_event()).await.unwrap();
        assert_eq!(appended.last, Position(position));
        let next = world.log.tail().next(Position(position - 1), 10);
        assert_eq!(in_time("the event", next).await.unwrap()[0].position, Position(position));
    }
    // By polling alone each of them would have taken most of a second.
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
}

#[tokio::test]
async fn another_process_is_heard_even_without_its_notification() {
    let world = World::new().await;
    eventually("the log listens", async || listeners(&world, 1).await).await;
    // As if the notification had got lost: the row is there, and nobody was told.
    sqlx::query(
        "INSERT INTO events
         VALUES (1, 'trend', gen_random_uuid()::text, 1, 'trend.expired', '1', '{}', '{}', now())",
    )
    .execute(&world.owner)
    .await
    .unwrap();
    let next = world.log.tail().next(Position::START, 10);
    assert_eq!(in_time("the event", next).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_tail_that_is_behind_does_not_pass_for_fresh() {
    // Many reads of 250.
    const TOTAL: i64 = 6_000;
    let world = World::new().await;
    let other = world.another_log().await;
    let tail = world.log.tail().clone();
    other.append(commit(Uuid::now_v7(), Uuid::now_v7(), 0, TOTAL)).await.unwrap();
    let appended = Instant::now();
    let (mut head, mut looks) = (Position::START, 0);
    while head < Position(TOTAL) {
        head = in_time("the next events", tail.beyond(head)).await.unwrap();
        if head < Position(TOTAL) {
            looks += 1;
            let knows_all_since = appended.elapsed() < tail.age().unwrap();
            assert!(knows_all_since, "at {head:?} it takes itself for up to date");
        }
    }
    assert!(looks > 0, "it was never seen on its way");
}

#[tokio::test]
async fn a_lost_listener_listens_again() {
    let world = World::new().await;
    eventually("the log listens", async || listeners(&world, 1).await).await;
    assert!(world.terminate_backends().await > 0);
    eventually("the log listens again", async || listeners(&world, 1).await).await;
}

/// Stands between a log and PostgreSQL. Gives its port.
///
/// With each `silence` the connections that are open are open still, and nothing comes through any more: as after a
/// failover that drops packets.
async fn proxy(to: u16, silence: watch::Receiver<()>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
            let mut silence = silence.clone();
            silence.mark_unchanged();
            tokio::spawn(async move {
                let is_silent = tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => false,
                    silence = silence.changed() => silence.is_ok(),
                };
                if is_silent {
                    // Until the test ends, and with it this task.
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_server_that_has_gone_silent_is_left() {
    let world = World::new().await;
    let port = world.url().parse::<PgConnectOptions>().unwrap().get_port();
    let (silence, is_silent) = watch::channel(());
    let through = proxy(port, is_silent).await;
    let url = world.url().replace(&format!(":{port}/"), &format!(":{through}/"));
    assert_ne!(url, world.url());
    let stop = CancellationToken::new();
    let log = open(&url, stop.clone()).await;
    world.log.append(one_event()).await.unwrap();
    let next = log.tail().next(Position::START, 1);
    assert_eq!(in_time("the event", next).await.unwrap().len(), 1);

    silence.send_replace(());
    world.log.append(one_event()).await.unwrap();
    let next = log.tail().next(Position(1), 1);
    assert_eq!(in_time("the event after", next).await.unwrap().len(), 1);
    // The connection that listens is another one. The silent one listens on, for nobody.
    eventually("it listens anew", async || listeners(&world, 3).await).await;
    stop.cancel();
}

#[tokio::test]
async fn what_was_there_before_is_read_from_the_database() {
    // More than the tail keeps in memory, so that a follower crosses the border.
    const TOTAL: i64 = 12_000;
    let world = World::new().await;
    world.log.append(commit(Uuid::now_v7(), Uuid::now_v7(), 0, TOTAL / 2)).await.unwrap();
    let fresh = world.another_log().await;
    world.log.append(commit(Uuid::now_v7(), Uuid::now_v7(), 0, TOTAL / 2)).await.unwrap();
    for log in [world.log.clone(), fresh] {
        let first = log.tail().next(Position::START, 7).await.unwrap();
        assert!(first.iter().map(|event| event.position.0).eq(1..=7));
        let seen = in_time("following", follow(log, Position::START, TOTAL)).await;
        assert!(seen.into_iter().eq(1..=TOTAL));
    }
}

#[tokio::test]
async fn every_position_may_be_asked_for() {
    let world = World::new().await;
    world.log.append(commit(Uuid::now_v7(), Uuid::now_v7(), 0, 70)).await.unwrap();
    let fresh = world.another_log().await;
    world.log.append(commit(Uuid::now_v7(), Uuid::now_v7(), 0, 70)).await.unwrap();
    for log in [world.log.clone(), fresh] {
        eventually("the tail is there", async || log.tail().head() == Position(140)).await;
        for after in 0..140 {
            let events = log.tail().next(Position(after), 3).await.unwrap();
            let positions = events.iter().map(|event| event.position.0);
            assert!(positions.eq(after + 1..=140.min(after + 3)), "after {after}");
        }
    }
}

#[tokio::test]
async fn a_stopped_tail_ends_its_followers() {
    let world = World::new().await;
    let stop = CancellationToken::new();
    let log = open(world.url(), stop.clone()).await;
    world.log.append(one_event()).await.unwrap();
    let follower = tokio::spawn(async move {
        let mut last = Position::START;
        while let Some(event) = log.tail().next(last, 10).await.unwrap().last() {
            last = event.position;
        }
        last
    });
    stop.cancel();
    let last = in_time("the end", follower).await.unwrap();
    assert!(last <= Position(1));
}
