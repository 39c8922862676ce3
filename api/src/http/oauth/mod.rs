//! Sign-in at GitHub and Google: the OAuth 2.0 authorization code flow with PKCE.
//!
//! A dance has two steps. `start` sends the browser to the provider and lets it keep a sealed
//! cookie; `callback` is where the provider sends it back to. To link an identity instead, `link`
//! takes the place of `start`: the bearer token says who asks, and a navigation cannot carry one.
//! Tokens are in bodies only, never in an address.

mod cookie;
mod fetch;
mod identity;
mod provider;
mod settings;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use orion_commands::{Action, Actor, Envelope, Identity, OAuthLink, OAuthSignIn, policy};
use orion_domain::values::{OAuthProvider, Role, SessionId, UserId};
use orion_domain::{AggregateRoot as _, Session, User, UserError};
use orion_store::Position;
use reqwest::Url;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::json;
use tracing::warn;

use self::cookie::{Cookies, Dance};
use self::fetch::{Fetch, FetchError};
use self::provider::{Departure, Provider};
pub use self::settings::OAuthSettings;
pub(crate) use self::settings::{below, web_address};
use super::auth::{command_failed, failed, me_as, problem};
use super::graphql::auth_error;
use super::{Sender, Shared, caller, caller_with};
use crate::config::{Config, ConfigError};
use crate::graphql::context::Caller;
use crate::graphql::error::internal;
use crate::limits::{Exceeded, Limit};
use crate::telemetry::chain;
use crate::telemetry::traces::traceparent;

/// The providers that people may sign in at.
pub struct OAuth {
    providers: Providers,
    cookies: Cookies,
}

/// The providers of the settings.
pub struct Providers {
    public_url: Url,
    known: Vec<Provider>,
    /// There if a provider is.
    fetch: Option<Fetch>,
}

impl Providers {
    /// Reads the settings; half a setting is refused.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let public_url = config.public_url()?;
        let mut providers = Vec::new();
        for kind in OAuthProvider::ALL {
            if let Some(registration) = config.oauth.registration(*kind)? {
                let provider = Provider::new(*kind, registration, &public_url);
                providers.push(provider.map_err(|error| ConfigError::Value {
                    variable: "ORION_PUBLIC_URL",
                    problem: error.to_string(),
                })?);
            }
        }
        let fetch = if providers.is_empty() { None } else { Some(Fetch::new()) };
        let fetch = fetch.transpose().map_err(|error| ConfigError::Value {
            variable: "ORION_GITHUB_CLIENT_ID, ORION_GOOGLE_CLIENT_ID",
            problem: format!("no client for HTTPS: {}", chain(&error)),
        })?;
        Ok(Self { public_url, known: providers, fetch })
    }
}

impl OAuth {
    /// With the key that cookies are sealed with.
    pub fn new(providers: Providers, cookie_key: &[u8; 32]) -> Self {
        Self { cookies: Cookies::new(cookie_key, &providers.public_url), providers }
    }

    /// The provider of a path, and what speaks with it.
    fn provider(&self, name: &str) -> Option<(&Provider, &Fetch)> {
        let Providers { known, fetch, .. } = &self.providers;
        let provider = known.iter().find(|provider| provider.kind.as_str() == name);
        provider.zip(fetch.as_ref())
    }

    /// Begins a dance: where the browser goes, and what it keeps.
    fn begin(&self, provider: &Provider, link: Option<(UserId, SessionId)>) -> (String, HeaderMap) {
        let Departure { url, state, verifier } = provider.depart();
        let dance = Dance { verifier, link };
        let cookie = self.cookies.keep(dance, provider.kind, &state, orion_store::now());
        (url.into(), HeaderMap::from_iter([(SET_COOKIE, cookie)]))
    }
}

/// Each step costs: some ask the provider, others keep the state of one who may never come back.
fn step(shared: &Shared, sender: &Sender) -> Result<(), Exceeded> {
    shared.app.limits.by_address(Limit::OAuthByAddress, sender.address)
}

/// `GET /auth/{provider}/start`: sends the browser to the provider, to sign in or up.
pub async fn start(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    sender: Sender,
) -> Response {
    let Some((provider, _)) = shared.oauth.provider(&name) else { return no_provider() };
    if let Err(exceeded) = step(&shared, &sender) {
        return exceeded.into_response();
    }
    let (url, cookie) = shared.oauth.begin(provider, None);
    (StatusCode::SEE_OTHER, cookie, [(LOCATION, url)]).into_response()
}

/// `POST /auth/{provider}/link`: the `url` that the signed-in user's browser goes to, to link.
pub async fn link(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    sender: Sender,
) -> Result<Response, Response> {
    let (provider, _) = shared.oauth.provider(&name).ok_or_else(no_provider)?;
    step(&shared, &sender).map_err(IntoResponse::into_response)?;
    let caller = caller(&shared.app, &sender).await.map_err(|error| failed(&auth_error(error)))?;
    policy::allow(&caller.actor, Action::ManageOwnAccount).map_err(command_failed)?;
    let Actor::User { id, session_id, .. } = caller.actor else {
        return Err(problem("UNAUTHENTICATED", "sign in first", None));
    };
    let (url, cookie) = shared.oauth.begin(provider, Some((id, session_id)));
    Ok((cookie, Json(json!({ "url": url }))).into_response())
}

/// What a provider sends with the browser.
#[derive(Deserialize)]
pub struct Returned {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
}

type Query_ = Result<Query<Returned>, QueryRejection>;

