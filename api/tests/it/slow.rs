//! Clients that dawdle, and more of them than there is room for: over bare TCP, as they come.

use std::time::Duration;

use orion_store::testing::database;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::eventually::{SOON, eventually};
use crate::log::Records;
use crate::server::{Server, Settings};
use crate::websocket::closing_code;

/// How long one look for bytes takes.
const LOOK: Duration = Duration::from_millis(100);

const PING: &str = "GET /health/live HTTP/1.1\r\nhost: orion\r\n\r\n";

async fn impatient(database_url: &str) -> Server {
    let settings = Settings::on(database_url).with("ORION_HEADER_TIMEOUT", "1s");
    Server::with(settings.with("ORION_BODY_TIMEOUT", "1s")).await
}

/// A connection, and what has come on it.
struct Wire {
    stream: TcpStream,
    received: String,
}

impl Wire {
    async fn to(server: &Server) -> Self {
        let address = server.url().strip_prefix("http://").unwrap();
        Self { stream: TcpStream::connect(address).await.unwrap(), received: String::new() }
    }

    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Looks for bytes for a moment; false when the server has hung up.
    async fn look(&mut self) -> bool {
        let mut bytes = [0; 4096];
        match timeout(LOOK, self.stream.read(&mut bytes)).await {
            Ok(Ok(0) | Err(_)) => false,
            Ok(Ok(count)) => {
                self.received.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
                true
            }
            Err(_) => true,
        }
    }

    /// Waits for an answer that has come whole.
    async fn answer(&mut self) {
        let deadline = Instant::now() + SOON;
        while !self.received.ends_with('}') && Instant::now() < deadline {
            assert!(self.look().await, "{}", self.received);
        }
        assert!(self.received.starts_with("HTTP/1.1 200"), "{}", self.received);
    }

    /// Sends one byte after the other until the server hangs up: how long it has borne that.
    async fn drip(&mut self, byte: &str) -> Duration {
        let begun = Instant::now();
        while self.look().await {
            assert!(begun.elapsed() < SOON, "nobody hangs up: {}", self.received);
            if self.stream.write_all(byte.as_bytes()).await.is_err() {
                break;
            }
        }
        begun.elapsed()
    }
}

#[tokio::test]
async fn who_never_finishes_a_request_is_hung_up_on() {
    let database = database().await;
    let server = impatient(&database.url).await;
    let mut head = Wire::to(&server).await;
    head.send("GET /health/live HTTP/1.1\r\nhost: orion\r\nx-slow: ").await;
    let mut silent = Wire::to(&server).await;
    let (head, silent) = tokio::join!(head.drip("a"), silent.drip(""));
    for borne in [head, silent] {
        assert!(borne >= Duration::from_millis(900), "{borne:?}");
    }
    // Others are served meanwhile, and afterwards.
    assert_eq!(server.status_of("/health/live").await, 200);
}

#[tokio::test]
async fn who_never_finishes_a_body_is_hung_up_on() {
    let database = database().await;
    let server = impatient(&database.url).await;
    for path in ["/graphql", "/api/v1/auth/login"] {
        let mut wire = Wire::to(&server).await;
        let head = format!("POST {path} HTTP/1.1\r\nhost: orion\r\ncontent-length: 1000\r\n");
        wire.send(&format!("{head}content-type: application/json\r\n\r\n{{")).await;
        let borne = wire.drip(" ").await;
        assert!(borne >= Duration::from_millis(900), "{borne:?}");
        assert!(wire.received.contains("BAD_USER_INPUT"), "{path}: {}", wire.received);
    }
}

#[tokio::test]
async fn a_connection_serves_many_requests_and_is_closed_when_idle() {
    let database = database().await;
    let server = impatient(&database.url).await;
    let mut wire = Wire::to(&server).await;
    for _ in 0..3 {
        wire.send(PING).await;
        wire.answer().await;
        wire.received.clear();
    }
    let borne = wire.drip("").await;
    assert!(borne >= Duration::from_millis(800), "{borne:?}");
}

