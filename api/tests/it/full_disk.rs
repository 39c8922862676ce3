//! A disk that fills under PostgreSQL: nothing acknowledged is lost, and when there is room all goes on.

use std::time::Duration;

use orion_store::testing::{Holds, TestCluster};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::client::{Client, http};
use crate::disk::Disk;
use crate::eventually::{eventually, within};
use crate::log::Records;
use crate::replay::Replay;
use crate::seals::{all_sealed, verify};
use crate::server::Server;

/// Room for a cluster with a template and a database, and for some events.
const DISK_MIB: u32 = 192;

/// Clients that write at once.
const WRITERS: usize = 8;

/// How long a server may take to say that it cannot: its time-out and a little for a busy machine.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);

/// How long it may take while PostgreSQL still answers.
const AT_ONCE: Duration = Duration::from_secs(3);

/// How many commands a client has written at the latest when the disk is needed: some WAL is kept ready.
const ROUNDS_MAX: usize = 5_000;

/// What became of a command.
struct Told {
    input: Value,
    /// The position, or else the code of the refusal.
    answer: Result<i64, String>,
    took: Duration,
}

fn input(topic: &str) -> Value {
    json!({ "topic": topic, "source": "s", "score": 0.5, "commandId": Uuid::new_v4() })
}

async fn detect(client: &Client, input: Value) -> Told {
    let began = Instant::now();
    let answer = client.try_mutate("detectTrend", input.clone(), "").await.unwrap();
    let answer = match answer {
        Ok(payload) => {
            assert_eq!(payload.code(), None, "{:#}", payload.0);
            Ok(payload.position())
        }
        Err(refused) => Err(refused.code().unwrap().to_owned()),
    };
    Told { input, answer, took: began.elapsed() }
}

/// Several clients write until each of them was refused.
async fn until_refused(client: &Client) -> Vec<Told> {
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let client = client.clone();
        writers.spawn(async move {
            let mut told: Vec<Told> = Vec::new();
            for round in 0..ROUNDS_MAX {
                let input = input(&format!("topic {round} of writer {number}"));
                told.push(detect(&client, input).await);
                if told.last().is_some_and(|told| told.answer.is_err()) {
                    return told;
                }
            }
            panic!("the disk is full and nothing is refused");
        });
    }
    writers.join_all().await.into_iter().flatten().collect()
}

/// What the server says of itself.
async fn readiness(server: &Server) -> Value {
    let ready = http().get(format!("{}/health/ready", server.url())).send().await.unwrap();
    ready.json().await.unwrap()
}

/// What was acknowledged is there once; what was refused is done once when it is sent again.
async fn nothing_is_lost(records: &Records, client: &Client, told: Vec<Told>) {
    for Told { input, answer, .. } in told {
        let position = match answer {
            Ok(position) => position,
            Err(_) => detect(client, input.clone()).await.answer.unwrap(),
        };
        let at: Vec<i64> =
            sqlx::query_scalar("SELECT position FROM events WHERE metadata ->> 'command_id' = $1")
                .bind(input["commandId"].as_str())
                .fetch_all(&records.pool)
                .await
                .unwrap();
        assert_eq!(at, [position], "acknowledged and not there, or there twice: {input}");
    }
    records.assert_in_order().await;
    records.assert_projected().await;
}

/// The auditor finds nothing wrong.
async fn the_log_is_whole(server: &Server, records: &Records, cluster: &TestCluster) {
    all_sealed(server, records).await;
    verify(records).await;
    Replay::on(&cluster.url(), ["check"]).exits(0).await;
}

fn lines_with(server: &Server, words: &str) -> usize {
    server.stderr().lines().filter(|line| line.contains(words)).count()
}