/// `GET /auth/{provider}/callback`: the end of a dance. Whatever comes of it, the cookie was good
/// for one try.
pub async fn callback(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    sender: Sender,
    query: Query_,
) -> Response {
    let mut response = match finish(&shared, &name, &sender, query).await {
        Ok(response) | Err(response) => response,
    };
    response.headers_mut().append(SET_COOKIE, shared.oauth.cookies.remove());
    response
}

fn no_provider() -> Response {
    problem("NOT_FOUND", "sign-in with this provider is not set up", None)
}

/// The provider's word could not be had; only the log says why.
fn not_confirmed(provider: &Provider, error: &FetchError) -> Response {
    warn!(provider = %provider.kind, error = chain(error), "a sign-in failed at its provider");
    if matches!(error, FetchError::Busy) {
        problem("RATE_LIMITED", "too many sign-ins at once, try again soon", None)
    } else {
        problem("OAUTH_FAILED", "the provider did not confirm the sign-in; try again", None)
    }
}

async fn finish(
    shared: &Shared,
    name: &str,
    sender: &Sender,
    query: Query_,
) -> Result<Response, Response> {
    let oauth = &shared.oauth;
    let (provider, fetch) = oauth.provider(name).ok_or_else(no_provider)?;
    step(shared, sender).map_err(IntoResponse::into_response)?;
    let bad = || problem("BAD_USER_INPUT", "the query string is malformed", None);
    let Query(Returned { state, code, error }) = query.map_err(|_| bad())?;
    // One answer to all that is wrong here: there is nothing to learn from the difference.
    let dance = state
        .and_then(|state| {
            oauth.cookies.open(&sender.headers, provider.kind, &state, orion_store::now())
        })
        .ok_or_else(|| {
            let detail = "this browser has not begun this sign-in, or too long ago; start again";
            problem("OAUTH_STATE_INVALID", detail, None)
        })?;
    match error.as_deref() {
        None => {}
        Some("access_denied") => {
            return Err(problem("OAUTH_DENIED", "the sign-in was denied at the provider", None));
        }
        Some(_) => return Err(problem("OAUTH_FAILED", "the provider reports an error", None)),
    }
    let code = code.ok_or_else(bad)?;
    let identified = fetch.talk(provider.identify(fetch, code, dance.verifier)).await;
    let identity = identified.map_err(|error| not_confirmed(provider, &error))?;
    // Who has come is what the provider says, whatever token the request has.
    let caller =
        caller_with(&shared.app, sender, None).await.map_err(|error| failed(&auth_error(error)))?;
    match dance.link {
        Some((user_id, session_id)) => {
            link_to(shared, caller, &identity, user_id, session_id).await
        }
        None => sign_in(shared, caller, &identity).await,
    }
}

async fn sign_in(
    shared: &Shared,
    caller: Caller,
    identity: &Identity,
) -> Result<Response, Response> {
    let app = &shared.app;
    let sign_in = OAuthSignIn::new(identity, caller.client.clone());
    let done = sign_in.run(&app.bus, &envelope(&caller)).await.map_err(command_failed)?;
    projected(shared, done.position).await;

    let session_id = sign_in.session.session_id;
    let ours = |error| failed(&internal(error));
    // The session has begun by now.
    let store = app.bus.patient().store().clone();
    let session = store.load::<Session>(session_id.0).await.map_err(ours)?;
    let inactive = || command_failed(orion_commands::Refusal::from(UserError::Inactive).into());
    let id = session.aggregate.owner().ok_or_else(inactive)?;
    let user = store.load::<User>(id.0).await.map_err(ours)?;
    let role = user.aggregate.active_role().ok_or_else(inactive)?;
    let issued =
        app.tokens.issue(id, session_id, role).map_err(|error| failed(&internal(error)))?;
    let actor = Actor::User { id, role, session_id };
    let answer = json!({
        "accessToken": issued.token,
        "expiresAt": issued.expires_at,
        "refreshToken": sign_in.session.refresh_token.expose_secret(),
        "position": done.position.map(|position| position.to_string()),
        "user": me_as(shared, Caller { actor, ..caller }, "id email name role emailVerified").await,
    });
    Ok(Json(answer).into_response())
}

/// Links, and gives out no tokens: the browser has shown a cookie only.
async fn link_to(
    shared: &Shared,
    caller: Caller,
    identity: &Identity,
    id: UserId,
    session_id: SessionId,
) -> Result<Response, Response> {
    let app = &shared.app;
    // Who asks was known when the cookie was made; whether the session lives is asked again below.
    let actor = Actor::User { id, role: Role::Viewer, session_id };
    let caller = Caller { actor, ..caller };
    let link = OAuthLink::new(identity, id, session_id);
    let done = app.bus.run(&envelope(&caller), &link).await.map_err(command_failed)?;
    projected(shared, done.position).await;
    let user = me_as(shared, caller, "id oauthAccounts { nodes { id provider } }").await;
    let answer = json!({
        "oauthAccountId": link.account_id().0,
        "position": done.position.map(|position| position.to_string()),
        "user": user,
    });
    Ok(Json(answer).into_response())
}

fn envelope(caller: &Caller) -> Envelope {
    Envelope {
        correlation_id: Some(caller.request_id.clone()),
        traceparent: traceparent().or_else(|| caller.traceparent.clone()),
        ..Envelope::of(caller.actor)
    }
}

/// Waits for the tables, so that the answer shows what was done.
async fn projected(shared: &Shared, position: Option<Position>) {
    if let Some(position) = position {
        shared.app.shows(position).await;
    }
}
