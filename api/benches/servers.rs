//! One, two and three servers on one PostgreSQL: what each more brings, and how long a killed leader is missed.
//!
//! `cargo bench -p orion-api --bench servers`, or `… -- <seconds of each load> <kills>`
//!
//! 32 connections in all, in turn to each of the servers; a connection stays with its server. One server of them leads in
//! everything, so mutations at the others wait for another process. Queries ask for 32 contents by id. The servers,
//! PostgreSQL and the load share the machine: on few cores more servers have no more of them.
//!
//! A take-over is timed from the `kill -9` of the server that leads the projector of the tables to the
//! answer of a mutation, sent to another server at once, that the tables show.

#![expect(clippy::unwrap_used, reason = "a bench that cannot run says so and ends")]

mod harness;
#[path = "harness/mutations.rs"]
mod mutations;
#[path = "harness/queries.rs"]
mod queries;

use std::time::{Duration, Instant};

use orion_store::testing::TestCluster;
use orion_store::testing::bench::{Load, Report, ratio};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use self::harness::{Connection, Server};
use self::mutations::{detect, detect_one, draft, edit};
use self::queries::{CONTENT_BY_ID, ask_in_turn, until_sealed};

const SERVERS: [usize; 3] = [1, 2, 3];
const CONNECTIONS: usize = 32;
/// How many contents are asked for, in turn.
const CONTENTS: usize = 32;
/// Each number of servers has as many turns, and its best one counts.
const ROUNDS: usize = 2;
const LOADS: [&str; 3] = ["Q1: a content by id", "detectTrend", "editContent"];

#[tokio::main]
async fn main() {
    let mut asked = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let run_for = Duration::from_secs(asked.next().unwrap_or(5));
    let kills = asked.next().unwrap_or(20);

    let cluster = TestCluster::durable().await;
    let mut report = Report::new("servers");
    let mut best = [[Load::default(); LOADS.len()]; SERVERS.len()];
    for _ in 0..ROUNDS {
        for (count, best) in SERVERS.into_iter().zip(&mut best) {
            let servers = start(&cluster, count).await;
            for (best, load) in best.iter_mut().zip(measure(&servers, run_for).await) {
                *best = best.or_better(load);
            }
        }
    }
    for (count, loads) in SERVERS.into_iter().zip(best) {
        for ((what, load), alone) in LOADS.into_iter().zip(loads).zip(best[0]) {
            report.row([
                ("servers", json!(count)),
                ("what", json!(what)),
                ("per second", json!(load.per_second)),
                ("p50 ms", json!(load.p50_ms)),
                ("p99 ms", json!(load.p99_ms)),
                ("slowest ms", Value::Null),
                ("of one server", ratio(load.per_second, alone.per_second)),
            ]);
        }
    }
    let times = take_overs(&cluster, kills).await;
    let slowest = times.iter().max().copied().unwrap_or_default();
    report.row([
        ("servers", json!(SERVERS.len())),
        ("what", json!(format!("take-over, {kills} times"))),
        ("per second", Value::Null),
        ("p50 ms", json!(Load::of(times, run_for).p50_ms)),
        ("p99 ms", Value::Null),
        ("slowest ms", json!(slowest.as_secs_f64() * 1e3)),
        ("of one server", Value::Null),
    ]);
    report.finish();
}

/// So many servers, with their process ids.
async fn start(cluster: &TestCluster, count: usize) -> Vec<(Server, u32)> {
    let mut servers = Vec::new();
    for _ in 0..count {
        servers.push(Server::start(&cluster.url()).await);
    }
    servers
}

/// Each of the loads on these servers.
async fn measure(servers: &[(Server, u32)], run_for: Duration) -> [Load; LOADS.len()] {
    let mut contents = Vec::new();
    let (first, _) = &servers[0];
    let mut connection = first.connections(1).await.remove(0);
    for _ in 0..CONTENTS {
        contents.push(draft(&mut connection).await);
    }
    until_sealed(first).await;
    [
        ask_in_turn(spread(servers).await, run_for, CONTENT_BY_ID, &contents).await,
        detect(spread(servers).await, run_for).await,
        edit(spread(servers).await, run_for).await,
    ]
}

/// The connections, in turn to each of the servers.
async fn spread(servers: &[(Server, u32)]) -> Vec<Connection> {
    let mut connections = Vec::new();
    for (number, (server, _)) in servers.iter().enumerate() {
        let share = (CONNECTIONS + number) / servers.len();
        connections.extend(server.connections(share).await);
    }
    assert_eq!(connections.len(), CONNECTIONS);
    connections
}

/// How long nothing new was shown, for each kill of who led the projector of the tables.
async fn take_overs(cluster: &TestCluster, kills: u64) -> Vec<Duration> {
    let mut servers = start(cluster, SERVERS.len()).await;
    let mut times = Vec::new();
    for kill in 0..kills {
        let (killed, pid) = servers.remove(leader(&servers).await);
        let mut connection = servers[0].0.connections(1).await.remove(0);
        // Signing in ends with a look at the leader: each kill comes some other time after it.
        tokio::time::sleep(Duration::from_millis(kill * 97 % 500)).await;
        let began = Instant::now();
        kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
        while !detect_one(&mut connection).await {}
        times.push(began.elapsed());
        drop(killed);
        servers.push(Server::start(&cluster.url()).await);
    }
    times
}

/// Which of the servers leads the projector of the tables.
async fn leader(servers: &[(Server, u32)]) -> usize {
    loop {
        for (number, (server, _)) in servers.iter().enumerate() {
            let figures = server.get("/metrics").await.map(|(_, body)| body).unwrap_or_default();
            if figures.windows(LEADS.len()).any(|window| window == LEADS) {
                return number;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The figure of who leads it.
const LEADS: &[u8] = b"orion_leader{office=\"read_model\"} 1";
