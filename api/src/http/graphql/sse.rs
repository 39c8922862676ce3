//! GraphQL over server-sent events, by the protocol graphql-sse in its mode of distinct connections: one
//! request, one stream, `next` for each answer and `complete` at the end.
//!
//! A stream that ends without `complete` was cut off, by the network or because the server stops; the
//! client comes back with the last position that it has seen.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::{Stream, StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use super::answer::Answer;
use crate::graphql::context::Caller;

/// After how much silence a comment is sent, so that nobody on the way thinks the connection dead.
const KEEP_ALIVE: Duration = Duration::from_secs(12);

/// Tells nginx, and those who do as it does, to pass on each event at once.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The place that a stream takes among its account's; free when it is dropped.
pub struct Place;

/// Asks for a place for one more stream of this caller.
#[expect(
    clippy::unnecessary_wraps,
    reason = "the number of streams of an account is not capped yet"
)]
pub fn admit_stream(_: &Caller) -> Result<Place, async_graphql::Error> {
    Ok(Place)
}

/// A stream of answers, until its end or `stop`. What `held` is, it is until then.
pub fn respond(
    answers: impl Stream<Item = Answer> + Send + 'static,
    held: impl Send + 'static,
    stop: CancellationToken,
) -> Response {
    let next = answers.map(|answer| Event::default().event("next").data(answer.json()));
    // By the standard an event without data is none; two empty lines are as little as can be written.
    let complete = stream::once(async { Event::default().event("complete").data("\n") });
    let events = next.chain(complete).take_until(stop.cancelled_owned()).map(move |event| {
        let _ = &held;
        Ok::<_, Infallible>(event)
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    response.headers_mut().insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}
