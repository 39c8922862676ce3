//! Access tokens, and who a request comes from.

use chrono::{DateTime, Duration, Utc};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use orion_commands::{Actor, Bus};
use orion_domain::values::{Role, SessionId, UserId};
use orion_domain::{AggregateRoot as _, Session, User};
use orion_store::StoreError;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

/// How long an access token is valid.
const ACCESS_TOKEN_MINUTES: i64 = 15;

/// Who issues the tokens, and whom they are for.
const ISSUER: &str = "orion";

/// Issues and checks access tokens: JWTs, signed by Ed25519.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    header: Header,
    validation: Validation,
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
    /// Signs with the Ed25519 key of this seed.
    pub fn new(seed: &[u8; 32]) -> Result<Self, TokenError> {
        let key = SigningKey::from_bytes(seed);
        let private = key.to_pkcs8_der().map_err(|error| TokenError(error.into()))?;
        let public = key.verifying_key();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.leeway = 0;
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(hex::encode(&public.as_bytes()[..8]));
        Ok(Self {
            encoding: EncodingKey::from_ed_der(private.as_bytes()),
            decoding: DecodingKey::from_ed_der(public.as_bytes()),
            header,
            validation,
        })
    }

    /// A token for a session.
    pub fn issue(
        &self,
        user_id: UserId,
        session_id: SessionId,
        role: Role,
    ) -> Result<Issued, TokenError> {
        let now = Utc::now();
        let expires_at = now + Duration::minutes(ACCESS_TOKEN_MINUTES);
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

    /// The session of a token that is ours and still valid.
    fn verify(&self, token: &str) -> Option<(UserId, SessionId)> {
        let token = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation).ok()?;
        Some((token.claims.sub, token.claims.sid))
    }
}

/// Why nobody could be recognised.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The token is not one of ours, is too old, or its session is over. Deliberately no detail.
    #[error("the access token is not valid")]
    Invalid,
    /// The rights could not be looked up.
    #[error("looking up a session")]
    Database(#[from] sqlx::Error),
    /// The log could not be read.
    #[error("looking up a session in the log")]
    Store(#[from] StoreError),
}

/// Who a bearer token stands for, with the rights of this moment; without one, nobody.
pub async fn actor(
    tokens: &Tokens,
    bus: &Bus,
    pool: &PgPool,
    bearer: Option<&str>,
) -> Result<Actor, AuthError> {
    let Some(token) = bearer else { return Ok(Actor::Anonymous) };
    let (id, session_id) = tokens.verify(token).ok_or(AuthError::Invalid)?;
    let seen: Option<(String, bool, bool)> = sqlx::query_as(
        "SELECT u.role, u.is_active, s.revoked_at IS NULL
         FROM projection.sessions s JOIN orion.users u ON u.id = s.user_id
         WHERE s.id = $1 AND u.id = $2",
    )
    .bind(session_id.0)
    .bind(id.0)
    .fetch_optional(pool)
    .await?;
    let role = match seen {
        Some((role, true, true)) => Role::ALL.iter().copied().find(|known| known.as_str() == role),
        Some(_) => None,
        // The read model may be behind a session that has just begun: the log is not.
        None => role_in_log(bus, id, session_id).await?,
    };
    let role = role.ok_or(AuthError::Invalid)?;
    Ok(Actor::User { id, role, session_id })
}

async fn role_in_log(
    bus: &Bus,
    id: UserId,
    session_id: SessionId,
) -> Result<Option<Role>, StoreError> {
    let session = bus.store().load::<Session>(session_id.0).await?.aggregate;
    if session.owner() != Some(id) || session.is_revoked() {
        return Ok(None);
    }
    Ok(bus.store().load::<User>(id.0).await?.aggregate.active_role())
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn only_own_tokens_verify() {
        let tokens = Tokens::new(&[1; 32]).unwrap();
        let (user, session) = (UserId(Uuid::from_u128(1)), SessionId(Uuid::from_u128(2)));
        let issued = tokens.issue(user, session, Role::Admin).unwrap();
        assert_eq!(tokens.verify(&issued.token), Some((user, session)));
        assert_eq!(Tokens::new(&[2; 32]).unwrap().verify(&issued.token), None);
        let mut forged = issued.token.clone();
        forged.pop();
        assert_eq!(tokens.verify(&forged), None);
        assert_eq!(tokens.verify("not.a.token"), None);
    }
}
