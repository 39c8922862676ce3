//! Rights that end while a socket is open: on the server where that happens, and on another.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use orion_store::testing::database;
use serde_json::{Value, json};

use crate::client::Client;
use crate::eventually::eventually;
use crate::people::id_at;
use crate::server::{ADMIN_PASSWORD, Server, Settings};
use crate::websocket::Socket;

const WATCH: &str = "subscription { trendChanged { position trend { topic } } }";

/// The key that both servers sign access tokens with.
const TOKEN_KEY: &str = "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=";

/// Two servers on one database.
async fn pair(settings: Settings) -> (Server, Server) {
    let settings = settings.with("ORION_TOKEN_KEY", TOKEN_KEY);
    tokio::join!(Server::with(settings.clone()), Server::with(settings))
}

async fn id_of(client: &Client) -> String {
    id_at(&client.query("{ me { id } }", json!({})).await, "/me/id")
}

/// Ends a person's rights in one way.
async fn end(how: &str, admin: &Client, person: &Client) {
    let user_id = id_of(person).await;
    let input = json!({ "userId": user_id });
    match how {
        "revokeSession" => {
            let sessions = person.query("{ me { sessions { nodes { id } } } }", json!({})).await;
            let id = id_at(&sessions, "/me/sessions/nodes/0/id");
            person.mutate(how, json!({ "sessionId": id }), "").await.done();
        }
        "changeRole" => {
            let input = json!({ "userId": user_id, "role": "VIEWER" });
            admin.mutate(how, input, "").await.done();
        }
        _ => {
            admin.mutate(how, input, "").await.done();
        }
    }
}

#[tokio::test]
async fn rights_that_end_close_the_sockets_on_every_server() {
    let database = database().await;
    let (here, there) = pair(Settings::on(&database.url)).await;
    let admin = here.admin().await;
    let ada = here.editor("ada").await;
    let mut others = ada.at(there.url()).subscribe(WATCH, json!({})).await;
    for how in ["revokeSession", "deactivateUser", "changeRole", "eraseUser"] {
        let name = format!("{}er", how.to_lowercase());
        let bob = here.editor(&name).await;
        let mut sockets = Vec::new();
        for url in [here.url(), there.url()] {
            let mut socket = bob.at(url).subscribe(WATCH, json!({})).await;
            // Once something was seen, the subscription has begun.
            socket.next_is_silence().await;
            sockets.push(socket);
        }
        end(how, &admin, &bob).await;
        ada.detect_trend(how).await;
        for socket in &mut sockets {
            // What comes after it in the log, nobody sees whose rights it has ended.
            assert_eq!(socket.closed().await, 4403, "{how}");
        }
        assert_eq!(others.change().await["trend"]["topic"], how, "others go on");
    }
}

#[tokio::test]
async fn a_machine_s_sockets_are_closed_with_its_token() {
    let database = database().await;
    let (here, there) = pair(Settings::on(&database.url)).await;
    let admin = here.admin().await;
    let (worker, id) = admin.machine("worker", &["TRENDS"]).await;
    let (other, _) = admin.machine("other", &["TRENDS"]).await;
    let mut socket = worker.at(there.url()).subscribe(WATCH, json!({})).await;
    socket.next_is_silence().await;
    let mut others = other.at(there.url()).subscribe(WATCH, json!({})).await;
    others.next_is_silence().await;
    admin.mutate("revokeServiceToken", json!({ "serviceTokenId": id }), "").await.done();
    other.detect_trend("afterwards").await;
    assert_eq!(socket.closed().await, 4403);
    assert_eq!(others.change().await["trend"]["topic"], "afterwards");
}

#[tokio::test]
async fn a_session_that_others_end_is_not_ours() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let (vera, _) = server.anonymous().register("vera").await;
    let again = vera.sign_in("vera@example.org", ADMIN_PASSWORD).await;
    let mut first = vera.subscribe(WATCH, json!({})).await;
    let mut second = again.subscribe(WATCH, json!({})).await;
    let sessions = again.query("{ me { sessions { nodes { id } } } }", json!({})).await;
    let newest = id_at(&sessions, "/me/sessions/nodes/0/id");
    again.mutate("revokeSession", json!({ "sessionId": newest }), "").await.done();
    // One of the two was revoked; the other goes on.
    let is_over = |client: Client| async move {
        let answer = client.ask("{ me { id } }", json!({})).await;
        answer.code() == Some("UNAUTHENTICATED")
    };
    let (over, living) = match (is_over(vera).await, is_over(again).await) {
        (true, false) => (&mut first, &mut second),
        (false, true) => (&mut second, &mut first),
        both => panic!("{both:?}"),
    };
    assert_eq!(over.closed().await, 4403);
    living.next_is_silence().await;
}

/// When a client's access token ends, in seconds of Unix time.
pub fn end_of(client: &Client) -> i64 {
    let claims = client.token.as_deref().unwrap().split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    claims["exp"].as_i64().unwrap()
}

async fn shows_token(socket: &mut Socket, token: &str) -> Option<Value> {
    let payload = json!({ "authorization": format!("Bearer {token}") });
    socket.say(&json!({ "type": "ping", "payload": payload })).await;
    socket.receive().await
}

#[tokio::test]
async fn a_socket_ends_with_its_access_token_unless_another_is_shown() {
    let database = database().await;
    let settings = Settings::on(&database.url).with("ORION_ACCESS_TOKEN_TTL", "4s");
    let server = Server::with(settings).await;
    let (vera, _) = server.anonymous().register("vera").await;
    let mut left_alone = vera.subscribe(WATCH, json!({})).await;
    let mut renewed = vera.subscribe(WATCH, json!({})).await;
    // A token ends at a whole second: one that ends later.
    let first_end = end_of(&vera);
    let again = eventually("a token that lives longer", async || {
        let again = vera.sign_in("vera@example.org", ADMIN_PASSWORD).await;
        (end_of(&again) > first_end).then_some(again)
    })
    .await;
    let pong = shows_token(&mut renewed, again.token.as_deref().unwrap()).await;
    assert_eq!(pong, Some(json!({ "type": "pong", "payload": { "authorization": "renewed" } })));
    assert_eq!(left_alone.closed().await, 4401);
    // Another token, with which the socket lives a little longer, and then ends in its turn.
    let last = again.sign_in("vera@example.org", ADMIN_PASSWORD).await;
    let pong = shows_token(&mut renewed, last.token.as_deref().unwrap()).await;
    assert_eq!(pong.unwrap()["type"], "pong");
    renewed.next_is_silence().await;
    assert_eq!(renewed.closed().await, 4401);
    // Who comes with a token that has ended is nobody.
    assert_eq!(vera.refused_socket().await, 4403);
}
