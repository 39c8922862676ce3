//! GraphQL over server-sent events, by the protocol graphql-sse in its mode of distinct connections: one
//! request, one stream, `next` for each answer and `complete` at the end.
//!
//! A stream that ends without `complete` was cut off, by the network or because the server stops; the
//! client comes back with the last position that it has seen.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::Error;
use async_stream::stream;
use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;

use crate::auth::expired;
use crate::graphql::context::Caller;
use crate::graphql::error::coded;
use crate::http::Shared;
use crate::http::socket::{Kind, Place};
use crate::http::watch::Told;

/// After how much silence a comment is sent, so that nobody on the way thinks the connection dead.
const KEEP_ALIVE: Duration = Duration::from_secs(12);

/// Tells nginx, and those who do as it does, to pass on each event at once.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A place for one more stream of this caller, free when it is dropped.
pub fn admit_stream(shared: &Shared, caller: &Caller) -> Result<Place, Error> {
    let place = shared.sockets.place(Kind::Stream, caller.account());
    place.ok_or_else(|| coded("too many streams of this account", "TOO_MANY_STREAMS"))
}

/// The answers, as long as the token is good that the stream was opened with.
pub fn until_expired(
    answers: impl Stream<Item = Arc<Told>> + Send + 'static,
    expires_at: Option<DateTime<Utc>>,
) -> impl Stream<Item = String> + Send + 'static {
    stream! {
        let mut answers = pin!(answers);
        let mut end = pin!(expired(expires_at));
        loop {
            let next = tokio::select! {
                biased;
                () = &mut end => Err(coded("the access token has expired", "UNAUTHENTICATED")),
                next = answers.next() => Ok(next),
            };
            match next {
                Ok(Some(told)) => yield told.json.clone(),
                Ok(None) => break,
                Err(error) => {
                    yield Told::error(error).json.clone();
                    break;
                }
            }
        }
    }
}

/// A stream of answers, until its end or `stop`. What `held` is, it is until then.
pub fn respond(
    answers: impl Stream<Item = String> + Send + 'static,
    held: impl Send + 'static,
    stop: CancellationToken,
) -> Response {
    let next = answers.map(|answer| Event::default().event("next").data(answer));
    // By the standard an event without data is none; two empty lines are as little as can be written.
    let complete = futures::stream::once(async { Event::default().event("complete").data("\n") });
    let events = next.chain(complete).take_until(stop.cancelled_owned()).map(move |event| {
        let _ = &held;
        Ok::<_, Infallible>(event)
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    response.headers_mut().insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}
