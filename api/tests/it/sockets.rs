//! The protocol graphql-transport-ws: what is refused, with which code, and what bounds a socket.

use std::time::Duration;

use orion_store::testing::database;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{connect_async, tungstenite};

use crate::client::Client;
use crate::eventually::{SOON, eventually};
use crate::server::{Server, Settings};
use crate::websocket::Socket;

const WATCH: &str = "subscription { trendChanged { position trend { topic } } }";

/// How many operations one socket may have.
const STREAMS_MAX: usize = 100;

/// How many sockets one account may have.
const SOCKETS_MAX: usize = 20;

/// A message that begins an operation.
fn operation(id: &str, query: &str) -> Value {
    json!({ "id": id, "type": "subscribe", "payload": { "query": query } })
}

fn frame(message: &Value) -> Message {
    Message::text(message.to_string())
}

fn ping_with(token: &str) -> Value {
    json!({ "type": "ping", "payload": { "authorization": format!("Bearer {token}") } })
}

/// Somebody who watches, and must not notice what others do wrong.
struct Neighbour {
    editor: Client,
    socket: Socket,
}

impl Neighbour {
    async fn at(server: &Server) -> Self {
        let editor = server.editor("neighbour").await;
        let socket = editor.subscribe(WATCH, json!({})).await;
        Self { editor, socket }
    }

    async fn is_undisturbed(&mut self) {
        self.editor.detect_trend("still here").await;
        assert_eq!(self.socket.change().await["trend"]["topic"], "still here");
    }
}

#[tokio::test]
async fn what_the_protocol_does_not_allow_closes_the_socket_with_its_code() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let mut neighbour = Neighbour::at(&server).await;
    let ada = server.editor("ada").await;
    let bob = server.editor("bob").await;
    let init = json!({ "type": "connection_init" });
    let init_by = |authorization: Value| {
        frame(&json!({ "type": "connection_init", "payload": { "authorization": authorization } }))
    };

    let before: [(&str, Vec<Message>, u16); 14] = [
        ("no JSON", vec![Message::text("{")], 4400),
        ("no object", vec![Message::text("[]")], 4400),
        ("empty", vec![Message::text("")], 4400),
        ("bytes", vec![Message::binary(init.to_string())], 4400),
        ("no type", vec![frame(&json!({ "id": "1" }))], 4400),
        ("another type", vec![frame(&json!({ "type": "start", "id": "1" }))], 4400),
        ("a type for clients", vec![frame(&json!({ "type": "connection_ack" }))], 4400),
        ("a payload that is none", vec![frame(&json!({ "type": "ping", "payload": 1 }))], 4400),
        ("deep", vec![Message::text(format!("{{\"type\":{}", "[".repeat(10_000)))], 4400),
        ("too early", vec![frame(&operation("1", "{ __typename }"))], 4401),
        ("a token too early", vec![frame(&ping_with("x"))], 4401),
        ("a foreign token", vec![init_by(json!("Bearer x"))], 4403),
        ("another scheme", vec![init_by(json!("Basic YTpi"))], 4403),
        ("a token that is no text", vec![init_by(json!(5))], 4403),
    ];
    for (what, frames, code) in before {
        let mut socket = server.anonymous().unacknowledged().await;
        for frame in frames {
            socket.send(frame).await;
        }
        assert_eq!(socket.closed().await, code, "{what}");
    }

    let big = "x".repeat(1_048_577);
    let bobs = bob.token.clone().unwrap();
    let watch = operation("1", WATCH);
    let after: [(&str, Vec<Message>, u16); 12] = [
        ("no JSON", vec![Message::text("}")], 4400),
        (
            "an operation without a query",
            vec![frame(&json!({ "id": "1", "type": "subscribe", "payload": {} }))],
            4400,
        ),
        (
            "an operation without a name",
            vec![frame(&json!({ "type": "subscribe", "payload": { "query": "{ a }" } }))],
            4400,
        ),
        (
            "variables that are none",
            vec![frame(&json!({ "id": "1", "type": "subscribe",
            "payload": { "query": "{ a }", "variables": [1] } }))],
            4400,
        ),
        ("complete without a name", vec![frame(&json!({ "type": "complete" }))], 4400),
        ("a name that is too long", vec![frame(&operation(&"x".repeat(257), WATCH))], 4400),
        ("a name twice", vec![frame(&watch), frame(&watch)], 4409),
        ("init again", vec![frame(&init)], 4429),
        ("a foreign token", vec![frame(&ping_with("x"))], 4403),
        ("another's token", vec![frame(&ping_with(&bobs))], 4403),
        (
            "a token that is no text",
            vec![frame(&json!({ "type": "ping", "payload": { "authorization": [] } }))],
            4403,
        ),
        ("too big", vec![Message::text(big)], 1009),
    ];
    for (what, frames, code) in after {
        let mut socket = ada.socket().await;
        for frame in frames {
            socket.send(frame).await;
        }
        assert_eq!(socket.closed().await, code, "{what}");
    }
    neighbour.is_undisturbed().await;
}

