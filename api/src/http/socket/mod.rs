//! GraphQL over WebSocket, by the protocol graphql-transport-ws.
//!
//! Each socket is one task that hears and says; what it was asked to do, tasks of their own do. What it
//! says waits in a short queue; while that is full, nothing more is heard and no stream is asked for its
//! next event. What goes on is finished, and one answer of each operation waits. So a client that reads
//! slowly is served at its own pace, from the log if it falls far behind, needs little more memory than
//! one that reads fast, and holds nothing that others wait for.

mod conversation;
mod message;
mod places;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use axum::extract::{FromRequestParts, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::http::header::SEC_WEBSOCKET_PROTOCOL;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use futures::stream::SplitSink;
use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use self::conversation::Conversation;
pub use self::places::{Kind, Place, Sockets};
use super::{BODY_MAX, Sender, Shared};
use crate::telemetry::figures::Present;

/// The protocol's name in the handshake.
const PROTOCOL: &str = "graphql-transport-ws";

/// How many messages wait for a client to take them.
const QUEUE_MAX: usize = 16;

/// What a socket has ready to read into, in bytes: by default ten thousand idle ones would hold a gigabyte.
const READ_BUFFER: usize = 4 << 10;

/// From how many bytes on messages are written before the queue is empty.
const WRITE_BUFFER: usize = 4 << 10;

/// How long a client may take to answer that the socket is closed.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// Begins a socket, if the client speaks the protocol.
pub async fn upgrade(shared: Shared, sender: Sender, mut parts: Parts) -> Response {
    let offered = parts.headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let offered = offered.filter_map(|value| value.to_str().ok()).flat_map(|line| line.split(','));
    if !offered.map(str::trim).any(|protocol| protocol == PROTOCOL) {
        return (StatusCode::BAD_REQUEST, "speak graphql-transport-ws").into_response();
    }
    match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => {
            let tasks = shared.sockets.tasks.clone();
            upgrade
                .protocols([PROTOCOL])
                .read_buffer_size(READ_BUFFER)
                .write_buffer_size(WRITE_BUFFER)
                .max_message_size(BODY_MAX)
                .max_frame_size(BODY_MAX)
                .on_upgrade(move |socket| tasks.track_future(serve(shared, sender, socket)))
        }
        Err(rejection) => rejection.into_response(),
    }
}

/// Serves a socket to its end.
async fn serve(shared: Shared, sender: Sender, socket: WebSocket) {
    let _present = Present::one("orion_sockets");
    let (mut sink, mut stream) = socket.split();
    let (queue, mut queued) = mpsc::channel(QUEUE_MAX);
    let has_taken = AtomicBool::new(false);
    let conversation = Conversation::new(shared, sender, queue, &has_taken);
    let close = tokio::select! {
        close = conversation.run(&mut stream) => close,
        () = say(&mut sink, &mut queued, &has_taken) => None,
    };
    let farewell = async {
        if let Some(close) = close
            && sink.send(close.frame()).await.is_err()
        {
            return;
        }
        while let Some(Ok(_)) = stream.next().await {}
    };
    // Who does not answer is hung up on.
    let _ = timeout(CLOSE_WITHIN, farewell).await;
}

/// Says what is queued, until nobody takes it any more.
async fn say(
    sink: &mut SplitSink<WebSocket, Message>,
    queued: &mut mpsc::Receiver<Message>,
    has_taken: &AtomicBool,
) {
    while let Some(message) = queued.recv().await {
        let mut sending = sink.send(message);
        let sent = match (&mut sending).now_or_never() {
            Some(sent) => sent,
            // The system's buffers are full. When they have room, somebody has read.
            None => sending.await.inspect(|()| has_taken.store(true, Ordering::Relaxed)),
        };
        if sent.is_err() {
            return;
        }
    }
}
