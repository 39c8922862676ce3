//! GraphQL over HTTP and WebSocket.

use async_graphql::http::GraphiQLSource;
use async_graphql::parser::types::OperationType;
use async_graphql::{BatchResponse, Request, Response};
use async_graphql_axum::rejection::GraphQLRejection;
use async_graphql_axum::{GraphQLBatchRequest, GraphQLResponse};
use axum::extract::{FromRequestParts, RawQuery, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, UPGRADE};
use axum::http::{StatusCode, request::Parts};
use axum::response::{Html, IntoResponse};

use super::{Sender, Shared, caller, socket};
use crate::auth::AuthError;
use crate::graphql::context::{Caller, read_position};
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

pub(super) async fn execute(shared: &Shared, caller: Caller, mut request: Request) -> Response {
    // A query is not older than the position read before it; what a mutation did is in the one after.
    let is_query = is_query(&mut request);
    let before = read_position(&shared.app);
    let mut response = shared.schema.execute(request_of(request, &shared.app, caller)).await;
    let waits = response.errors.iter().map(|error| retry_after_ms(error.extensions.as_ref()));
    if let Some(wait_ms) = waits.flatten().max() {
        response.http_headers.insert(RETRY_AFTER, seconds(wait_ms).into());
    }
    let position = if is_query { before } else { read_position(&shared.app) };
    response.extension("position", async_graphql::Value::from(position.to_string()))
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

async fn upgrade(shared: Shared, sender: Sender, parts: Parts) -> axum::response::Response {
    if !shared.edge.origins.admit(&sender.headers) {
        let error = coded("pages of this origin may not open a socket", "FORBIDDEN");
        return (StatusCode::FORBIDDEN, failed(error)).into_response();
    }
    socket::upgrade(shared, sender, parts).await
}
