//! What was acknowledged stays, once, when PostgreSQL is killed or an answer gets lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use orion_store::testing::TestCluster;
use orion_store::{AppendError, Appended, Log, ReceiptKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::fixtures::{
    Outcome, World, commit, eventually, in_time, one_event, open, owner, place_of, rows, take,
};

/// What an appender was told of its commands.
#[derive(Default)]
struct Told {
    acknowledged: Vec<(Uuid, Appended)>,
    /// Written or not: nobody knows.
    in_doubt: Vec<Uuid>,
}

/// Appends to a stream of its own until `stop`.
async fn append_until(log: Log, count: Arc<AtomicUsize>, stop: CancellationToken) -> Told {
    let mut told = Told::default();
    let (mut trend, mut version) = (Uuid::now_v7(), 0);
    while !stop.is_cancelled() {
        let command_id = Uuid::now_v7();
        match log.append(commit(command_id, trend, version, 2)).await {
            Ok(appended) => {
                told.acknowledged.push((command_id, appended));
                version += 2;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Err(AppendError::Unavailable(_)) => {
                told.in_doubt.push(command_id);
                (trend, version) = (Uuid::now_v7(), 0);
            }
            Err(error) => panic!("nobody else writes to this stream: {error:?}"),
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_killed_postgresql() {
    let cluster = TestCluster::start().await;
    let log = open(&cluster.url(), CancellationToken::new()).await;
    let (count, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
    let appenders: Vec<_> = (0..16)
        .map(|_| tokio::spawn(append_until(log.clone(), count.clone(), stop.clone())))
        .collect();
    let goes_on = async || {
        let before = count.load(Ordering::Relaxed);
        eventually("appends go on", async || count.load(Ordering::Relaxed) > before + 200).await;
    };
    for _ in 0..3 {
        goes_on().await;
        cluster.kill9().await;
        cluster.start_again().await;
    }
    goes_on().await;
    stop.cancel();
    let told: Vec<Told> = in_time("the appenders", join_all(appenders))
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();

    let rows = rows(&owner(&cluster.url()).await).await;
    let mut expected = 0;
    for told in told {
        for (command_id, appended) in told.acknowledged {
            assert_eq!(place_of(&rows, command_id), Some(appended));
            expected += 2;
        }
        // In one piece or not at all.
        for command_id in told.in_doubt {
            expected += place_of(&rows, command_id).map_or(0, |_| 2);
        }
    }
    assert_eq!(rows.len(), expected);
}

#[tokio::test]
async fn an_append_whose_connection_breaks_before_it_is_written_is_tried_again() {
    let world = World::new().await;
    let lock = world.hold_the_lock().await;
    let (command_id, log) = (Uuid::now_v7(), world.log.clone());
    let append =
        tokio::spawn(async move { log.append(commit(command_id, Uuid::now_v7(), 0, 2)).await });
    for _ in 0..3 {
        eventually("the append waits", async || !world.waiting_for_the_lock().await.is_empty())
            .await;
        world.terminate_backends().await;
    }
    lock.release().await;
    let appended = in_time("the append", append).await.unwrap().unwrap();
    assert_eq!(place_of(&world.rows().await, command_id), Some(appended));
}

/// Stands between a log and PostgreSQL, and breaks connections at the worst moment.
struct Proxy {
    url: String,
    /// How many answers of appends will get lost.
    loses: Arc<AtomicUsize>,
}

impl Proxy {
    async fn before(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (login, address) = url.split_once('@').unwrap();
        let (server, database) = address.split_once('/').unwrap();
        let loses = Arc::new(AtomicUsize::new(0));
        tokio::spawn(Self::accept(listener, server.to_owned(), loses.clone()));
        Self { url: format!("{login}@127.0.0.1:{port}/{database}"), loses }
    }

    async fn accept(listener: TcpListener, server: String, loses: Arc<AtomicUsize>) {
        while let Ok((client, _)) = listener.accept().await {
            let (server, loses) = (TcpStream::connect(&server).await.unwrap(), loses.clone());
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                tokio::select! {
                    _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
                    () = answers(&mut from_server, &mut to_client, &loses) => {}
                }
            });
        }
    }
}

/// Passes answers on, until one of an append is to get lost. PostgreSQL sends it when the
/// transaction is committed.
async fn answers(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    loses: &AtomicUsize,
) {
    let mut buffer = [0; 16_384];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let is_answer = buffer[..read].windows(8).any(|window| window == b"appended");
        if is_answer
            && loses
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok()
        {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn an_append_whose_answer_got_lost_is_recognised() {
    let world = World::new().await;
    let proxy = Proxy::before(world.url()).await;
    let log = open(&proxy.url, CancellationToken::new()).await;
    let (trend, known, fresh) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let key = |command_id| ReceiptKey { actor: "test".to_owned(), command_id };
    let with_receipt = |command_id| {
        let mut commit = commit(command_id, Uuid::now_v7(), 0, 2);
        commit.receipt(key(command_id), b"input".to_vec(), "{}".to_owned());
        commit
    };
    log.append(commit(Uuid::now_v7(), trend, 0, 1)).await.unwrap();
    log.append(with_receipt(known)).await.unwrap();

    let plain = Uuid::now_v7();
    let claiming = Uuid::now_v7();
    let mut with_claim = commit(claiming, trend, 1, 2);
    with_claim.claim(trend, take("name"));
    proxy.loses.store(2, Ordering::SeqCst);
    let outcomes: Vec<Outcome> = in_time(
        "the appends",
        join_all([
            log.append(commit(plain, Uuid::now_v7(), 0, 3)),
            log.append(with_receipt(fresh)),
            log.append(with_claim),
            log.append(with_receipt(known)),
            log.append(commit(Uuid::now_v7(), trend, 0, 1)),
        ]),
    )
    .await;

    assert_eq!(proxy.loses.load(Ordering::SeqCst), 0, "no answer got lost");
    let rows = world.rows().await;
    let [plain_told, fresh_told, claiming_told, repeated, conflict] = outcomes.try_into().unwrap();
    for (command_id, told) in [(plain, plain_told), (claiming, claiming_told)] {
        assert_eq!(Some(told.unwrap()), place_of(&rows, command_id));
    }
    // A receipt answers for itself.
    let Err(AppendError::Repeated(receipt)) = fresh_told else { panic!("{fresh_told:?}") };
    assert_eq!(Some(receipt.position), place_of(&rows, fresh).map(|place| place.last));
    // Real refusals stay refusals.
    assert!(matches!(repeated, Err(AppendError::Repeated(_))), "{repeated:?}");
    assert!(matches!(conflict, Err(AppendError::Conflict)), "{conflict:?}");
    assert_eq!(rows.len(), 3 + 3 + 2 + 2);
    assert_eq!(log.holder("test.name", "name").await.unwrap(), Some(trend));
}

#[tokio::test]
async fn an_append_says_so_when_postgresql_stays_away() {
    let cluster = TestCluster::start().await;
    let log = open(&cluster.url(), CancellationToken::new()).await;
    log.append(one_event()).await.unwrap();
    cluster.stop().await;
    let refused = tokio::time::timeout(Duration::from_secs(30), log.append(one_event())).await;
    assert!(matches!(refused, Ok(Err(AppendError::Unavailable(_)))), "{refused:?}");
    cluster.start_again().await;
    assert_eq!(log.append(one_event()).await.unwrap().last.0, 2);
}
