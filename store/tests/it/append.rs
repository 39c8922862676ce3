//! Appending: one order without gaps, all or nothing, and no refusal that hurts a neighbour.

use std::pin::pin;
use std::time::Duration;

use futures::future::join_all;
use futures::poll;
use orion_store::{AppendError, Appended, Commit, Log, Position, Receipt, ReceiptKey, locks};
use sqlx::{Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::fixtures::{
    Outcome, World, add_events, commit, eventually, in_time, one_event, place_of, release, take,
};

/// Sends commits in one batch: they gather behind one that waits for the lock.
async fn in_one_batch(world: &World, commits: Vec<Commit>) -> Vec<Outcome> {
    let lock = world.hold_the_lock().await;
    let log = world.log.clone();
    let plug = tokio::spawn(async move { log.append(one_event()).await });
    eventually("the writer waits for the lock", async || {
        world.waiting_for_the_lock().await.len() == 1
    })
    .await;
    let mut outcomes = pin!(join_all(commits.into_iter().map(|commit| world.log.append(commit))));
    assert!(poll!(&mut outcomes).is_pending());
    lock.release().await;
    plug.await.unwrap().unwrap();
    in_time("the batch", outcomes).await
}

/// A commit of two events that nothing speaks against, with the id that its events carry.
fn neighbour() -> (Uuid, Commit) {
    let command_id = Uuid::now_v7();
    (command_id, commit(command_id, Uuid::now_v7(), 0, 2))
}

fn key(command_id: Uuid) -> ReceiptKey {
    ReceiptKey { actor: "ada".to_owned(), command_id }
}

/// One event under a command id of a client.
fn with_receipt(command_id: Uuid, hash: &[u8], ids: &str) -> Commit {
    let mut commit = one_event();
    commit.receipt(key(command_id), hash.to_vec(), ids.to_owned());
    commit
}

/// One event that takes a value for its trend.
fn with_claim(holder: Uuid, version: i64, value: &str) -> Commit {
    let mut commit = commit(Uuid::now_v7(), holder, version, 1);
    commit.claim(holder, take(value));
    commit
}

/// A trend with one event that holds the value `taken`, and an answered command.
async fn history(world: &World) -> (Uuid, Uuid) {
    let (trend, command) = (Uuid::now_v7(), Uuid::now_v7());
    world.log.append(with_claim(trend, 0, "taken")).await.unwrap();
    world.log.append(with_receipt(command, b"input", r#"{"first": 1}"#)).await.unwrap();
    (trend, command)
}

#[tokio::test]
async fn refused_commits_leave_their_neighbours_in_the_batch_untouched() {
    let world = World::new().await;
    let (trend, command) = history(&world).await;
    let (a, b, c, d) = (neighbour(), neighbour(), neighbour(), neighbour());
    let refused_holder = Uuid::now_v7();
    let outcomes = in_one_batch(
        &world,
        vec![
            a.1,
            commit(Uuid::now_v7(), trend, 0, 1),
            b.1,
            with_receipt(command, b"input", r#"{"second": 2}"#),
            c.1,
            with_claim(refused_holder, 0, "taken"),
            d.1,
        ],
    )
    .await;

    let rows = world.rows().await;
    let written = |id| place_of(&rows, id).unwrap();
    let [first, conflict, second, repeated, third, taken, fourth] = outcomes.try_into().unwrap();
    assert_eq!(
        [first, second, third, fourth].map(Result::unwrap),
        [a.0, b.0, c.0, d.0].map(written)
    );
    assert!(matches!(conflict, Err(AppendError::Conflict)));
    let Err(AppendError::Repeated(receipt)) = repeated else { panic!("{repeated:?}") };
    let ids = r#"{"first": 1}"#.to_owned();
    assert_eq!(receipt, Receipt { input_hash: b"input".to_vec(), position: Position(2), ids });
    let Err(AppendError::Taken { namespace }) = taken else { panic!("{taken:?}") };
    assert_eq!(namespace, "test.name");

    // Two before, the one that held the batch up, and the neighbours, who came in one batch.
    assert_eq!(rows.len(), 2 + 1 + 4 * 2);
    assert!(rows[3..].iter().all(|row| row.recorded_at == rows[3].recorded_at));
    assert_eq!(world.log.holder("test.name", "taken").await.unwrap(), Some(trend));
    assert_eq!(world.count("SELECT count(*) FROM receipts").await, 1);
}

#[tokio::test]
async fn values_that_postgresql_refuses_hurt_only_their_own_commit() {
    let world = World::new().await;
    let (trend, command) = history(&world).await;
    let (a, b, c) = (neighbour(), neighbour(), neighbour());
    let outcomes = in_one_batch(
        &world,
        vec![
            a.1,
            with_claim(Uuid::now_v7(), 0, "nul\0"),
            commit(Uuid::now_v7(), trend, 0, 1),
            b.1,
            with_receipt(Uuid::now_v7(), b"input", r#"{"nul": "\u0000"}"#),
            with_receipt(command, b"input", "{}"),
            with_claim(Uuid::now_v7(), 0, "taken"),
            with_receipt(Uuid::now_v7(), b"input", "no JSON"),
            with_claim(Uuid::now_v7(), 0, &long_noise()),
            c.1,
        ],
    )
    .await;

    let rows = world.rows().await;
    for (index, (command_id, outcome)) in
        [(0, a.0), (3, b.0), (9, c.0)].map(|(index, id)| (index, (id, &outcomes[index])))
    {
        assert_eq!(outcome.as_ref().ok().copied(), place_of(&rows, command_id), "{index}");
    }
    for index in [1, 4, 7, 8] {
        assert!(matches!(outcomes[index], Err(AppendError::Data(_))), "{:?}", outcomes[index]);
    }
    assert!(matches!(outcomes[2], Err(AppendError::Conflict)));
    assert!(matches!(outcomes[5], Err(AppendError::Repeated(_))));
    assert!(matches!(outcomes[6], Err(AppendError::Taken { .. })));
    assert_eq!(rows.len(), 2 + 1 + 3 * 2);
    assert_eq!(world.count("SELECT count(*) FROM claims").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM receipts").await, 1);
}

/// Too long for an index, and nothing that compression could help with.
fn long_noise() -> String {
    (0..1000).map(|_| Uuid::new_v4().to_string()).collect()
}

/// Appends until it has `commits` through, on a stream that it shares with others.
/// Returns what was acknowledged, and how often it came too late.
async fn write(log: Log, trend: Uuid, commits: usize) -> (Vec<(Uuid, Appended)>, usize) {
    let (mut written, mut conflicts) = (Vec::new(), 0);
    while written.len() < commits {
        let version: i64 =
            sqlx::query_scalar("SELECT count(*) FROM events WHERE aggregate_id = $1")
                .bind(trend.to_string())
                .fetch_one(log.pool())
                .await
                .unwrap();
        let command_id = Uuid::now_v7();
        match log.append(commit(command_id, trend, version, 1 + version % 3)).await {
            Ok(appended) => written.push((command_id, appended)),
            Err(AppendError::Conflict) => conflicts += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    (written, conflicts)
}

/// Looks at the log again and again: whoever sees a position sees all before it.
async fn see_no_late_commit(world: &World, until: CancellationToken) -> usize {
    let mut looks = 0;
    while !until.is_cancelled() {
        let (count, newest): (i64, i64) =
            sqlx::query_as("SELECT count(*), coalesce(max(position), 0) FROM events")
                .fetch_one(&world.owner)
                .await
                .unwrap();
        assert_eq!(count, newest, "an event became visible before an earlier one");
        looks += 1;
    }
    looks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_have_no_gap_and_no_latecomer_under_concurrent_writers() {
    let world = World::new().await;
    let logs = [world.log.clone(), world.another_log().await];
    let trends: Vec<Uuid> = (0..16).map(|_| Uuid::now_v7()).collect();
    let written = CancellationToken::new();
    let writers = async {
        // Writer 0 and 16 share a trend within a process, 0 and 17 across two.
        let writers = (0..64_usize)
            .map(|n| tokio::spawn(write(logs[n % 2].clone(), trends[(n / 2 + n % 2) % 16], 8)));
        let results = join_all(writers).await;
        written.cancel();
        results.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    let (writers, looks) = in_time("writing", async {
        tokio::join!(writers, see_no_late_commit(&world, written.clone()))
    })
    .await;

    let rows = world.rows().await;
    for (command_id, appended) in writers.iter().flat_map(|(written, _)| written) {
        assert_eq!(place_of(&rows, *command_id), Some(*appended));
    }
    let acknowledged: i64 = writers
        .iter()
        .flat_map(|(written, _)| written)
        .map(|(_, appended)| appended.last.0 - appended.first.0 + 1)
        .sum();
    assert_eq!(rows.len(), usize::try_from(acknowledged).unwrap(), "refused commits left events");
    assert!(writers.iter().map(|(_, conflicts)| conflicts).sum::<usize>() > 0);
    assert!(looks > 1);
}

/// After a step of the clock, or behind a server whose clock is ahead.
#[tokio::test]
async fn time_stands_still_rather_than_run_backwards() {
    let world = World::new().await;
    world.log.append(one_event()).await.unwrap();
    sqlx::query(
        "INSERT INTO events SELECT 2, aggregate_type, aggregate_id, 2, event_type, event_version,
                payload, metadata, recorded_at + interval '1 hour' FROM events",
    )
    .execute(&world.owner)
    .await
    .unwrap();
    world.log.append(one_event()).await.unwrap();
    let rows = world.rows().await;
    assert_eq!(rows[1].recorded_at, rows[2].recorded_at);
}

#[tokio::test]
async fn a_commit_over_two_streams_is_all_or_nothing() {
    let world = World::new().await;
    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    world.log.append(commit(Uuid::now_v7(), two, 0, 1)).await.unwrap();
    let over_both = |command_id, version_of_two| {
        let mut both = commit(command_id, one, 0, 2);
        add_events(&mut both, two, version_of_two, 2);
        both
    };

    let refused = world.log.append(over_both(Uuid::now_v7(), 0)).await;
    assert!(matches!(refused, Err(AppendError::Conflict)));
    assert_eq!(world.rows().await.len(), 1);

    let command_id = Uuid::now_v7();
    let appended = world.log.append(over_both(command_id, 1)).await.unwrap();
    assert_eq!(appended, Appended { first: Position(2), last: Position(5) });
    assert_eq!(place_of(&world.rows().await, command_id), Some(appended));
}

#[tokio::test]
async fn a_released_value_may_be_taken_by_the_next_commit() {
    let world = World::new().await;
    let (ada, bob) = (Uuid::now_v7(), Uuid::now_v7());
    world.log.append(with_claim(ada, 0, "old")).await.unwrap();
    let mut rename = commit(Uuid::now_v7(), ada, 1, 1);
    rename.claim(ada, release("old"));
    rename.claim(ada, take("new"));

    let outcomes = in_one_batch(&world, vec![rename, with_claim(bob, 0, "old")]).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let holder = async |value| world.log.holder("test.name", value).await.unwrap();
    assert_eq!((holder("old").await, holder("new").await), (Some(bob), Some(ada)));
}

#[tokio::test]
async fn values_stay_with_their_holder() {
    let world = World::new().await;
    let (ada, bob) = (Uuid::now_v7(), Uuid::now_v7());
    world.log.append(with_claim(ada, 0, "name")).await.unwrap();
    let holder = async || world.log.holder("test.name", "name").await.unwrap();

    // Taking what one holds is fine; so is doing it twice.
    let mut again = with_claim(ada, 1, "name");
    again.claim(ada, take("name"));
    world.log.append(again).await.unwrap();

    // Releasing what another holds frees nothing.
    let mut stranger = commit(Uuid::now_v7(), bob, 0, 1);
    stranger.claim(bob, release("name"));
    world.log.append(stranger).await.unwrap();
    assert_eq!(holder().await, Some(ada));

    // A refused commit takes and frees nothing.
    let mut late = commit(Uuid::now_v7(), ada, 0, 1);
    late.claim(ada, release("name"));
    late.claim(ada, take("other"));
    assert!(matches!(world.log.append(late).await, Err(AppendError::Conflict)));
    assert_eq!(holder().await, Some(ada));
    assert_eq!(world.log.holder("test.name", "other").await.unwrap(), None);
}

#[tokio::test]
async fn the_last_change_of_a_value_in_a_commit_holds() {
    let world = World::new().await;
    let trend = Uuid::now_v7();
    let mut taken_and_freed = commit(Uuid::now_v7(), trend, 0, 1);
    taken_and_freed.claim(trend, take("name"));
    taken_and_freed.claim(trend, release("name"));
    world.log.append(taken_and_freed).await.unwrap();
    assert_eq!(world.log.holder("test.name", "name").await.unwrap(), None);

    world.log.append(with_claim(trend, 1, "name")).await.unwrap();
    let mut freed_and_taken = commit(Uuid::now_v7(), trend, 2, 1);
    freed_and_taken.claim(trend, release("name"));
    freed_and_taken.claim(trend, take("name"));
    world.log.append(freed_and_taken).await.unwrap();
    assert_eq!(world.log.holder("test.name", "name").await.unwrap(), Some(trend));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_gets_a_value() {
    let world = World::new().await;
    let logs = [world.log.clone(), world.another_log().await];
    let claimants: Vec<Uuid> = (0..32).map(|_| Uuid::now_v7()).collect();
    let appends = claimants
        .iter()
        .enumerate()
        .map(|(n, holder)| logs[n % 2].append(with_claim(*holder, 0, "name")));
    let outcomes = join_all(appends).await;
    let winners: Vec<_> =
        claimants.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).collect();
    let [(winner, _)] = winners[..] else { panic!("{outcomes:?}") };
    assert_eq!(world.log.holder("test.name", "name").await.unwrap(), Some(*winner));
    assert_eq!(world.rows().await.len(), 1);
}

#[tokio::test]
async fn a_receipt_answers_with_the_first_position_and_ids() {
    let world = World::new().await;
    let command = Uuid::now_v7();
    assert_eq!(world.log.receipt(&key(command)).await.unwrap(), None);
    world.log.append(one_event()).await.unwrap();
    let mut first = commit(Uuid::now_v7(), Uuid::now_v7(), 0, 3);
    first.receipt(key(command), b"input".to_vec(), r#"{"id": 1}"#.to_owned());
    let appended = world.log.append(first).await.unwrap();
    assert_eq!(appended, Appended { first: Position(2), last: Position(4) });

    let known = world.log.receipt(&key(command)).await.unwrap().unwrap();
    assert_eq!((known.position, known.ids.as_str()), (appended.last, r#"{"id": 1}"#));
    let repeated = world.log.append(with_receipt(command, b"other input", "{}")).await;
    let Err(AppendError::Repeated(receipt)) = repeated else { panic!("{repeated:?}") };
    assert_eq!(receipt, known);

    // The same id from someone else is another command.
    let mut others = one_event();
    let actor = "bob".to_owned();
    others.receipt(ReceiptKey { actor, command_id: command }, b"input".to_vec(), "{}".to_owned());
    assert_eq!(world.log.append(others).await.unwrap().first, Position(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_command_sent_many_times_happens_once() {
    let world = World::new().await;
    let logs = [world.log.clone(), world.another_log().await];
    let command = Uuid::now_v7();
    let appends = (0..32).map(|n| logs[n % 2].append(with_receipt(command, b"input", "{}")));
    let outcomes = join_all(appends).await;
    let repeated = |outcome: &&Outcome| matches!(outcome, Err(AppendError::Repeated(receipt)) if receipt.position == Position(1));
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert_eq!(outcomes.iter().filter(repeated).count(), 31);
    assert_eq!(world.rows().await.len(), 1);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_loses_nothing() {
    let world = World::new().await;
    let outcomes = in_one_batch(&world, (0..5000).map(|_| one_event()).collect()).await;
    let overloaded = outcomes.iter().filter(|o| matches!(o, Err(AppendError::Overloaded))).count();
    let written = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(overloaded > 0);
    assert_eq!(written + overloaded, 5000);
    assert_eq!(world.rows().await.len(), written + 1);
}

#[tokio::test]
async fn a_writer_that_hangs_elsewhere_is_waited_for_briefly_only() {
    let world = World::new().await;
    let mut hung = PgConnection::connect(world.url()).await.unwrap();
    let lock = sqlx::query("SELECT pg_advisory_lock($1)").bind(locks::APPEND);
    lock.execute(&mut hung).await.unwrap();
    let refused =
        tokio::time::timeout(Duration::from_secs(25), world.log.append(one_event())).await;
    assert!(matches!(refused, Ok(Err(AppendError::Unavailable(_)))), "{refused:?}");
    hung.close().await.unwrap();
    world.log.append(one_event()).await.unwrap();
    assert_eq!(world.rows().await.len(), 1);
}

#[tokio::test]
async fn another_isolation_level_of_the_database_fails_no_append() {
    let world = World::new().await;
    let database: String =
        sqlx::query_scalar("SELECT current_database()").fetch_one(&world.owner).await.unwrap();
    for (level, written) in [("repeatable read", 2), ("serializable", 4)] {
        // Under it, who has waited for the lock would see the log as it was before.
        let default =
            format!("ALTER DATABASE {database} SET default_transaction_isolation = '{level}'");
        sqlx::query(&default).execute(&world.owner).await.unwrap();
        let logs = [world.another_log().await, world.another_log().await];
        let lock = world.hold_the_lock().await;
        let appends = logs.map(|log| tokio::spawn(async move { log.append(one_event()).await }));
        let wait = async || world.waiting_for_the_lock().await.len() == 2;
        eventually("both wait for the lock", wait).await;
        lock.release().await;
        for append in appends {
            append.await.unwrap().unwrap();
        }
        assert_eq!(world.rows().await.len(), written);
    }
}
