//! Access tokens, and who a request comes from.

pub mod recognised;
pub mod rights;
mod service_token;

use std::time::Duration as Span;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Duration, SubsecRound as _, Utc};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use orion_commands::{Actor, Bus, ServiceSecret};
use orion_domain::values::{Role, SessionId, UserId};
use orion_domain::{AggregateRoot as _, Session, User};
use orion_projections::{READ_MODEL, Status};
use orion_store::{Position, StoreError, is_overload};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::graphql::context::App;
use crate::limits::Exceeded;

/// How long an access token is valid, unless the settings say otherwise.
const ACCESS_TOKEN_MINUTES: i64 = 15;

/// How much the clocks of two servers may differ.
const CLOCK_SKEW_SECONDS: i64 = 5;

/// Who issues the tokens, and whom they are for.
const ISSUER: &str = "orion";

/// Issues and checks access tokens: JWTs, signed by Ed25519.
pub struct Tokens {
    encoding: EncodingKey,
    header: Header,
    validation: Validation,
    lifetime: Duration,
    /// The keys whose tokens are still good, the present one first.
    keys: Vec<Key>,
}

/// The public half of a key.
struct Key {
    id: String,
    public: [u8; 32],
    decoding: DecodingKey,
}

impl Key {
    fn of(seed: &[u8; 32]) -> Self {
        let public = SigningKey::from_bytes(seed).verifying_key().to_bytes();
        let id = hex::encode(&Sha256::digest(public)[..8]);
        Self { id, public, decoding: DecodingKey::from_ed_der(&public) }
    }
}

/// An access token as the client gets it.
#[derive(Debug)]
pub struct Issued {
    /// For `Authorization: Bearer`.
    pub token: String,
    /// From when on it is refused.
    pub expires_at: DateTime<Utc>,
}

/// A key or a token that cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("the access token key cannot be used")]
pub struct TokenError(#[source] Box<dyn std::error::Error + Send + Sync>);

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    role: Role,
    sid: SessionId,
    iat: i64,
    exp: i64,
}

impl Tokens {
    /// Signs with the Ed25519 key of this seed. Tokens of the old keys are good until they expire.
    pub fn new(seed: &[u8; 32], old: &[[u8; 32]]) -> Result<Self, TokenError> {
        let private = SigningKey::from_bytes(seed).to_pkcs8_der();
        let private = private.map_err(|error| TokenError(error.into()))?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // By this machine's clock; `verify` does it by the database's.
        validation.validate_exp = false;
        let keys: Vec<Key> = std::iter::once(seed).chain(old).map(Key::of).collect();
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = keys.first().map(|key| key.id.clone());
        let encoding = EncodingKey::from_ed_der(private.as_bytes());
        let lifetime = Duration::minutes(ACCESS_TOKEN_MINUTES);
        Ok(Self { encoding, header, validation, lifetime, keys })
    }

    /// The same, with tokens that are valid for this long.
    #[must_use]
    pub fn living_for(mut self, lifetime: Span) -> Self {
        self.lifetime = Duration::from_std(lifetime).unwrap_or(self.lifetime);
        self
    }

    /// The public keys as a JSON Web Key Set (RFC 7517).
    pub fn jwks(&self) -> serde_json::Value {
        let key = |key: &Key| {
            serde_json::json!({
                "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
                "kid": key.id, "x": URL_SAFE_NO_PAD.encode(key.public),
            })
        };
        serde_json::json!({ "keys": self.keys.iter().map(key).collect::<Vec<_>>() })
    }

    /// A token for a session.
    pub fn issue(
        &self,
        user_id: UserId,
        session_id: SessionId,
        role: Role,
    ) -> Result<Issued, TokenError> {
        // A token tells time in whole seconds.
        let now = orion_store::now().trunc_subsecs(0);
        let expires_at = now + self.lifetime;
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: ISSUER.to_owned(),
            sub: user_id,
            role,
            sid: session_id,
            iat: now.timestamp(),
            exp: expires_at.timestamp(),
        };
        let token = jsonwebtoken::encode(&self.header, &claims, &self.encoding)
            .map_err(|error| TokenError(error.into()))?;
        Ok(Issued { token, expires_at })
    }

    /// The user and the session of a token that is ours and still valid, the role that it was issued to, and its end.
    fn verify(&self, token: &str) -> Option<(UserId, SessionId, Role, DateTime<Utc>)> {
        let kid = jsonwebtoken::decode_header(token).ok()?.kid?;
        let key = self.keys.iter().find(|key| key.id == kid)?;
        let token = jsonwebtoken::decode::<Claims>(token, &key.decoding, &self.validation).ok()?;
        let claims = token.claims;
        // A token from the future was not issued by a clock that ours can be compared with.
        let is_past = claims.iat <= orion_store::now().timestamp() + CLOCK_SKEW_SECONDS;
        let end = DateTime::from_timestamp(claims.exp, 0)?;
        // The library lets it live for the second in which it ends.
        (is_past && orion_store::now() < end).then_some((claims.sub, claims.sid, claims.role, end))
    }
}

