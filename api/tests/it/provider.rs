//! A provider that speaks as GitHub and Google do, as strictly as they should, on this machine.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Form, Query, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::stream;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::task::AbortHandle;
use uuid::Uuid;

use crate::server::Settings;

/// What the provider calls Orion.
pub const CLIENT_ID: &str = "orion at the provider";

/// Proves to the provider that it is Orion.
pub const CLIENT_SECRET: &str = "a secret of orion & the provider";

/// Words of the provider that nobody else may repeat.
pub const WORDS: &str = "<script>words of the provider</script>";

/// More than Orion reads.
const HUGE: usize = 1_000_000;

/// Somebody who is signed in at the provider.
#[derive(Clone, Debug)]
pub struct Person {
    /// The id there.
    pub id: u64,
    /// The primary address.
    pub email: Option<&'static str>,
    /// Whether the provider vouches for it.
    pub verified: bool,
    /// The name.
    pub name: &'static str,
}

/// Ada, with an address that is verified.
pub fn ada() -> Person {
    Person { id: 1815, email: Some("ada@example.org"), verified: true, name: "Ada" }
}

/// Bob, likewise.
pub fn bob() -> Person {
    Person { id: 1912, email: Some("bob@example.org"), verified: true, name: "Bob" }
}

/// What the provider does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The person says no.
    Denial,
    /// It sends people back with an error.
    Error,
    /// It does not answer at the token endpoint.
    Silence,
    /// Its answer at the token endpoint never ends, and comes slowly.
    Drip,
    /// It refuses every code.
    NoToken,
    /// It answers at the token endpoint with something else.
    TokenGarbage,
    /// It answers at the token endpoint with too much.
    TokenHuge,
    /// It sends Orion elsewhere, with its secret.
    TokenElsewhere,
    /// Its tokens are of a kind that Orion does not speak.
    TokenOfAnotherType,
    /// It does not know who it is.
    NoUser,
    /// It answers with something else than a user.
    UserGarbage,
    /// It answers with too large a user.
    UserHuge,
}

/// A code that was given out and not used yet.
struct Grant {
    challenge: String,
    redirect_uri: String,
    person: Person,
}

struct Inner {
    person: Person,
    fault: Fault,
    codes: HashMap<String, Grant>,
    tokens: HashMap<String, Person>,
    /// How often the token endpoint was asked.
    asked: usize,
    /// How often something came to where nothing may come.
    elsewhere: usize,
}

type Shared = Arc<Mutex<Inner>>;
type Params = BTreeMap<String, String>;

/// The provider; it ends with the test.
pub struct Provider {
    url: String,
    inner: Shared,
    task: AbortHandle,
}

impl Provider {
    /// Starts it; ada is signed in there.
    pub async fn start() -> Self {
        let inner = Arc::new(Mutex::new(Inner {
            person: ada(),
            fault: Fault::None,
            codes: HashMap::new(),
            tokens: HashMap::new(),
            asked: 0,
            elsewhere: 0,
        }));
        let app = Router::new()
            .route("/login/oauth/authorize", get(authorize))
            .route("/o/oauth2/v2/auth", get(authorize))
            .route("/login/oauth/access_token", post(token))
            .route("/token", post(token))
            .route("/elsewhere", get(elsewhere).post(elsewhere))
            .route("/api/v3/user", get(github_user))
            .route("/api/v3/user/emails", get(github_emails))
            .route("/v1/userinfo", get(google_user))
            .with_state(inner.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, inner, task: task.abort_handle() }
    }

    /// Settings of a server that knows this provider as GitHub and as Google.
    pub fn known_to(&self, settings: Settings) -> Settings {
        settings
            .with("ORION_GITHUB_CLIENT_ID", CLIENT_ID)
            .with("ORION_GITHUB_CLIENT_SECRET", CLIENT_SECRET)
            .with("ORION_OAUTH_GITHUB_URL", &self.url)
            .with("ORION_GOOGLE_CLIENT_ID", CLIENT_ID)
            .with("ORION_GOOGLE_CLIENT_SECRET", CLIENT_SECRET)
            .with("ORION_OAUTH_GOOGLE_URL", format!("{}/", self.url))
    }

    /// Somebody else signs in there.
    pub fn is_used_by(&self, person: Person) {
        self.inner.lock().unwrap().person = person;
    }

    /// Something goes wrong from now on.
    pub fn does(&self, fault: Fault) {
        self.inner.lock().unwrap().fault = fault;
    }

    /// How often Orion has asked for a token.
    pub fn asked(&self) -> usize {
        self.inner.lock().unwrap().asked
    }

    /// How often Orion went where it must not go.
    pub fn elsewhere(&self) -> usize {
        self.inner.lock().unwrap().elsewhere
    }