#[tokio::test]
async fn a_long_name_is_told_in_a_short_reason() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let mut socket = server.viewer("vera").await.socket().await;
    let watch = operation(&"é".repeat(128), WATCH);
    socket.say(&watch).await;
    socket.say(&watch).await;
    let (_, code, reason) = socket.drained().await;
    assert_eq!(code, 4409);
    assert!(reason.starts_with("Subscriber for ééé"), "{reason}");
}

#[tokio::test]
async fn only_this_protocol_is_spoken() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    for protocol in [None, Some("graphql-ws"), Some("mqtt")] {
        let url = format!("{}/graphql", server.url().replacen("http", "ws", 1));
        let mut request = url.into_client_request().unwrap();
        if let Some(protocol) = protocol {
            request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
        }
        match connect_async(request).await {
            Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), 400),
            other => panic!("{protocol:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn operations_are_answered_completed_and_refused() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.editor("ada").await;
    let mut socket = ada.unacknowledged().await;
    // Before anything else, too.
    socket.say(&json!({ "type": "ping", "payload": { "any": "thing" } })).await;
    assert_eq!(socket.receive().await, Some(json!({ "type": "pong" })));
    socket.say(&json!({ "type": "pong" })).await;
    let authorization = format!("Bearer {}", ada.token.as_deref().unwrap());
    let init = json!({ "type": "connection_init", "payload": { "authorization": authorization } });
    socket.say(&init).await;
    let ack = socket.receive().await.unwrap();
    assert_eq!(ack["type"], "connection_ack");
    assert!(ack["payload"]["position"].is_string(), "{ack}");

    // A query has an answer and an end.
    socket.say(&operation("q", "{ me { name } }")).await;
    let next = socket.receive().await.unwrap();
    assert_eq!(next["payload"]["data"], json!({ "me": { "name": "ada" } }));
    assert!(next["payload"]["extensions"]["position"].is_string(), "{next}");
    assert_eq!(socket.receive().await, Some(json!({ "type": "complete", "id": "q" })));
    // A name is free again after the end.
    socket.say(&operation("q", "query A { __typename } query B { me { id } }")).await;
    let refused = socket.receive().await.unwrap();
    assert_eq!((&refused["type"], &refused["id"]), (&json!("error"), &json!("q")));
    assert_eq!(refused["payload"][0]["extensions"]["code"], "BAD_USER_INPUT");
    // What fails before it begins is an error and has no other end.
    for query in ["{", "{ nonsense }", "subscription { nonsense }", "subscription {"] {
        socket.say(&operation("e", query)).await;
        let refused = socket.receive().await.unwrap();
        assert_eq!((&refused["type"], &refused["id"]), (&json!("error"), &json!("e")), "{query}");
        assert_eq!(refused["payload"][0]["extensions"]["code"], "BAD_USER_INPUT", "{query}");
    }
    // What fails in its field is an answer.
    socket.say(&operation("f", "subscription { events { position } }")).await;
    let failed = socket.receive().await.unwrap();
    assert_eq!(failed["payload"]["errors"][0]["extensions"]["code"], "FORBIDDEN", "{failed}");
    assert_eq!(socket.receive().await, Some(json!({ "type": "complete", "id": "f" })));

    // A stream that the client has completed says nothing more; its name is free at once.
    socket.say(&operation("s", WATCH)).await;
    socket.say(&json!({ "type": "complete", "id": "s" })).await;
    socket.say(&json!({ "type": "complete", "id": "nobody" })).await;
    socket.say(&operation("s", "{ __typename }")).await;
    assert_eq!(socket.receive().await.unwrap()["payload"]["data"]["__typename"], "Query");
    assert_eq!(socket.receive().await, Some(json!({ "type": "complete", "id": "s" })));
    ada.detect_trend("unseen").await;
    socket.next_is_silence().await;
    socket.send(Message::Close(None)).await;
    assert_eq!(socket.receive().await, None);
}