/// Why nobody could be recognised.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The token is not one of ours, is too old, or its session is over. Deliberately no detail.
    #[error("the access token is not valid")]
    Invalid,
    /// This address shows tokens too often.
    #[error("too many tokens from one address")]
    Exceeded(Exceeded),
    /// Too many wait for a connection to look it up.
    #[error("too many wait for a connection")]
    Overloaded,
    /// The rights could not be looked up.
    #[error("looking up a session")]
    Database(#[source] sqlx::Error),
    /// The log could not be read.
    #[error("looking up a session in the log")]
    Store(#[source] StoreError),
}

impl From<sqlx::Error> for AuthError {
    fn from(error: sqlx::Error) -> Self {
        if is_overload(&error) { Self::Overloaded } else { Self::Database(error) }
    }
}

impl From<StoreError> for AuthError {
    fn from(error: StoreError) -> Self {
        if error.is_overload() { Self::Overloaded } else { Self::Store(error) }
    }
}

impl From<Exceeded> for AuthError {
    fn from(exceeded: Exceeded) -> Self {
        Self::Exceeded(exceeded)
    }
}

/// Who a bearer token stands for.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Who it is, with the rights of this moment.
    pub actor: Actor,
    /// When the token ends.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Who a bearer token stands for, with the rights of this moment; without one, nobody.
pub async fn recognise(app: &App, bearer: Option<&str>) -> Result<Known, AuthError> {
    let Some(token) = bearer else {
        return Ok(Known { actor: Actor::Anonymous, expires_at: None });
    };
    if let Some(known) = app.recognised.find(app.bus.log(), token) {
        return Ok(known);
    }
    // From before the look on, whatever ends the rights is heeded.
    let (standing, known) = if ServiceSecret::is_one(token) {
        let presented = ServiceSecret::parse(token).ok_or(AuthError::Invalid)?;
        let scopes = std::iter::empty().collect();
        let standing = app.rights.enter(Actor::Service { id: presented.id(), scopes });
        (standing, service_token::machine(app, &presented).await?)
    } else {
        let (id, session_id, role, end) = app.tokens.verify(token).ok_or(AuthError::Invalid)?;
        let standing = app.rights.enter(Actor::User { id, role, session_id });
        let actor = user(app, id, session_id).await?;
        (standing, Known { actor, expires_at: Some(end) })
    };
    if standing.put(|_| Some(known.actor)).is_ok() {
        app.recognised.keep(token, standing, known.expires_at);
    }
    Ok(known)
}

async fn user(app: &App, id: UserId, session_id: SessionId) -> Result<Actor, AuthError> {
    let seen = match tables_with_rights(app, &[id.0, session_id.0]) {
        Some(position) => in_tables(app, id, session_id, position).await?,
        None => None,
    };
    let role = match seen {
        Some((role, true, true)) => Role::ALL.iter().copied().find(|known| known.as_str() == role),
        Some(_) => None,
        // The read model may be behind a session that has just begun: the log is not.
        None => role_in_log(&app.bus, id, session_id).await?,
    };
    let role = role.ok_or(AuthError::Invalid)?;
    Ok(Actor::User { id, role, session_id })
}

/// The role, whether the user is active, and whether the session is; nothing if the tables do not show them as they
/// were at this position or later.
async fn in_tables(
    app: &App,
    id: UserId,
    session_id: SessionId,
    position: Position,
) -> Result<Option<(String, bool, bool)>, sqlx::Error> {
    let kept = app.reads.primary();
    let mut connection = kept.take().await?;
    let seen = sqlx::query_as(
        "SELECT u.role, u.is_active, s.revoked_at IS NULL
         FROM projection.sessions s JOIN orion.users u ON u.id = s.user_id
         WHERE s.id = $1 AND u.id = $2
           AND (SELECT position FROM projection.checkpoints WHERE name = $3) >= $4",
    )
    .bind(session_id.0)
    .bind(id.0)
    .bind(READ_MODEL)
    .bind(position.0)
    .fetch_optional(&mut *connection)
    .await?;
    kept.give_back(connection);
    Ok(seen)
}

/// Waits until a token has come to its end, if it has one.
pub async fn expired(end: Option<DateTime<Utc>>) {
    let Some(end) = end else { return std::future::pending().await };
    // By the clock that the token's end was told by, which may be set.
    while let Ok(left) = (end - orion_store::now()).to_std() {
        tokio::time::sleep(left.min(Span::from_secs(1))).await;
    }
}

/// The same actor with the rights that the log gives it now: the tables may be a little behind.
async fn in_log(app: &App, actor: Actor) -> Result<Actor, AuthError> {
    match actor {
        Actor::User { id, session_id, .. } => {
            let role = role_in_log(&app.bus, id, session_id).await?.ok_or(AuthError::Invalid)?;
            Ok(Actor::User { id, role, session_id })
        }
        Actor::Service { id, .. } => {
            let scopes = service_token::scopes_in_log(app, id.0).await?;
            Ok(Actor::Service { id, scopes: scopes.ok_or(AuthError::Invalid)? })
        }
        Actor::Anonymous | Actor::System => Ok(actor),
    }
}

/// From which position on the tables show the rights of these streams; nothing while the tables stand, or lack an
/// event: rights that were withdrawn must stay withdrawn. A crash of PostgreSQL may have taken the tables back, so
/// whoever reads them compares.
fn tables_with_rights(app: &App, streams: &[Uuid]) -> Option<Position> {
    let read_model = app.progress.now();
    let has_all = read_model.status == Status::Running
        && app.bus.log().tail().is_quiet(read_model.position, streams);
    has_all.then_some(read_model.position)
}

async fn role_in_log(
    bus: &Bus,
    id: UserId,
    session_id: SessionId,
) -> Result<Option<Role>, StoreError> {
    let session = bus.store().load::<Session>(session_id.0).await?.aggregate;
    if session.owner() != Some(id) || session.is_over() {
        return Ok(None);
    }
    Ok(bus.store().load::<User>(id.0).await?.aggregate.active_role())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const USER: UserId = UserId(Uuid::from_u128(1));
    const SESSION: SessionId = SessionId(Uuid::from_u128(2));

    fn tokens(seed: u8) -> Tokens {
        Tokens::new(&[seed; 32], &[]).unwrap()
    }

    /// Whose token it is.
    fn holder(tokens: &Tokens, token: &str) -> Option<(UserId, SessionId)> {
        tokens.verify(token).map(|(user_id, session_id, ..)| (user_id, session_id))
    }

    #[test]
    fn an_own_token_names_its_session() {
        let token = tokens(1).issue(USER, SESSION, Role::Admin).unwrap().token;
        assert_eq!(holder(&tokens(1), &token), Some((USER, SESSION)));
    }

    #[test]
    fn a_token_ends_when_it_says() {
        let tokens = tokens(1).living_for(Span::from_mins(1));
        let issued = tokens.issue(USER, SESSION, Role::Admin).unwrap();
        let (.., end) = tokens.verify(&issued.token).unwrap();
        assert_eq!(end, issued.expires_at);
        let left = end - Utc::now();
        assert!(left <= Duration::seconds(60) && left > Duration::seconds(50), "{left}");
    }

    #[test]
    fn a_token_of_an_old_key_is_good_until_it_expires() {
        let token = tokens(1).issue(USER, SESSION, Role::Admin).unwrap().token;
        let rotated = Tokens::new(&[2; 32], &[[1; 32]]).unwrap();
        assert_eq!(holder(&rotated, &token), Some((USER, SESSION)));
        assert_eq!(rotated.jwks()["keys"].as_array().map(Vec::len), Some(2));
        assert_eq!(tokens(2).verify(&token), None);
    }

    /// A token of the right key that says something else: each is refused.
    #[test]
    fn forged_tokens_are_refused() {
        let ours = tokens(1);
        let now = Utc::now().timestamp();
        let good = json!({
            "iss": ISSUER, "aud": ISSUER, "sub": USER, "role": "admin", "sid": SESSION,
            "iat": now, "exp": now + 900,
        });
        let with = |key: &str, value: serde_json::Value| {
            let mut claims = good.clone();
            claims[key] = value;
            claims
        };
        let signed = |header: &Header, claims: &serde_json::Value| {
            jsonwebtoken::encode(header, claims, &ours.encoding).unwrap()
        };
        assert!(ours.verify(&signed(&ours.header, &good)).is_some());
        let mut without_kid = ours.header.clone();
        without_kid.kid = None;
        let mut foreign_kid = ours.header.clone();
        foreign_kid.kid = Some("0123456789abcdef".to_owned());
        let body = URL_SAFE_NO_PAD.encode(good.to_string());
        let kid = &ours.keys[0].id;
        let none = URL_SAFE_NO_PAD.encode(json!({"alg": "none", "kid": kid}).to_string());
        let hmac = Header { kid: Some(kid.clone()), ..Header::new(Algorithm::HS256) };
        let public_as_secret = EncodingKey::from_secret(&ours.keys[0].public);
        let mut truncated = signed(&ours.header, &good);
        truncated.pop();
        let forged = [
            ("expired", signed(&ours.header, &with("exp", json!(now - 1)))),
            ("issued in the future", signed(&ours.header, &with("iat", json!(now + 60)))),
            ("for somebody else", signed(&ours.header, &with("aud", json!("other")))),
            ("by somebody else", signed(&ours.header, &with("iss", json!("other")))),
            ("without a user", signed(&ours.header, &with("sub", json!(null)))),
            ("without a key id", signed(&without_kid, &good)),
            ("with a foreign key id", signed(&foreign_kid, &good)),
            ("unsigned", format!("{none}.{body}.")),
            (
                "signed by the public key",
                jsonwebtoken::encode(&hmac, &good, &public_as_secret).unwrap(),
            ),
            ("cut short", truncated),
            ("not a token", "not.a.token".to_owned()),
            ("empty", String::new()),
        ];
        for (what, token) in forged {
            assert_eq!(ours.verify(&token), None, "{what}");
        }
    }
}
