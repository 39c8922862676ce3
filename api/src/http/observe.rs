//! What is known of each request when it is answered: a span, a line, and figures.
//!
//! A request is named by the template of its route. Its path and its query may hold ids and tokens, and
//! are never written anywhere.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use metrics::{counter, histogram};
use tracing::field::Empty;
use tracing::{Instrument as _, Span, debug, info, info_span};

use super::Sender;
use crate::telemetry::traces::continue_from;

/// From here on an answer was slow, and its line is for everybody.
const SLOW: Duration = Duration::from_secs(1);

/// Requests that nobody routes have no template.
const NOWHERE: &str = "none";

/// The status of a request that its client has left before it was answered.
const ABANDONED: &str = "none";

/// Observes a request. It lies inside of `identify`, and outside of whatever may answer.
pub async fn observe(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or(NOWHERE, MatchedPath::as_str).to_owned();
    let method = name_of(request.method());
    let sender = request.extensions().get::<Sender>();
    let request_id = sender.map(|sender| sender.request_id.clone()).unwrap_or_default();
    let span = info_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        request_id,
    );
    continue_from(&span, request.headers());
    let mut observed =
        Observed { began: Instant::now(), method, route, request_id, span, status: None };
    let response = next.run(request).instrument(observed.span.clone()).await;
    observed.status = Some(response.status());
    response
}

/// A method that is a label: clients may invent others.
fn name_of(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

/// A request; it is told when it ends, be it answered or not.
struct Observed {
    began: Instant,
    method: &'static str,
    route: String,
    request_id: String,
    span: Span,
    status: Option<StatusCode>,
}

impl Drop for Observed {
    fn drop(&mut self) {
        let Self { method, request_id, span, .. } = self;
        let route = std::mem::take(&mut self.route);
        let took = self.began.elapsed();
        let duration_ms = took.as_secs_f64() * 1_000.0;
        let is_failed = self.status.is_some_and(|status| status.is_server_error());
        let status = self.status.map(|status| status.as_u16());
        if let Some(status) = status {
            span.record("http.response.status_code", status);
        }
        if is_failed {
            span.record("otel.status_code", "ERROR");
        }
        // One line for each would be most of what a busy server says.
        if is_failed || took >= SLOW {
            info!(parent: None, method, route, status, request_id, duration_ms, "request answered");
        } else {
            debug!(parent: None, method, route, status, request_id, duration_ms, "request answered");
        }
        let status = status.map_or_else(|| ABANDONED.to_owned(), |status| status.to_string());
        histogram!("orion_http_request_duration_seconds", "route" => route.clone()).record(took);
        counter!("orion_http_requests_total", "method" => *method, "route" => route, "status" => status)
            .increment(1);
    }
}
