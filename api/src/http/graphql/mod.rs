//! GraphQL over HTTP by the draft of the GraphQL foundation, over server-sent events, and over WebSocket.

mod answer;
mod negotiate;
mod request;
mod sse;

use async_graphql::parser::types::OperationType;
use async_graphql::{Request, Response};
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ALLOW, RETRY_AFTER, UPGRADE};
use axum::http::{HeaderValue, Method, StatusCode, request::Parts};
use axum::response::IntoResponse as _;
use futures::stream;
use orion_store::Overload;

pub(super) use self::answer::Answer;
use self::negotiate::{Accepted, Media};
pub(super) use self::request::kind_of;
use self::request::{Received, Refused, check_variables};
use super::compress::Compressible;
use super::socket;
use super::{Sender, Shared, caller};
use crate::auth::AuthError;
use crate::graphql::began::Began;
use crate::graphql::context::Caller;
use crate::graphql::error::{bad_input, coded, internal};
use crate::graphql::limits::{Preparation, overloaded, retry_after_ms};
use crate::graphql::request_of;
use crate::limits::seconds;

/// Runs what was posted.
pub async fn post(
    State(shared): State<Shared>,
    sender: Sender,
    body: Body,
) -> axum::response::Response {
    let Some(accepted) = Accepted::of(&sender.headers) else { return not_acceptable() };
    match posted(&shared, sender, accepted, body).await {
        Ok(response) => response,
        Err(refused) => refused.into_response(accepted.media),
    }
}

async fn posted(
    shared: &Shared,
    sender: Sender,
    accepted: Accepted,
    body: Body,
) -> Result<axum::response::Response, Refused> {
    if !negotiate::is_json(&sender.headers) {
        let error = bad_input("the content type must be application/json, in UTF-8");
        return Err(Refused { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, error });
    }
    let bytes = request::body(&sender.headers, body).await?;
    let received = request::posted(&bytes, shared.edge.batching)?;
    let caller = caller(&shared.app, &sender).await.map_err(not_recognised)?;
    match received {
        Received::Single(request) => {
            Ok(run(shared, sender, caller, *request, accepted, &Method::POST).await)
        }
        Received::Batch(_) if accepted.media == Media::EventStream => {
            let error = bad_input("a stream has one request");
            Err(Refused { status: StatusCode::BAD_REQUEST, error })
        }
        Received::Batch(requests) => {
            let mut answers = Vec::new();
            // One after the other: a mutation may build on the one before it.
            for request in requests {
                answers.push(answer(shared, caller.clone(), request).await);
            }
            Ok(answer::batch(answers, accepted.media))
        }
    }
}

/// Runs what an address asks, or begins a WebSocket.
pub async fn get(
    State(shared): State<Shared>,
    sender: Sender,
    parts: Parts,
) -> axum::response::Response {
    if sender.headers.contains_key(UPGRADE) {
        return upgrade(shared, sender, parts).await;
    }
    let Some(accepted) = Accepted::of(&sender.headers) else { return not_acceptable() };
    match asked(&shared, sender, accepted, &parts).await {
        Ok(response) => response,
        Err(refused) => refused.into_response(accepted.media),
    }
}

async fn asked(
    shared: &Shared,
    sender: Sender,
    accepted: Accepted,
    parts: &Parts,
) -> Result<axum::response::Response, Refused> {
    let request = request::asked(&parts.uri)?;
    let caller = caller(&shared.app, &sender).await.map_err(not_recognised)?;
    Ok(run(shared, sender, caller, request, accepted, &Method::GET).await)
}

/// Says which methods there are.
pub async fn other_methods() -> axum::response::Response {
    not_allowed("GraphQL is asked by POST, or by GET for queries", "GET, HEAD, POST")
        .into_response_as(Media::GraphqlResponse)
}

/// Runs one request.
async fn run(
    shared: &Shared,
    sender: Sender,
    caller: Caller,
    mut request: Request,
    accepted: Accepted,
    method: &Method,
) -> axum::response::Response {
    let kind = kind_of(&mut request);
    if *method == Method::GET && kind == Some(OperationType::Mutation) {
        return not_allowed("mutations are sent by POST", "POST").into_response_as(accepted.media);
    }
    let is_subscription = kind == Some(OperationType::Subscription);
    // Some clients take streams, but like them least: what can only be streamed, is.
    if accepted.media == Media::EventStream || (is_subscription && accepted.streams) {
        return stream(shared, sender, caller, request, is_subscription).await;
    }
    let mut response = answer(shared, caller, request).await.into_response(accepted.media);
    if kind == Some(OperationType::Query) {
        response.extensions_mut().insert(Compressible);
    }
    response
}

