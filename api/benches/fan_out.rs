//! One busy content, watched over 1,000 and 10,000 sockets: from the append to the last delivery.
//!
//! `cargo bench -p orion-api --bench fan_out`
//!
//! The sockets belong to sessions of 100 each; an event is executed once for each session. The server, PostgreSQL
//! and the clients, which read everything, share the machine.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that cannot run says so and ends"
)]

mod harness;
#[path = "harness/memory.rs"]
mod memory;

use std::time::{Duration, Instant};

use futures::stream::FuturesUnordered;
use futures::{SinkExt as _, StreamExt as _};
use orion_store::testing::TestCluster;
use orion_store::testing::bench::{Load, Report};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use self::harness::{Connection, Server};
use self::memory::memory_kib;

const SOCKETS: [usize; 2] = [1_000, 10_000];
const SOCKETS_PER_SESSION: usize = 100;
/// How many sockets are opened at the same time.
const OPENING: usize = 50;
const EVENTS: usize = 30;
const PATIENCE: Duration = Duration::from_mins(1);

const WATCH: &str = "subscription ($id: ID) { contentChanged(id: $id) { position eventType content { id title status } } }";

#[tokio::main]
async fn main() {
    let cluster = TestCluster::durable().await;
    let mut report = Report::new("fan_out");
    for sockets in SOCKETS {
        let (server, pid) = Server::start(&cluster.url()).await;
        let mut editor = server.connections(1).await.remove(0);
        let content = draft(&mut editor).await;
        edit(&mut editor, &content, 0).await; // the first one warms up
        let before = memory_kib(pid);
        let (delivered, mut deliveries) = mpsc::unbounded_channel();
        open(&server, sockets, &content, &delivered).await;
        let idle = memory_kib(pid);
        // The first one was idle for too long by now.
        let mut editor = server.connections(1).await.remove(0);

        let (mut last, cpu, began) = (Vec::new(), cpu_s(pid), Instant::now());
        for turn in 1..=EVENTS {
            let sent = Instant::now();
            edit(&mut editor, &content, turn).await;
            for _ in 0..sockets {
                timeout(PATIENCE, deliveries.recv()).await.expect("it is delivered").unwrap();
            }
            last.push(sent.elapsed());
        }
        let (cpu, wall) = (cpu_s(pid) - cpu, began.elapsed());
        let slowest = last.iter().max().copied().unwrap_or_default();
        let busy = memory_kib(pid);
        let figures = Load::of(last, wall);
        #[expect(clippy::cast_precision_loss, reason = "there are few")]
        let (count, messages) = (sockets as f64, (sockets * EVENTS) as f64);
        report.row([
            ("sockets", json!(sockets)),
            ("sessions", json!(sockets / SOCKETS_PER_SESSION)),
            ("last delivery p50 ms", json!(figures.p50_ms)),
            ("slowest ms", json!(slowest.as_secs_f64() * 1e3)),
            ("KiB a socket, idle", json!((idle - before) / count)),
            ("KiB a socket, busy", json!((busy - before) / count)),
            ("server's CPU, us a delivery", json!(cpu * 1e6 / messages)),
            ("deliveries/s", json!(messages / wall.as_secs_f64())),
        ]);
    }
    report.finish();
}

/// The seconds that a process has used of the processors.
fn cpu_s(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
    // User and system, in the 100 ticks a second that Linux shows.
    (ticks(11) + ticks(12)) / 100.0
}

async fn draft(editor: &mut Connection) -> Value {
    let query =
        "mutation ($input: DetectTrendInput!) { detectTrend(input: $input) { trend { id } } }";
    let input = json!({ "topic": "a topic", "source": "rss", "score": 0.5 });
    let trend = editor.data(query, json!({ "input": input })).await;
    let query =
        "mutation ($input: DraftContentInput!) { draftContent(input: $input) { content { id } } }";
    let input = json!({ "trendId": trend["detectTrend"]["trend"]["id"], "title": "A title" });
    editor.data(query, json!({ "input": input })).await["draftContent"]["content"]["id"].take()
}

async fn edit(editor: &mut Connection, content: &Value, turn: usize) {
    let query =
        "mutation ($input: EditContentInput!) { editContent(input: $input) { errors { code } } }";
    let input = json!({ "contentId": content, "title": format!("Title {turn}") });
    editor.data(query, json!({ "input": input })).await;
}

/// Opens sockets that watch the content; each tells of every message that it gets.
async fn open(
    server: &Server,
    sockets: usize,
    content: &Value,
    delivered: &mpsc::UnboundedSender<()>,
) {
    let mut opening = FuturesUnordered::new();
    let mut token = String::new();
    for number in 0..sockets {
        if number % SOCKETS_PER_SESSION == 0 {
            token = server.sign_in().await;
        }
        opening.push(watch(server, token.clone(), content, delivered.clone()));
        if opening.len() == OPENING {
            opening.next().await;
        }
    }
    while opening.next().await.is_some() {}
}

async fn watch(
    server: &Server,
    token: String,
    content: &Value,
    delivered: mpsc::UnboundedSender<()>,
) {
    let mut request = format!("ws://{}/graphql", server.address).into_client_request().unwrap();
    let protocol = "graphql-transport-ws".parse().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", protocol);
    let stream = TcpStream::connect(server.address).await.unwrap();
    // So that the clients of this process do not need the machine's memory.
    let config = WebSocketConfig::default().read_buffer_size(4 << 10).write_buffer_size(0);
    let (mut socket, _) = client_async_with_config(request, stream, Some(config)).await.unwrap();
    let payload = json!({ "authorization": format!("Bearer {token}") });
    say(&mut socket, &json!({ "type": "connection_init", "payload": payload })).await;
    let ack = heard(&mut socket).await;
    assert!(ack.contains("connection_ack"), "{ack}");
    let payload = json!({ "query": WATCH, "variables": { "id": content } });
    say(&mut socket, &json!({ "id": "1", "type": "subscribe", "payload": payload })).await;
    // What is said on a socket is heard in order: with the answer the subscription is there.
    say(&mut socket, &json!({ "type": "ping" })).await;
    let pong = heard(&mut socket).await;
    assert!(pong.contains("pong"), "{pong}");
    tokio::spawn(async move {
        while let Some(Ok(message)) = socket.next().await {
            let Message::Text(text) = message else { continue }; // a sign of life
            assert!(text.contains("\"next\""), "{text}");
            if delivered.send(()).is_err() {
                return;
            }
        }
    });
}

async fn say(socket: &mut WebSocketStream<TcpStream>, message: &Value) {
    socket.send(Message::text(message.to_string())).await.unwrap();
}

async fn heard(socket: &mut WebSocketStream<TcpStream>) -> String {
    loop {
        let message = timeout(PATIENCE, socket.next()).await.expect("an answer");
        if let Message::Text(text) = message.unwrap().unwrap() {
            return text.to_string();
        }
    }
}