    /// The access tokens that it has given out.
    pub fn tokens(&self) -> Vec<String> {
        self.inner.lock().unwrap().tokens.keys().cloned().collect()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn fresh() -> String {
    Uuid::new_v4().simple().to_string()
}

/// Where a person says yes, without being asked.
async fn authorize(State(inner): State<Shared>, Query(params): Query<Params>) -> Response {
    let mut inner = inner.lock().unwrap();
    let given = |key: &str| params.get(key).map(String::as_str);
    let is_good = given("client_id") == Some(CLIENT_ID)
        && given("response_type") == Some("code")
        && given("code_challenge_method") == Some("S256")
        && given("code_challenge").is_some_and(|challenge| challenge.len() == 43)
        && given("redirect_uri").is_some_and(|uri| uri.contains("/auth/"))
        && given("scope").is_some_and(|scope| scope.contains("email"));
    if !is_good {
        return (StatusCode::BAD_REQUEST, format!("{params:?}")).into_response();
    }
    let (redirect_uri, state) = (params["redirect_uri"].clone(), params["state"].clone());
    let mut back = reqwest::Url::parse(&redirect_uri).unwrap();
    back.query_pairs_mut().append_pair("state", &state);
    if matches!(inner.fault, Fault::Denial | Fault::Error) {
        let error = if inner.fault == Fault::Denial { "access_denied" } else { WORDS };
        let mut query = back.query_pairs_mut();
        query.append_pair("error", error).append_pair("error_description", WORDS);
    } else {
        let code = fresh();
        back.query_pairs_mut().append_pair("code", &code);
        let (challenge, person) = (params["code_challenge"].clone(), inner.person.clone());
        inner.codes.insert(code, Grant { challenge, redirect_uri, person });
    }
    (StatusCode::FOUND, [(LOCATION, String::from(back))]).into_response()
}

async fn token(State(inner): State<Shared>, Form(params): Form<Params>) -> Response {
    let fault = {
        let mut inner = inner.lock().unwrap();
        inner.asked += 1;
        inner.fault
    };
    let refused = (
        StatusCode::BAD_REQUEST,
        Json(json!({ "error": "invalid_grant", "error_description": WORDS })),
    );
    match fault {
        Fault::Silence => return std::future::pending().await,
        Fault::Drip => return endless(),
        Fault::NoToken => return refused.into_response(),
        Fault::TokenGarbage => return WORDS.into_response(),
        Fault::TokenHuge => return huge().into_response(),
        Fault::TokenElsewhere => {
            return (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, "/elsewhere")]).into_response();
        }
        Fault::None
        | Fault::Denial
        | Fault::Error
        | Fault::TokenOfAnotherType
        | Fault::NoUser
        | Fault::UserGarbage
        | Fault::UserHuge => {}
    }
    let mut inner = inner.lock().unwrap();
    let given = |key: &str| params.get(key).map(String::as_str).unwrap_or_default();
    // A code is good for one try.
    let Some(grant) = inner.codes.remove(given("code")) else { return refused.into_response() };
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(given("code_verifier")));
    let is_good = given("grant_type") == "authorization_code"
        && (given("client_id"), given("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
        && given("redirect_uri") == grant.redirect_uri
        && challenge == grant.challenge;
    if !is_good {
        return refused.into_response();
    }
    let token = fresh();
    inner.tokens.insert(token.clone(), grant.person);
    let token_type = if fault == Fault::TokenOfAnotherType { "mac" } else { "bearer" };
    let answer = json!({ "access_token": token, "token_type": token_type, "expires_in": 3600,
        "scope": "user:email,openid" });
    Json(answer).into_response()
}

/// A body that is sent a byte at a time and has no end.
fn endless() -> Response {
    let clock = tokio::time::interval(std::time::Duration::from_millis(100));
    let drops = stream::unfold(clock, |mut clock| async {
        clock.tick().await;
        Some((Ok::<_, Infallible>(" "), clock))
    });
    ([("content-type", "application/json")], Body::from_stream(drops)).into_response()
}

fn huge() -> Json<Value> {
    Json(json!({ "id": 1815, "login": "ada", "words": WORDS.repeat(HUGE / WORDS.len()) }))
}

async fn elsewhere(State(inner): State<Shared>) -> StatusCode {
    inner.lock().unwrap().elsewhere += 1;
    StatusCode::OK
}

/// Another answer than one would expect.
type Odd = (StatusCode, String);

/// Whom a token stands for, unless something goes wrong.
fn person(inner: &Shared, headers: &HeaderMap) -> Result<Person, Odd> {
    let inner = inner.lock().unwrap();
    let token = headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap();
    let garbage = json!({ "id": WORDS, "sub": 1, "login": WORDS });
    match (inner.fault, inner.tokens.get(token)) {
        (Fault::UserGarbage, _) => Err((StatusCode::OK, garbage.to_string())),
        (Fault::UserHuge, _) => Err((StatusCode::OK, huge().0.to_string())),
        (Fault::NoUser, _) | (_, None) => Err((StatusCode::UNAUTHORIZED, WORDS.to_owned())),
        (_, Some(person)) => Ok(person.clone()),
    }
}

async fn github_user(State(inner): State<Shared>, headers: HeaderMap) -> Result<Response, Odd> {
    // GitHub refuses those who do not say what they are.
    assert!(headers.contains_key("user-agent"));
    let Person { id, email, name, .. } = person(&inner, &headers)?;
    Ok(Json(json!({ "id": id, "login": "login", "name": name, "email": email })).into_response())
}

async fn github_emails(State(inner): State<Shared>, headers: HeaderMap) -> Result<Response, Odd> {
    let Person { email, verified, .. } = person(&inner, &headers)?;
    let mut emails =
        vec![json!({ "email": "second@example.org", "primary": false, "verified": true })];
    if let Some(email) = email {
        emails.push(json!({ "email": email, "primary": true, "verified": verified }));
    }
    Ok(Json(emails).into_response())
}

async fn google_user(State(inner): State<Shared>, headers: HeaderMap) -> Result<Response, Odd> {
    let Person { id, email, verified, name } = person(&inner, &headers)?;
    let mut user = json!({ "sub": id.to_string(), "name": name, "email_verified": verified });
    if let Some(email) = email {
        user["email"] = json!(email);
    }
    Ok(Json(user).into_response())
}
