//! The HTTP surface: routes, and who a request comes from.

mod auth;
mod compress;
mod detached;
mod explorer;
mod graphql;
mod health;
mod log;
mod metrics;
pub mod oauth;
mod observe;
mod origins;
mod sender;
pub mod serve;
mod socket;
mod verify_email;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, REFERRER_POLICY, USER_AGENT, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{from_fn, from_fn_with_state, map_request, map_response};
use axum::response::Response;
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use orion_commands::{Client, ServiceSecret};
use orion_domain::values::Personal;
use tokio_util::sync::CancellationToken;
use tower::util::option_layer;
use tower_http::limit::RequestBodyLimitLayer;

use self::oauth::OAuth;
pub use self::origins::Origins;
pub use self::sender::{Sender, TrustedProxies};
pub use self::socket::Sockets;
pub use self::watch::Watches;
use crate::auth::{AuthError, Known, recognise};
use crate::graphql::OrionSchema;
use crate::graphql::context::{App, Caller};
use crate::limits::Limit;
use crate::relay::RelayView;

/// The largest request, and the largest message on a socket, in bytes.
const BODY_MAX: usize = 1_048_576;

/// How much of a `User-Agent` is kept.
const USER_AGENT_CHARS_MAX: usize = 512;

/// What handlers share; each layer of the router has a clone of it for each request.
pub type Shared = Arc<Services>;

/// What they answer with.
pub struct Services {
    /// The application.
    pub app: App,
    /// The schema over it.
    pub schema: OrionSchema,
    /// The providers that people may sign in at.
    pub oauth: Arc<OAuth>,
    /// What is let in.
    pub edge: Edge,
    /// What was counted.
    pub figures: PrometheusHandle,
    /// The sockets and streams that are open.
    pub sockets: Arc<Sockets>,
    /// What is watched over them.
    pub watches: Arc<Watches>,
    /// The relay, where there is one.
    pub relay: Option<RelayView>,
}

/// What is believed of requests, and what is let in.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Whose word on the client's address counts.
    pub proxies: Arc<TrustedProxies>,
    /// Which sites' pages may call.
    pub origins: Arc<Origins>,
    /// How long a client may take to begin on a WebSocket.
    pub head_within: Duration,
    /// How long a client may take for a body.
    pub body_within: Duration,
    /// Whether several requests may come in one body.
    pub batching: bool,
    /// Ends the streams, when the server stops.
    pub stop: CancellationToken,
}

/// All routes.
pub fn router(shared: Shared) -> Router {
    let Edge { proxies, origins, body_within, .. } = shared.edge.clone();
    let with_deadline =
        move |request: Request| async move { serve::with_deadline(request, body_within) };
    let graphql = get(graphql::get).post(graphql::post).fallback(graphql::other_methods);
    Router::new()
        .route("/graphiql", get(explorer::page))
        .route("/graphiql/explorer.js", get(explorer::script))
        .route("/graphiql/explorer.css", get(explorer::style))
        .route("/api/v1/auth/register", post(auth::register))
        .route("/api/v1/auth/login", post(auth::login))
        .route("/api/v1/auth/refresh", post(auth::refresh))
        .route("/api/v1/auth/logout", post(auth::logout))
        .route("/api/v1/auth/verify-email", post(auth::verify_email))
        .route("/verify-email", get(verify_email::page))
        .route("/api/v1/auth/me", get(auth::me))
        .route("/auth/{provider}/start", get(oauth::start))
        .route("/auth/{provider}/link", post(oauth::link))
        .route("/auth/{provider}/callback", get(oauth::callback))
        .route("/.well-known/jwks.json", get(jwks))
        .route("/.well-known/orion-log-key", get(log::key))
        .route("/log/checkpoint", get(log::checkpoint))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .layer(RequestBodyLimitLayer::new(BODY_MAX))
        // It has the same limit, but says so in the words of GraphQL.
        .route("/graphql", graphql.layer(compress::layer()))
        .layer(map_request(with_deadline))
        .layer(option_layer(origins.cors()))
        .layer(from_fn(observe::observe))
        .layer(from_fn_with_state(proxies, sender::identify))
        .layer(map_response(with_hang_up))
        .layer(map_response(with_security_headers))
        .with_state(shared)
}

/// Answers are data for the one who asked: not to be guessed at, framed, kept or told to others.
async fn with_security_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whose body is refused unread must not send the next request behind the rest of it.
async fn with_hang_up(mut response: Response) -> Response {
    let unread = [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNSUPPORTED_MEDIA_TYPE];
    if unread.contains(&response.status()) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The keys that access tokens are signed with, for those who check them by themselves.
async fn jwks(State(shared): State<Shared>) -> Json<serde_json::Value> {
    Json(shared.app.tokens.jwks())
}

/// Recognises the caller by the bearer token in the headers.
async fn caller(app: &App, sender: &Sender) -> Result<Caller, AuthError> {
    caller_with(app, sender, bearer_of(sender).as_deref()).await
}

/// Recognises the caller by a token that came otherwise.
async fn caller_with(app: &App, sender: &Sender, token: Option<&str>) -> Result<Caller, AuthError> {
    if token.is_some_and(ServiceSecret::is_one) {
        // Whoever makes one up costs as much to find out as one who has one.
        app.limits.by_address(Limit::ServiceTokenByAddress, sender.address)?;
    }
    let Known { actor, expires_at } = recognise(app, token).await?;
    let traceparent = sender.text("traceparent").filter(|text| is_traceparent(text));
    let user_agent = sender.text(USER_AGENT.as_str());
    Ok(Caller {
        actor,
        expires_at,
        address: sender.address,
        request_id: sender.request_id.clone(),
        traceparent: traceparent.map(str::to_owned),
        client: Client {
            ip: Some(Personal::new(sender.address.to_string())),
            user_agent: user_agent
                .map(|text| Personal::new(text.chars().take(USER_AGENT_CHARS_MAX).collect())),
        },
    })
}

/// The bearer token in the headers.
fn bearer_of(sender: &Sender) -> Option<String> {
    let value = sender.headers.get(AUTHORIZATION)?;
    Some(bearer(value.to_str().unwrap_or_default()))
}

/// The token of an `Authorization` value. A value of another scheme is a token that never fits.
fn bearer(value: &str) -> String {
    let (scheme, token) = value.split_once(' ').unwrap_or_default();
    if scheme.eq_ignore_ascii_case("bearer") { token.trim().to_owned() } else { String::new() }
}

/// `version-trace-parent-flags` in lower-case hex, as W3C writes it.
fn is_traceparent(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [2, 32, 16, 2]
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_token_is_a_token() {
        assert_eq!(bearer("Bearer abc"), "abc");
        assert_eq!(bearer("bearer abc"), "abc");
        assert_eq!(bearer("Basic abc"), "");
        assert_eq!(bearer("abc"), "");
    }

    #[test]
    fn traceparents_have_their_form() {
        assert!(is_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        assert!(!is_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"));
        assert!(!is_traceparent("00-4BF92F3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    }
}