#[tokio::test]
async fn a_socket_lives_longer_than_any_request() {
    let database = database().await;
    let server = impatient(&database.url).await;
    let mut idle = Wire::to(&server).await;
    let mut socket = server
        .admin()
        .await
        .subscribe("subscription { trendChanged { position } }", json!({}))
        .await;
    // Twice as long as a connection may be idle.
    idle.drip("").await;
    Wire::to(&server).await.drip("").await;
    socket.next_is_silence().await;
}

#[tokio::test]
async fn a_socket_on_which_nothing_is_said_is_closed() {
    let database = database().await;
    let server = impatient(&database.url).await;
    let mut socket = server.anonymous().silent_socket().await;
    assert_eq!(closing_code(&mut socket).await, 4408);
}

#[tokio::test]
async fn one_more_than_there_is_room_for_has_to_wait() {
    let database = database().await;
    let settings = Settings::on(&database.url).with("ORION_HEADER_TIMEOUT", "1s");
    let server = Server::with(settings.with("ORION_CONNECTIONS", "2")).await;
    let nobody = server.anonymous();
    let first = nobody.socket().await;
    let second = nobody.socket().await;
    let mut third = Wire::to(&server).await;
    third.send(PING).await;
    for _ in 0..10 {
        assert!(third.look().await && third.received.is_empty(), "{}", third.received);
    }
    drop(first);
    eventually("there is room again", async || {
        third.look().await;
        third.received.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    drop(second);
}

#[tokio::test]
async fn who_does_not_read_holds_nothing_that_others_wait_for() {
    const QUERIES: usize = 40;
    let database = database().await;
    let server = Server::with(Settings::on(&database.url).with("ORION_DATABASE_POOL", "4")).await;
    let ada = server.editor("ada").await;
    let trend = ada.detect_trend("a topic").await;
    let content = ada.draft_content(&trend, "long").await;
    let input = json!({ "contentId": content, "scriptBody": "x".repeat(190_000) });
    ada.mutate("editContent", input, "").await.done();
    // An answer of these fills the buffers of the connection; the queue is full soon.
    let long = format!("content(id: \"{content}\") {{ scriptBody trend {{ topic }} }}");
    let query = format!("{{ a: {long} b: {long} c: {long} d: {long} e: {long} }}");
    let mut socket = ada.narrow_socket().await;
    for number in 0..QUERIES {
        let payload = json!({ "query": query });
        socket
            .say(&json!({ "id": number.to_string(), "type": "subscribe", "payload": payload }))
            .await;
    }
    let records = Records::of(&database.url).await;
    eventually("all that was begun is finished", async || {
        // Nobody else is hindered, but for the moment in which all of them are worked out.
        let answer = timeout(SOON, ada.ask("{ trends { nodes { topic } } }", json!({}))).await;
        let answer = answer.expect("an answer");
        if answer.code() == Some("RATE_LIMITED") {
            return None;
        }
        assert_eq!(answer.data()["trends"]["nodes"][0]["topic"], "a topic");
        let open: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND state LIKE 'idle in transaction%'",
        )
        .fetch_one(&records.pool)
        .await
        .unwrap();
        (open == 0).then_some(())
    })
    .await;
    let (mut answered, mut refused) = (0, 0);
    while answered + refused < QUERIES {
        let message = socket.receive().await.expect("an answer");
        if message.to_string().contains("RATE_LIMITED") {
            refused += 1;
        } else if message["type"] == "next" {
            let script = message["payload"]["data"]["e"]["scriptBody"].as_str();
            assert_eq!(script.map(str::len), Some(190_000));
            answered += 1;
        }
    }
    // As many as there are connections are answered at least, however busy the machine is.
    assert!(answered >= 4, "{answered}");
}