#[tokio::test]
async fn a_socket_has_so_many_operations_and_no_more() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.editor("ada").await;
    let mut socket = ada.socket().await;
    let after = socket.acknowledged;
    let watch = format!("subscription {{ trendChanged(after: \"{after}\") {{ position }} }}");
    for number in 0..=STREAMS_MAX {
        socket.say(&operation(&number.to_string(), &watch)).await;
    }
    let refused = socket.receive().await.unwrap();
    assert_eq!((&refused["type"], &refused["id"]), (&json!("error"), &json!("100")));
    assert_eq!(refused["payload"][0]["extensions"]["code"], "TOO_MANY_STREAMS");
    // One that ends makes room, and the others go on.
    socket.say(&json!({ "type": "complete", "id": "0" })).await;
    socket.say(&operation("100", &watch)).await;
    ada.detect_trend("a topic").await;
    let mut told = Vec::new();
    while told.len() < STREAMS_MAX {
        let next = socket.receive().await.unwrap();
        assert_eq!(next["type"], "next", "{next}");
        told.push(next["id"].as_str().unwrap().parse::<usize>().unwrap());
    }
    told.sort_unstable();
    assert_eq!(told, (1..=STREAMS_MAX).collect::<Vec<_>>());
    let metrics = server.metrics().await;
    assert!(metrics.contains("\norion_sockets 1\n"), "{metrics}");
    assert!(metrics.contains("\norion_subscriptions 100\n"), "{metrics}");
    drop(socket);
    eventually("the operations end with the socket", async || {
        server.metrics().await.contains("\norion_subscriptions 0\n").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_socket_s_operations_have_so_many_bytes_and_no_more() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.editor("ada").await;
    let mut socket = ada.socket().await;
    // As long as a message may be; a comment costs nothing else.
    let watch = format!("{WATCH} #{}", "x".repeat(1_048_000));
    for id in ["1", "2"] {
        socket.say(&operation(id, &watch)).await;
    }
    for id in ["3", "4"] {
        socket.say(&operation(id, &watch)).await;
        let refused = socket.receive().await.unwrap();
        assert_eq!((&refused["type"], &refused["id"]), (&json!("error"), &json!(id)));
        assert_eq!(refused["payload"][0]["extensions"]["code"], "TOO_MANY_STREAMS", "{refused}");
    }
    // Those that were taken go on; one that ends makes room.
    socket.say(&json!({ "type": "complete", "id": "1" })).await;
    eventually("there is room again", async || {
        socket
            .say(&operation("query", &format!("{{ __typename }} #{}", "x".repeat(1_048_000))))
            .await;
        let answer = socket.receive().await.unwrap();
        if answer["type"] == "error" {
            return None;
        }
        assert_eq!(socket.receive().await, Some(json!({ "type": "complete", "id": "query" })));
        Some(())
    })
    .await;
    ada.detect_trend("a topic").await;
    let next = socket.receive().await.unwrap();
    assert_eq!((&next["type"], &next["id"]), (&json!("next"), &json!("2")));
}

#[tokio::test]
async fn an_account_has_so_many_sockets_and_no_more() {
    let database = database().await;
    let settings = Settings::on(&database.url).with("ORION_RATE_LIMITS", "on");
    let server = Server::with(settings).await;
    let vera = server.viewer("vera").await;
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS_MAX {
        sockets.push(vera.socket().await);
    }
    assert_eq!(vera.refused_socket().await, 4429);
    // Another account has its own.
    server.viewer("otto").await.socket().await;
    // Who was refused has taken no place, and one that ends makes room.
    sockets.pop();
    eventually("there is room again", async || {
        let mut socket = vera.unacknowledged().await;
        let authorization = format!("Bearer {}", vera.token.as_deref().unwrap());
        let init =
            json!({ "type": "connection_init", "payload": { "authorization": authorization } });
        socket.say(&init).await;
        socket.receive().await.filter(|message| message["type"] == "connection_ack").map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_socket_that_gives_no_sign_of_life_is_closed() {
    let database = database().await;
    let settings = Settings::on(&database.url).with("ORION_SOCKET_PING", "1s");
    let server = Server::with(settings).await;
    let ada = server.editor("ada").await;
    let mut silent = ada.subscribe(WATCH, json!({})).await;
    let mut living = ada.subscribe(WATCH, json!({})).await;
    // Nobody reads what comes on the one, so nobody answers its pings.
    let gone = async {
        eventually("the silent one is closed", async || {
            server.metrics().await.contains("\norion_sockets 1\n").then_some(())
        })
        .await;
        ada.detect_trend("afterwards").await;
    };
    let (change, ()) = tokio::join!(living.change(), gone);
    assert_eq!(change["trend"]["topic"], "afterwards");
    // Whoever wakes up finds it cut: its answers to the pings reach nobody.
    silent.is_cut().await;
}

#[tokio::test]
async fn who_reads_slowly_is_not_gone() {
    let database = database().await;
    let settings = Settings::on(&database.url).with("ORION_SOCKET_PING", "1s");
    let server = Server::with(settings).await;
    let ada = server.editor("ada").await;
    let trend = ada.detect_trend("a topic").await;
    let content = ada.draft_content(&trend, "long").await;
    let script = "x".repeat(190_000);
    let mut expected = 1;
    for number in 0..20 {
        let input = json!({ "contentId": content, "scriptBody": format!("{number}{script}") });
        ada.mutate("editContent", input, "").await.done();
        expected += 1;
    }
    // Ten times what fits into the sockets' buffers, in small sips.
    let watch = "subscription { contentChanged(after: \"0\") { position content { scriptBody } } }";
    let mut socket = ada.narrow_socket().await;
    for number in 0..10 {
        socket.say(&operation(&format!("watch {number}"), watch)).await;
    }
    for _ in 0..10 * expected {
        let next = socket.receive().await.expect("the next sip");
        assert_eq!(next["type"], "next", "{}", next["type"]);
        let _ = timeout(Duration::from_millis(20), std::future::pending::<()>()).await;
    }
    socket.next_is_silence().await;
}

#[tokio::test]
async fn a_server_that_stops_says_so() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let mut socket = server.viewer("vera").await.subscribe(WATCH, json!({})).await;
    let ((ended, _), (messages, code, _)) = tokio::join!(server.terminate(), socket.drained());
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!((messages, CloseCode::from(code)), (vec![], CloseCode::Away));
}

#[tokio::test]
async fn who_is_far_behind_is_refilled_from_the_log() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.editor("ada").await;
    for number in 0..5 {
        ada.detect_trend(&format!("topic {number}")).await;
    }
    // A server that has just started has no event in its memory.
    let server = server.kill9().await.start_again().await;
    let refills = async || {
        let name = "orion_tail_reads_total{reader=\"subscription\",source=\"database\"} ";
        let metrics = server.metrics().await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |count| count.parse::<u64>().unwrap())
    };
    let before = refills().await;
    let query = "subscription { trendChanged(after: \"0\") { trend { topic } } }";
    let mut socket = ada.at(server.url()).subscribe(query, json!({})).await;
    for number in 0..5 {
        let change = timeout(SOON, socket.change()).await.unwrap();
        assert_eq!(change["trend"]["topic"], format!("topic {number}"));
    }
    assert!(refills().await > before);
}
