//! GraphQL over HTTP and WebSocket.

use async_graphql::http::{ALL_WEBSOCKET_PROTOCOLS, GraphiQLSource};
use async_graphql::parser::types::OperationType;
use async_graphql::{BatchResponse, Data, Request, Response};
use async_graphql_axum::rejection::GraphQLRejection;
use async_graphql_axum::{GraphQLBatchRequest, GraphQLProtocol, GraphQLResponse, GraphQLWebSocket};
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use axum::extract::{FromRequestParts, RawQuery, State, WebSocketUpgrade};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, UPGRADE};
use axum::http::{StatusCode, request::Parts};
use axum::response::{Html, IntoResponse};
use futures::{SinkExt as _, StreamExt as _, stream};
use serde::Deserialize;
use tokio::time::timeout;

use super::{BODY_MAX, Sender, Shared, bearer, bearer_of, caller, caller_with};
use crate::auth::AuthError;
use crate::graphql::context::{App, Caller};
use crate::graphql::error::{coded, internal};
use crate::graphql::limits::retry_after_ms;
use crate::graphql::request_of;
use crate::limits::seconds;

/// Lets only JSON through: what else there is, a page of another site can send without asking first.
pub struct JsonOnly;

impl<S: Sync> FromRequestParts<S> for JsonOnly {
    type Rejection = axum::response::Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let kind = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("application/json") {
            return Ok(Self);
        }
        let error = coded("the content type must be application/json", "BAD_USER_INPUT");
        Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, failed(error)).into_response())
    }
}

/// Runs a query or a mutation.
pub async fn post(
    State(shared): State<Shared>,
    sender: Sender,
    _: JsonOnly,
    request: Result<GraphQLBatchRequest, GraphQLRejection>,
) -> axum::response::Response {
    let Ok(request) = request else {
        let error = coded("the request is malformed, too large or too slow", "BAD_USER_INPUT");
        return (StatusCode::BAD_REQUEST, failed(error)).into_response();
    };
    let caller = match caller(&shared.app, &sender).await {
        Ok(caller) => caller,
        Err(error) => return refused(error),
    };
    let request = match request.into_inner() {
        async_graphql::BatchRequest::Single(request) => request,
        async_graphql::BatchRequest::Batch(_) => {
            return failed(coded("batches are not supported", "BAD_USER_INPUT"));
        }
    };
    let response = execute(&shared, caller, request).await;
    GraphQLResponse(BatchResponse::Single(response)).into_response()
}

/// Runs a query, or begins a WebSocket.
pub async fn get(
    State(shared): State<Shared>,
    sender: Sender,
    RawQuery(query): RawQuery,
    parts: Parts,
) -> axum::response::Response {
    if sender.headers.contains_key(UPGRADE) {
        return upgrade(shared, sender, parts).await;
    }
    let Ok(mut request) = async_graphql::http::parse_query_string(&query.unwrap_or_default())
    else {
        return failed(coded("the query string is malformed", "BAD_USER_INPUT"));
    };
    let caller = match caller(&shared.app, &sender).await {
        Ok(caller) => caller,
        Err(error) => return refused(error),
    };
    if !is_query(&mut request) {
        return failed(coded("only queries may be sent by GET", "BAD_USER_INPUT"));
    }
    let response = execute(&shared, caller, request).await;
    GraphQLResponse(BatchResponse::Single(response)).into_response()
}

/// False for a mutation or subscription; what does not parse is refused when it is executed.
fn is_query(request: &mut Request) -> bool {
    let wanted = request.operation_name.clone();
    let Ok(document) = request.parsed_query() else { return true };
    let mut operations = document.operations.iter();
    operations.all(|(name, operation)| {
        let is_other = wanted.is_some() && name.map(ToString::to_string) != wanted;
        is_other || operation.node.ty == OperationType::Query
    })
}

/// A page to try queries in.
pub async fn graphiql() -> Html<String> {
    Html(GraphiQLSource::build().endpoint("/graphql").subscription_endpoint("/graphql").finish())
}

pub(super) async fn execute(shared: &Shared, caller: Caller, request: Request) -> Response {
    let mut response = shared.schema.execute(request_of(request, caller)).await;
    let waits = response.errors.iter().map(|error| retry_after_ms(error.extensions.as_ref()));
    if let Some(wait_ms) = waits.flatten().max() {
        response.http_headers.insert(RETRY_AFTER, seconds(wait_ms).into());
    }
    response
}

fn refused(error: AuthError) -> axum::response::Response {
    failed(auth_error(error))
}

pub(super) fn auth_error(error: AuthError) -> async_graphql::Error {
    match error {
        AuthError::Invalid => coded("the access token is not valid", "UNAUTHENTICATED"),
        AuthError::Database(_) | AuthError::Store(_) => internal(error),
    }
}

fn failed(error: async_graphql::Error) -> axum::response::Response {
    let error = error.into_server_error(async_graphql::Pos::default());
    GraphQLResponse(BatchResponse::Single(Response::from_errors(vec![error]))).into_response()
}

async fn upgrade(shared: Shared, sender: Sender, mut parts: Parts) -> axum::response::Response {
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