#[tokio::test]
async fn a_full_disk_refuses_commands_at_once_until_there_is_room() {
    let Some(disk) = Disk::of_mib(DISK_MIB) else { return };
    let cluster = TestCluster::start_on(disk.folder(), Holds::Everything).await;
    let server = Server::start(&cluster.url()).await;
    let ada = server.editor("ada").await;
    let records = Records::of(&cluster.url()).await;
    // The WAL has room for what follows: a segment that was just begun.
    sqlx::query("SELECT pg_switch_wal()").execute(&records.pool).await.unwrap();
    ada.detect_trend("fine").await;
    disk.fill();
    let told = until_refused(&ada).await;
    for Told { answer, took, .. } in &told {
        // What is written may wait for the tables, if these have no room any more.
        let within = if answer.is_ok() { ANSWERS_WITHIN } else { AT_ONCE };
        assert!(*took < within, "{answer:?} after {took:?}");
        assert!(answer.as_ref().err().is_none_or(|code| code == "INTERNAL"), "{answer:?}");
    }

    // It says so, and what can go on does.
    let readiness_says = readiness(&server).await;
    assert_eq!(readiness_says["writes"], "refused: the database's disk is full");
    assert_eq!(server.ready().await, 200);
    assert!(server.metrics().await.contains("orion_disk_full 1"));
    // Once, and once more where a small commit found room between two large ones.
    let full = lines_with(&server, "PostgreSQL's disk is full: commands are refused");
    assert!((1..WRITERS).contains(&full), "{}", server.stderr());
    ada.query("{ trends { totalCount } }", json!({})).await;

    disk.make_room();
    nothing_is_lost(&records, &ada, told).await;
    assert_eq!(readiness(&server).await["writes"], "accepted");
    assert!(server.metrics().await.contains("orion_disk_full 0"));
    assert_eq!(lines_with(&server, "PostgreSQL's disk has room again"), full);
    the_log_is_whole(&server, &records, &cluster).await;

    // One that is stopped does not start on a full disk, and it is said why.
    cluster.stop().await;
    disk.fill();
    let start = tokio::spawn(async move { cluster.start_again().await }).await;
    let said = start.unwrap_err().into_panic().downcast::<String>().unwrap();
    assert!(said.contains("PostgreSQL did not start: its disk is full"), "{said}");
}

#[tokio::test]
async fn a_full_disk_of_the_wal_ends_postgresql_and_loses_nothing() {
    let Some(disk) = Disk::of_mib(DISK_MIB) else { return };
    let cluster = TestCluster::start_on(disk.folder(), Holds::Wal).await;
    let server = Server::start(&cluster.url()).await;
    let ada = server.editor("ada").await;
    ada.detect_trend("fine").await;
    disk.fill();
    let mut told = until_refused(&ada).await;
    // It needs WAL to recover, too. Where there was just enough left for that, the next command takes it.
    eventually("PostgreSQL has ended", async || {
        if cluster.pid().is_none() {
            return Some(());
        }
        told.push(detect(&ada, input("one more")).await);
        None
    })
    .await;
    for Told { answer, took, .. } in &told {
        assert!(*took < ANSWERS_WITHIN, "{answer:?} after {took:?}");
        let is_known = |code: &String| ["INTERNAL", "TIMEOUT"].contains(&code.as_str());
        assert!(answer.as_ref().err().is_none_or(is_known), "{answer:?}");
    }

    let down = async || (server.ready().await == 503).then_some(());
    within(ANSWERS_WITHIN, down).await.expect("the server is not ready");
    assert_eq!(readiness(&server).await["database"], "unreachable");
    assert!(server.metrics().await.contains("orion_database_up 0"));
    // Which of the two depends on whether the append's process or another one needed the next segment.
    let lines =
        ["PostgreSQL's disk is full", "append failed"].map(|words| lines_with(&server, words));
    assert!(lines.iter().any(|count| *count > 0), "{}", server.stderr());

    disk.make_room();
    cluster.start_again().await;
    server.until_ready().await;
    let records = Records::of(&cluster.url()).await;
    nothing_is_lost(&records, &ada, told).await;
    assert_eq!(readiness(&server).await["writes"], "accepted");
    the_log_is_whole(&server, &records, &cluster).await;
}
