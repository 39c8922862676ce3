//! A client of the protocol graphql-transport-ws.

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};

use crate::client::{Answer, Client, position};
use crate::eventually::SOON;

/// A socket, usually with one subscription on it.
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// The position that came with `connection_ack`.
    pub acknowledged: i64,
}

impl Client {
    /// Opens a socket and says nothing.
    pub async fn silent_socket(&self) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
        let (stream, response) = connect_async(self.handshake()).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "graphql-transport-ws");
        stream
    }

    fn handshake(&self) -> Request {
        let url = format!("{}/graphql", self.url.replacen("http", "ws", 1));
        let mut request = url.into_client_request().unwrap();
        let protocol = "graphql-transport-ws".parse().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        request
    }

    /// Opens a socket and sends `connection_init`.
    async fn open(&self) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
        self.init(self.silent_socket().await).await
    }

    async fn init(
        &self,
        mut stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    ) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
        let payload = match &self.token {
            Some(token) => json!({ "authorization": format!("Bearer {token}") }),
            None => json!({}),
        };
        let init = json!({ "type": "connection_init", "payload": payload });
        stream.send(Message::text(init.to_string())).await.unwrap();
        stream
    }

    /// Opens a socket that nothing was said on.
    pub async fn unacknowledged(&self) -> Socket {
        Socket { stream: self.silent_socket().await, acknowledged: 0 }
    }

    /// Opens a socket that is acknowledged.
    pub async fn socket(&self) -> Socket {
        Self::acknowledged(self.open().await).await
    }

    /// Opens a socket for which the system keeps little that was not read yet.
    pub async fn narrow_socket(&self) -> Socket {
        let address = self.url.strip_prefix("http://").unwrap().parse().unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 << 10).unwrap();
        let stream = MaybeTlsStream::Plain(socket.connect(address).await.unwrap());
        let (stream, _) = client_async(self.handshake(), stream).await.unwrap();
        Self::acknowledged(self.init(stream).await).await
    }

    async fn acknowledged(stream: WebSocketStream<MaybeTlsStream<TcpStream>>) -> Socket {
        let mut socket = Socket { stream, acknowledged: 0 };
        let ack = socket.receive().await.expect("an acknowledgement");
        assert_eq!(ack["type"], "connection_ack", "{ack}");
        socket.acknowledged = position(&ack["payload"]["position"]);
        socket
    }

    /// Opens a socket that is refused; gives the code that it is closed with.
    pub async fn refused_socket(&self) -> u16 {
        closing_code(&mut self.open().await).await
    }

    /// Opens a socket with one subscription on it.
    pub async fn subscribe(&self, query: &str, variables: Value) -> Socket {
        let mut socket = self.socket().await;
        socket.subscribe(query, variables).await;
        socket
    }
}

/// The code that a socket is closed with before it was acknowledged.
pub async fn closing_code(stream: &mut WebSocketStream<MaybeTlsStream<TcpStream>>) -> u16 {
    loop {
        let message = timeout(SOON, stream.next()).await.expect("an answer").unwrap().unwrap();
        if let Message::Close(frame) = message {
            return frame.expect("a reason").code.into();
        }
        assert!(!message.to_string().contains("connection_ack"), "{message}");
    }
}

impl Socket {
    /// Starts the subscription.
    pub async fn subscribe(&mut self, query: &str, variables: Value) {
        let payload = json!({ "query": query, "variables": variables });
        let message = json!({ "id": "1", "type": "subscribe", "payload": payload });
        self.stream.send(Message::text(message.to_string())).await.unwrap();
    }

    /// The next answer of the subscription; nothing when it is complete or the socket is closed.
    pub async fn next(&mut self) -> Option<Answer> {
        let message = self.receive().await?;
        match message["type"].as_str().unwrap() {
            "next" => Some(Answer(message["payload"].clone())),
            "error" => Some(Answer(json!({ "errors": message["payload"] }))),
            "complete" => None,
            other => panic!("unexpected {other}: {message}"),
        }
    }

    /// The next change, of which nothing failed: what stands in the subscription's only field.
    pub async fn change(&mut self) -> Value {
        let data = self.next().await.expect("a change").data();
        data.as_object().unwrap().values().next().unwrap().clone()
    }

    /// Nothing comes of the subscription, although it has begun: a query that is sent after it is
    /// answered, and its answer is the first.
    pub async fn next_is_silence(&mut self) {
        for id in ["2", "3"] {
            let payload = json!({ "query": "{ __typename }" });
            let message = json!({ "id": id, "type": "subscribe", "payload": payload });
            self.stream.send(Message::text(message.to_string())).await.unwrap();
            for expected in ["next", "complete"] {
                let message = self.receive().await.expect("an answer");
                assert_eq!((&message["id"], &message["type"]), (&json!(id), &json!(expected)));
            }
        }
    }

    /// Sends a message.
    pub async fn say(&mut self, message: &Value) {
        self.send(Message::text(message.to_string())).await;
    }

    /// Sends a frame; a socket that is closed already takes none, and says why when it is read.
    pub async fn send(&mut self, frame: Message) {
        let _ = self.stream.send(frame).await;
    }

    /// Reads to the end: the messages until then, the code that the socket is closed with, and why.
    pub async fn drained(&mut self) -> (Vec<Value>, u16, String) {
        let mut messages = Vec::new();
        loop {
            match timeout(SOON, self.stream.next()).await.expect("an end in time") {
                Some(Ok(Message::Text(text))) => {
                    messages.push(serde_json::from_str(&text).unwrap());
                }
                Some(Ok(Message::Close(frame))) => {
                    let frame = frame.expect("a reason");
                    return (messages, frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(_)) => {}
                other => panic!("closed without a code: {other:?}"),
            }
        }
    }

    /// Reads to the end, whether or not the socket says why it has ended.
    pub async fn is_cut(&mut self) {
        while let Some(Ok(_)) = timeout(SOON, self.stream.next()).await.expect("an end in time") {}
    }

    /// The code that the socket is closed with after nothing but what was said before.
    pub async fn closed(&mut self) -> u16 {
        let (messages, code, _) = self.drained().await;
        assert_eq!(messages, Vec::<Value>::new());
        code
    }

    /// The next message; nothing when the socket is closed.
    pub async fn receive(&mut self) -> Option<Value> {
        loop {
            match timeout(SOON, self.stream.next()).await.expect("a message in time")?.ok()? {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(_) => return None,
                Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {}
            }
        }
    }
}