/// Runs one request, whatever it is, and streams what it gives. What is wrong with the document is told
/// in the stream, as the protocol has it: a browser shows a page nothing of an answer that is not 200.
async fn stream(
    shared: &Shared,
    sender: Sender,
    caller: Caller,
    request: Request,
    is_subscription: bool,
) -> axum::response::Response {
    let place = match sse::admit_stream(shared, &caller) {
        Ok(place) => place,
        Err(error) => {
            let refused = Refused { status: StatusCode::TOO_MANY_REQUESTS, error };
            return refused.into_response(Media::EventStream);
        }
    };
    // Until the stream ends, its connection counts as open.
    let held = (place, sender);
    let stop = shared.edge.stop.clone();
    if !is_subscription {
        let answer = answer(shared, caller, request).await.json();
        return sse::respond(stream::iter([answer]), held, stop);
    }
    let standing = match shared.app.rights.admit(&shared.app, caller.actor).await {
        Ok(standing) => standing,
        Err(error) => return not_recognised(error).into_response(Media::EventStream),
    };
    let expires_at = caller.expires_at;
    let answers = shared.watches.clone().watch(request, caller, standing);
    sse::respond(sse::until_expired(answers, expires_at), held, stop)
}

/// Runs a query or a mutation, and knows how far it came.
async fn answer(shared: &Shared, caller: Caller, mut request: Request) -> Answer {
    let began = Began::default();
    if kind_of(&mut request) == Some(OperationType::Subscription) {
        let error = bad_input("subscriptions need text/event-stream, or a WebSocket");
        return Answer::new(refusal(error), began.has());
    }
    let response = execute(shared, caller, request.data(began.clone())).await;
    Answer::new(response, began.has())
}

/// Runs a query or a mutation.
pub(super) async fn execute(shared: &Shared, caller: Caller, request: Request) -> Response {
    let mut response = match admitted(shared, request).await {
        Ok(request) => shared.schema.execute(request_of(request, caller)).await,
        Err(error) => refusal(error),
    };
    let waits = response.errors.iter().map(|error| retry_after_ms(error.extensions.as_ref()));
    if let Some(wait_ms) = waits.flatten().max() {
        response.http_headers.insert(RETRY_AFTER, seconds(wait_ms).into());
    }
    response
}

/// A request whose turn it is to be prepared.
async fn admitted(shared: &Shared, request: Request) -> Result<Request, async_graphql::Error> {
    let turn = shared.app.lines.requests.turn().await.map_err(|Overload| overloaded())?;
    Ok(checked(request)?.data(Preparation::begun(turn)))
}

/// A request whose variables have the values that they must have.
pub(super) fn checked(mut request: Request) -> Result<Request, async_graphql::Error> {
    check_variables(&mut request)?;
    Ok(request)
}

pub(super) fn refusal(error: async_graphql::Error) -> Response {
    Response::from_errors(vec![error.into_server_error(async_graphql::Pos::default())])
}

fn not_acceptable() -> axum::response::Response {
    let error = bad_input(
        "answers are application/graphql-response+json, application/json or text/event-stream",
    );
    Refused { status: StatusCode::NOT_ACCEPTABLE, error }.into_response(Media::GraphqlResponse)
}

/// A method that is not for this, and those that are.
struct NotAllowed(Refused, &'static str);

fn not_allowed(why: &str, allowed: &'static str) -> NotAllowed {
    let error = bad_input(why);
    NotAllowed(Refused { status: StatusCode::METHOD_NOT_ALLOWED, error }, allowed)
}

impl NotAllowed {
    fn into_response_as(self, media: Media) -> axum::response::Response {
        let mut response = self.0.into_response(media);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(self.1));
        response
    }
}

fn not_recognised(error: AuthError) -> Refused {
    let status = match &error {
        AuthError::Invalid => StatusCode::UNAUTHORIZED,
        AuthError::Exceeded(_) | AuthError::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        AuthError::Database(_) | AuthError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refused { status, error: auth_error(error) }
}

pub(super) fn auth_error(error: AuthError) -> async_graphql::Error {
    match error {
        AuthError::Invalid => coded("the access token is not valid", "UNAUTHENTICATED"),
        AuthError::Exceeded(exceeded) => exceeded.into(),
        AuthError::Overloaded => overloaded(),
        AuthError::Database(_) | AuthError::Store(_) => internal(error),
    }
}

/// Begins a WebSocket, unless a page of a foreign origin asks for it.
async fn upgrade(shared: Shared, sender: Sender, parts: Parts) -> axum::response::Response {
    if !shared.edge.origins.admit(&sender.headers) {
        let error = coded("pages of this origin may not open a socket", "FORBIDDEN");
        return (StatusCode::FORBIDDEN, failed(error)).into_response();
    }
    socket::upgrade(shared, sender, parts).await
}

/// What is said instead of a WebSocket, with a status of the caller's choice.
fn failed(error: async_graphql::Error) -> axum::response::Response {
    Refused { status: StatusCode::BAD_REQUEST, error }.into_response(Media::GraphqlResponse)
}
