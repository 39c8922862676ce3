//! GraphQL over a WebSocket.

use async_graphql::Data;
use async_graphql::http::ALL_WEBSOCKET_PROTOCOLS;
use async_graphql_axum::{GraphQLProtocol, GraphQLWebSocket};
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use axum::extract::{FromRequestParts, WebSocketUpgrade};
use axum::http::{StatusCode, request::Parts};
use axum::response::IntoResponse;
use futures::{SinkExt as _, StreamExt as _, stream};
use serde::Deserialize;
use tokio::time::timeout;

use super::super::{BODY_MAX, Sender, Shared, bearer, bearer_of, caller_with};
use super::{auth_error, failed};
use crate::graphql::context::App;
use crate::graphql::error::coded;
use crate::telemetry::figures::Present;

/// Begins a WebSocket.
pub(super) async fn upgrade(
    shared: Shared,
    sender: Sender,
    mut parts: Parts,
) -> axum::response::Response {
    if !shared.edge.origins.admit(&sender.headers) {
        let error = coded("pages of this origin may not open a socket", "FORBIDDEN");
        return (StatusCode::FORBIDDEN, failed(error)).into_response();
    }
    let Ok(protocol) = GraphQLProtocol::from_request_parts(&mut parts, &()).await else {
        return (StatusCode::BAD_REQUEST, "speak graphql-transport-ws").into_response();
    };
    match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade
            .protocols(ALL_WEBSOCKET_PROTOCOLS)
            .max_message_size(BODY_MAX)
            .on_upgrade(move |socket| serve(shared, sender, socket, protocol)),
        Err(rejection) => rejection.into_response(),
    }
}

/// What a client is told that opens a socket and says nothing.
const INIT_TIMEOUT: CloseFrame =
    CloseFrame { code: 4408, reason: Utf8Bytes::from_static("Connection initialisation timeout") };

/// What a client says when a socket begins.
#[derive(Deserialize)]
struct Init {
    authorization: Option<String>,
}

async fn serve(shared: Shared, sender: Sender, socket: WebSocket, protocol: GraphQLProtocol) {
    let (mut sink, mut stream) = socket.split();
    let Ok(first) = timeout(shared.edge.head_within, stream.next()).await else {
        let _ = sink.send(Message::Close(Some(INIT_TIMEOUT))).await;
        return;
    };
    let stream = stream::iter(first).chain(stream);
    let app = shared.app.clone();
    let sink = sink.with(move |message| {
        let message = acknowledged(message, &app);
        std::future::ready(Ok::<_, axum::Error>(message))
    });
    // Until the socket is closed, its connection counts as open.
    let _open = sender.clone();
    let _socket = Present::one("orion_sockets");
    let init = {
        let app = shared.app.clone();
        move |payload: serde_json::Value| async move {
            let init = Init::deserialize(payload).ok();
            let token = init.and_then(|init| init.authorization).map(|value| bearer(&value));
            let token = token.or_else(|| bearer_of(&sender));
            let caller = caller_with(&app, &sender, token.as_deref()).await.map_err(auth_error)?;
            let mut data = Data::default();
            data.insert(caller);
            Ok(data)
        }
    };
    GraphQLWebSocket::new_with_pair(sink, stream, shared.schema, protocol)
        .on_connection_init(init)
        .serve()
        .await;
}

/// Puts the position into `connection_ack`, so that a client can resume before its first event.
fn acknowledged(message: Message, app: &App) -> Message {
    if !matches!(&message, Message::Text(text) if text.as_str() == r#"{"type":"connection_ack"}"#) {
        return message;
    }
    let position = app.bus.log().tail().head().to_string();
    let ack = serde_json::json!({ "type": "connection_ack", "payload": { "position": position } });
    Message::Text(ack.to_string().into())
}
