//! What is said over graphql-transport-ws, and the codes that sockets are closed with.

use std::borrow::Cow;

use async_graphql::{Request, Variables};
use axum::extract::ws::{CloseFrame, Message};
use orion_store::Position;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::http::bearer;
use crate::http::watch::Told;

/// The most bytes of the reason in a close frame.
const REASON_BYTES_MAX: usize = 123;

/// What a client says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Heard {
    /// Who it is.
    ConnectionInit {
        /// With `authorization`, as it would be in a header.
        payload: Option<Map<String, Value>>,
    },
    /// It wants an operation's answers.
    Subscribe {
        /// The name that the client gave the operation.
        id: String,
        /// The operation.
        payload: Operation,
    },
    /// It wants no more answers.
    Complete {
        /// Of this operation.
        id: String,
    },
    /// It asks for a sign of life, and may show another token.
    Ping {
        /// With `authorization`, as at the beginning.
        payload: Option<Map<String, Value>>,
    },
    /// It gives a sign of life.
    Pong {},
}

/// An operation as a client sends it.
#[derive(Debug, Deserialize)]
pub struct Operation {
    query: String,
    #[serde(rename = "operationName")]
    name: Option<String>,
    variables: Option<Map<String, Value>>,
    extensions: Option<Map<String, Value>>,
}

impl From<Operation> for Request {
    fn from(operation: Operation) -> Self {
        let Operation { query, name, variables, extensions } = operation;
        let variables = Value::Object(variables.unwrap_or_default());
        let mut request = Self::new(query).variables(Variables::from_json(variables));
        request.operation_name = name.filter(|name| !name.is_empty());
        let extensions = extensions.unwrap_or_default().into_iter();
        request.extensions.extend(extensions.filter_map(|(name, value)| {
            Some((name, async_graphql::Value::from_json(value).ok()?))
        }));
        request
    }
}

/// The token of a payload. What is no text is a token that never fits.
pub fn token_of(payload: Option<&Map<String, Value>>) -> Option<String> {
    let value = payload?.get("authorization")?;
    Some(bearer(value.as_str().unwrap_or_default()))
}

/// What the server says.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Said<'a> {
    /// Operations are welcome.
    ConnectionAck {
        /// Where the client may resume before its first event.
        payload: Acknowledged,
    },
    /// A sign of life.
    Pong {
        /// What became of a token.
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<Renewed>,
    },
    /// The operation was refused before it was begun.
    Error {
        /// Which operation.
        id: &'a str,
        /// Why.
        payload: Value,
    },
    /// There are no more answers.
    Complete {
        /// Of this operation.
        id: &'a str,
    },
}

/// What `connection_ack` tells.
#[derive(Debug, Serialize)]
pub struct Acknowledged {
    position: String,
}

impl From<Position> for Acknowledged {
    fn from(position: Position) -> Self {
        Self { position: position.to_string() }
    }
}

/// A token was taken.
#[derive(Debug, Serialize)]
pub struct Renewed {
    authorization: &'static str,
}

impl Renewed {
    /// The only thing that can be said of it.
    pub const YES: Self = Self { authorization: "renewed" };
}

impl Said<'_> {
    /// As it goes over the wire.
    pub fn message(&self) -> Result<Message, Close> {
        let text = serde_json::to_string(self).map_err(|_| Close::INTERNAL)?;
        Ok(Message::Text(text.into()))
    }
}

/// An answer of the operation `id`, as it goes over the wire: it was written before, for all who get it.
pub fn next(id: &str, told: &Told) -> Result<Message, Close> {
    let id = serde_json::to_string(id).map_err(|_| Close::INTERNAL)?;
    let text = format!(r#"{{"type":"next","id":{id},"payload":{}}}"#, told.json);
    Ok(Message::Text(text.into()))
}

/// Why the server closes a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close(pub u16, pub Cow<'static, str>);

impl Close {
    /// The server stops.
    pub const GOING_AWAY: Self = Self::new(1001, "Going away");
    /// A frame that is against the rules of WebSocket.
    pub const PROTOCOL: Self = Self::new(1002, "Protocol error");
    /// A message is larger than what is taken.
    pub const TOO_BIG: Self = Self::new(1009, "Message too big");
    /// Nothing was heard for too long: nobody seems to be there.
    pub const TIMEOUT: Self = Self::new(4408, "No sign of life");
    /// A message that the protocol does not know.
    pub const INVALID: Self = Self::new(4400, "Invalid message received");
    /// An operation before the connection was acknowledged.
    pub const UNAUTHORIZED: Self = Self::new(4401, "Unauthorized");
    /// The access token has come to its end and was not renewed.
    pub const EXPIRED: Self = Self::new(4401, "The access token has expired");
    /// The token is not one of ours, or the rights have ended.
    pub const FORBIDDEN: Self = Self::new(4403, "Forbidden");
    /// Nobody has said who it is.
    pub const INIT_TIMEOUT: Self = Self::new(4408, "Connection initialisation timeout");
    /// Who it is was said twice.
    pub const TOO_MANY_INITS: Self = Self::new(4429, "Too many initialisation requests");
    /// The account has as many sockets as it may.
    pub const TOO_MANY_SOCKETS: Self = Self::new(4429, "Too many sockets");
    /// Its address shows tokens too often.
    pub const TOO_MANY_TOKENS: Self = Self::new(4429, "Too many tokens");
    /// Too many want the same at this moment.
    pub const OVERLOADED: Self = Self::new(4429, "Too many requests");
    /// A failure of ours.
    pub const INTERNAL: Self = Self::new(4500, "Internal server error");

    const fn new(code: u16, reason: &'static str) -> Self {
        Self(code, Cow::Borrowed(reason))
    }

    /// An operation of this name goes on already.
    pub fn already_exists(id: &str) -> Self {
        Self(4409, format!("Subscriber for {id} already exists").into())
    }

    /// As it goes over the wire.
    pub fn frame(self) -> Message {
        let Self(code, mut reason) = self;
        if reason.len() > REASON_BYTES_MAX {
            let end = reason.floor_char_boundary(REASON_BYTES_MAX);
            reason = reason[..end].to_owned().into();
        }
        Message::Close(Some(CloseFrame { code, reason: reason.as_ref().into() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_have_their_fields() {
        for good in [
            json!({ "type": "connection_init" }),
            json!({ "type": "connection_init", "payload": null }),
            json!({ "type": "connection_init", "payload": { "any": 1 } }),
            json!({ "type": "subscribe", "id": "1", "payload": { "query": "{ a }" } }),
            json!({ "type": "subscribe", "id": "1", "payload": {
                "query": "{ a }", "operationName": null, "variables": null, "extensions": {} } }),
            json!({ "type": "complete", "id": "1" }),
            json!({ "type": "ping" }),
            json!({ "type": "pong", "payload": {} }),
        ] {
            assert!(serde_json::from_value::<Heard>(good.clone()).is_ok(), "{good}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let Message::Close(Some(frame)) = Close::already_exists(&"é".repeat(200)).frame() else {
            panic!("no close frame");
        };
        assert!(frame.reason.len() <= REASON_BYTES_MAX);
        assert!(frame.reason.starts_with("Subscriber for éé"));
    }
}
