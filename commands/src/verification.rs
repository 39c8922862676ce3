//! The link that verifies an e-mail address, and what can be asked about it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use orion_domain::values::{Email, Role, SessionId, UserId};
use orion_domain::{User, UserCommand, UserError};
use orion_store::Keys;
use secrecy::SecretString;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use crate::actor::Actor;
use crate::error::{CommandError, Refusal};
use crate::policy::Action;
use crate::unit::{Unit, UseCase};

/// How long a link is good.
pub const LINK_TTL: TimeDelta = TimeDelta::hours(24);

/// The purpose that the tag is for, so that a link for another purpose can never be passed off.
const PURPOSE: &[u8] = b"verify-email\0";

/// Bytes of the user's id, of the expiry, and of the tag.
const TOKEN_BYTES: usize = 16 + 8 + 32;

/// What a link says: `user id | expiry in seconds since 1970 | tag`, in base64url.
///
/// The tag is an HMAC that also covers the address: with another address the link is worth nothing.
#[derive(Clone, Copy)]
struct Token {
    user_id: UserId,
    expires_at: i64,
    tag: [u8; 32],
}

impl Token {
    fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let bytes: [u8; TOKEN_BYTES] = bytes.try_into().ok()?;
        let (user_id, rest) = bytes.split_first_chunk()?;
        let (expires_at, tag) = rest.split_first_chunk()?;
        Some(Self {
            user_id: UserId(Uuid::from_bytes(*user_id)),
            expires_at: i64::from_be_bytes(*expires_at),
            tag: tag.try_into().ok()?,
        })
    }

    fn text(&self) -> String {
        let expires_at = self.expires_at.to_be_bytes();
        URL_SAFE_NO_PAD.encode([self.user_id.0.as_bytes(), &expires_at[..], &self.tag].concat())
    }
}

fn tag(keys: &Keys, user_id: UserId, expires_at: i64, email: &Email) -> [u8; 32] {
    let expires_at = expires_at.to_be_bytes();
    let parts = [PURPOSE, user_id.0.as_bytes(), &expires_at, email.as_str().as_bytes()];
    keys.link_tag(&parts.concat())
}

/// The token of a link for one user and one address, good for [`LINK_TTL`] from `now`.
pub fn verification_token(
    keys: &Keys,
    user_id: UserId,
    email: &Email,
    now: DateTime<Utc>,
) -> SecretString {
    let expires_at = (now + LINK_TTL).timestamp();
    let tag = tag(keys, user_id, expires_at, email);
    Token { user_id, expires_at, tag }.text().into()
}

/// Uses a link. Whoever has it may: it was sent to the address.
pub struct VerifyEmail {
    token: Token,
    now: DateTime<Utc>,
}

impl VerifyEmail {
    /// Reads the token of the link.
    pub fn new(token: &str) -> Result<Self, Refusal> {
        Self::at(token, orion_store::now())
    }

    /// The same at another time.
    pub fn at(token: &str, now: DateTime<Utc>) -> Result<Self, Refusal> {
        let token = Token::parse(token.trim()).ok_or_else(invalid)?;
        Ok(Self { token, now })
    }

    /// Whose address it is, if the link is good.
    pub fn user_id(&self) -> UserId {
        self.token.user_id
    }

    /// In whose name the event is written: the link speaks for the user, without any session.
    pub fn actor(&self) -> Actor {
        let session_id = SessionId(Uuid::nil());
        Actor::User { id: self.token.user_id, role: Role::Viewer, session_id }
    }
}

fn invalid() -> Refusal {
    Refusal::new("INVALID_VERIFICATION_TOKEN", "the link is not valid").at("token")
}

impl UseCase for VerifyEmail {
    fn action(&self) -> Action {
        Action::Authenticate
    }

    async fn decide(&self, unit: &mut Unit<'_>) -> Result<(), CommandError> {
        let Token { user_id, expires_at, tag: shown } = self.token;
        let mut user = unit.load::<User>(user_id.0).await?;
        // That there is no such user looks like any other wrong link.
        let email = user.aggregate.email().ok_or_else(invalid)?;
        let expected = tag(unit.keys(), user_id, expires_at, email);
        if !bool::from(expected.ct_eq(&shown)) {
            return Err(invalid().into());
        }
        // Of a link that was used the age does not matter any more.
        if user.aggregate.is_email_verified() {
            return Err(Refusal::from(UserError::AlreadyVerified).at("token").into());
        }
        if self.now.timestamp() >= expires_at {
            let message = "the link is too old; sign in and ask for another";
            return Err(Refusal::new("VERIFICATION_EXPIRED", message).at("token").into());
        }
        unit.handle(&mut user, UserCommand::VerifyEmail).await
    }

    fn subject(&self) -> Option<&'static str> {
        Some("token")
    }
}

/// Asks for another mail with a link, for oneself.
#[derive(Clone, Copy, Debug)]
pub struct RequestVerification {
    /// Who asks.
    pub user_id: UserId,
    /// When.
    pub now: DateTime<Utc>,
}

impl UseCase for RequestVerification {
    fn action(&self) -> Action {
        Action::ManageOwnAccount
    }

    async fn decide(&self, unit: &mut Unit<'_>) -> Result<(), CommandError> {
        let mut user = unit.load_to_change::<User>(self.user_id.0).await?;
        unit.handle(&mut user, UserCommand::RequestVerification { now: self.now }).await
    }

    fn contended(&self) -> Option<Uuid> {
        Some(self.user_id.0)
    }
}
