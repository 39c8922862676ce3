//! Opening an account, signing in, renewing and ending a session.

use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use orion_domain::session::{REFRESH_TOKEN_TTL, Token};
use orion_domain::values::{
    Email, Name, Personal, RefreshTokenId, Role, SessionId, TokenHash, UserId,
};
use orion_domain::{
    AggregateRoot as _, Session, SessionCommand, SessionError, User, UserCommand, UserError,
};
use orion_store::{Keys, Loaded};
use rand::RngCore;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::error::{CommandError, Refusal};
use crate::passwords::{Password, Passwords};
use crate::policy::Action;
use crate::unit::{Unit, UseCase};

/// A session that has just begun or gone on, with the token that only the client keeps.
///
/// The token is `<session id>.<generation>.<256 bits>`; the log has its SHA-256. The first secret of a
/// session is random; each successor's is the HMAC of the token before it, so that it can be given out
/// again, and so that an old token is known for what it is without a list of old tokens.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The session.
    pub session_id: SessionId,
    /// What the client shows to renew it.
    pub refresh_token: SecretString,
    token: Token,
}

impl SignedIn {
    /// A token for a session that begins now.
    pub(crate) fn begin(now: DateTime<Utc>) -> Self {
        let mut secret = [0; 32];
        rand::rng().fill_bytes(&mut secret);
        let session_id = SessionId(Uuid::now_v7());
        Self::issue(session_id, token_text(session_id, 0, secret), now)
    }

    fn issue(session_id: SessionId, refresh_token: String, now: DateTime<Utc>) -> Self {
        let token = Token {
            token_id: RefreshTokenId(Uuid::now_v7()),
            token_hash: hash_of(&refresh_token),
            expires_at: now + REFRESH_TOKEN_TTL,
        };
        Self { session_id, refresh_token: refresh_token.into(), token }
    }

    /// Writes the session's first event into a unit.
    pub(crate) async fn start(
        &self,
        unit: &mut Unit<'_>,
        user_id: UserId,
        client: &Client,
    ) -> Result<(), CommandError> {
        let mut session = unit.load::<Session>(self.session_id.0).await?;
        let start = SessionCommand::Start {
            user_id,
            token: self.token.clone(),
            ip: client.ip.clone(),
            user_agent: client.user_agent.clone(),
        };
        unit.handle(&mut session, start).await
    }
}

/// What is known of the program that signs in.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// Its address.
    pub ip: Option<Personal<String>>,
    /// Its `User-Agent`.
    pub user_agent: Option<Personal<String>>,
}

fn hash_of(refresh_token: &str) -> TokenHash {
    TokenHash::new(hex::encode(Sha256::digest(refresh_token)))
}

/// Opens a viewer's account and signs it in.
#[derive(Debug)]
pub struct Register {
    /// The account that will be.
    pub user_id: UserId,
    /// The session that will be.
    pub session: SignedIn,
    email: Personal<Email>,
    password_hash: Personal<String>,
    name: Personal<Name>,
    client: Client,
}

impl Register {
    /// Hashes the password and draws the ids.
    pub async fn new(
        passwords: &Passwords,
        email: Email,
        password: Password,
        name: Name,
        client: Client,
    ) -> Result<Self, CommandError> {
        Ok(Self {
            user_id: UserId(Uuid::now_v7()),
            session: SignedIn::begin(orion_store::now()),
            email: Personal::new(email),
            password_hash: passwords.hash(&password).await?,
            name: Personal::new(name),
            client,
        })
    }
}

impl UseCase for Register {
    fn action(&self) -> Action {
        Action::Authenticate
    }

    async fn decide(&self, unit: &mut Unit<'_>) -> Result<(), CommandError> {
        let mut user = unit.load::<User>(self.user_id.0).await?;
        let register = UserCommand::Register {
            email: self.email.clone(),
            password_hash: Some(self.password_hash.clone()),
            name: self.name.clone(),
            role: Role::Viewer,
            email_verified: false,
        };
        unit.handle(&mut user, register).await?;
        self.session.start(unit, self.user_id, &self.client).await?;
        let session_id = self.session.session_id;
        unit.handle(&mut user, UserCommand::LogIn { session_id }).await
    }
}

/// Signs in by e-mail and password.
#[derive(Debug)]
pub struct LogIn {
    /// The session that will be.
    pub session: SignedIn,
    user_id: UserId,
    client: Client,
    passwords: Passwords,
    password: SecretString,
    /// The hash that was compared.
    compared: Option<Personal<String>>,
    /// One with today's cost, where it has an older.
    renewal: Option<Personal<String>>,
}

impl LogIn {
    /// Compares the password. A wrong one and an unknown e-mail are refused alike, after as long.
    pub async fn new(
        bus: &crate::Bus,
        passwords: &Passwords,
        email: &str,
        password: SecretString,
        client: Client,
    ) -> Result<Self, CommandError> {
        let holder = match Email::parse(email) {
            Ok(email) => bus.log().holder("user.email", &email_claim(bus, &email)).await?,
            Err(_) => None,
        };
        let user = match holder {
            Some(id) => bus.store().load::<User>(id).await?,
            None => Loaded { id: Uuid::nil(), version: 0, aggregate: User::default() },
        };
        let hash = user.aggregate.password_hash();
        if !passwords.verify(password.clone(), hash).await? {
            return Err(wrong_credentials().into());
        }
        let renewal = match hash {
            Some(hash) if passwords.is_outdated(hash) => {
                Some(passwords.hash(&Password::known(password.clone())).await?)
            }
            Some(_) | None => None,
        };
        let (session, passwords) = (SignedIn::begin(orion_store::now()), passwords.clone());
        let (user_id, compared) = (UserId(user.id), hash.cloned());
        Ok(Self { session, user_id, client, passwords, password, compared, renewal })
    }

    /// Who signs in.
    pub fn user_id(&self) -> UserId {
        self.user_id
    }
}

fn wrong_credentials() -> Refusal {
    Refusal::new("INVALID_CREDENTIALS", "e-mail or password is wrong")
}

fn email_claim(bus: &crate::Bus, email: &Email) -> String {
    bus.keys().claim_value(&orion_domain::user::email_claim(email))
}

impl UseCase for LogIn {
    fn action(&self) -> Action {
        Action::Authenticate
    }

    async fn decide(&self, unit: &mut Unit<'_>) -> Result<(), CommandError> {
        let mut user = unit.load::<User>(self.user_id.0).await?;
        // Another password may have been set since this one was compared.
        let is_as_compared = user.aggregate.password_hash() == self.compared.as_ref();
        let hash = user.aggregate.password_hash();
        if !is_as_compared && !self.passwords.verify(self.password.clone(), hash).await? {
            return Err(wrong_credentials().into());
        }
        let session_id = self.session.session_id;
        unit.handle(&mut user, UserCommand::LogIn { session_id }).await?;
        if let Some(password_hash) = self.renewal.clone().filter(|_| is_as_compared) {
            unit.handle(&mut user, UserCommand::ChangePassword { password_hash }).await?;
        }
        self.session.start(unit, self.user_id, &self.client).await
    }
}

/// Replaces a refresh token by its successor.
///
/// A token that was replaced just now gets the one that lives now: tabs of one browser race, and one
/// of them may be two tokens ahead. One that was replaced earlier is in two hands, and nobody knows
/// which is the thief's: the session ends.
#[derive(Debug)]
pub struct Refresh {
    /// With the successor of the token that was shown.
    session: SignedIn,
    presented: Presented,
    now: DateTime<Utc>,
    /// The token that lives, where another than that successor does.
    living: Mutex<Option<SecretString>>,
}

/// A refresh token as a client shows it.
#[derive(Clone, Debug)]
struct Presented {
    session_id: SessionId,
    generation: u32,
    text: SecretString,
}

/// What a refresh token is to its session.
#[derive(Clone, Debug)]
enum Standing {
    /// The one that is alive, or a forgery of it; its hash tells.
    Newest,
    /// Followed by this many others, of which the last is this one.
    Replaced(u32, SecretString),
    /// Never of this session.
    Foreign,
}

/// The most replacements that an old token is followed through: in 30 days one every two minutes.
const GENERATIONS_MAX: u32 = 21_600;

impl Presented {
    fn parse(refresh_token: &str) -> Result<Self, Refusal> {
        let mut parts = refresh_token.splitn(3, '.');
        let session_id = parts.next().and_then(|id| id.parse().ok()).map(SessionId);
        let generation = parts.next().and_then(|generation| generation.parse().ok());
        match (session_id, generation, parts.next()) {
            (Some(session_id), Some(generation), Some(_)) => {
                Ok(Self { session_id, generation, text: refresh_token.into() })
            }
            _ => Err(SessionError::InvalidToken.into()),
        }
    }

    fn successor(&self, keys: &Keys) -> Self {
        let generation = self.generation.saturating_add(1);
        let secret = keys.successor_secret(self.text.expose_secret());
        let text = token_text(self.session_id, generation, secret);
        Self { session_id: self.session_id, generation, text: text.into() }
    }

    /// Follows the chain of successors from this token to the session's newest.
    fn standing(&self, session: &Session, keys: &Keys) -> Standing {
        let Some((newest, hash)) = session.generation() else { return Standing::Foreign };
        let Some(steps) = newest.checked_sub(self.generation) else { return Standing::Foreign };
        if steps == 0 {
            return Standing::Newest;
        }
        if steps > GENERATIONS_MAX {
            return Standing::Foreign;
        }
        let last = (0..steps).fold(self.clone(), |token, _| token.successor(keys));
        if hash_of(last.text.expose_secret()) == *hash {
            Standing::Replaced(steps, last.text)
        } else {
            Standing::Foreign
        }
    }
}

fn token_text(session_id: SessionId, generation: u32, secret: [u8; 32]) -> String {
    format!("{session_id}.{generation}.{}", URL_SAFE_NO_PAD.encode(secret))
}

impl Refresh {
    /// Reads the token that was shown.
    pub fn new(keys: &Keys, refresh_token: &str) -> Result<Self, Refusal> {
        Self::at(keys, refresh_token, orion_store::now())
    }

    /// The same at another time.
    pub fn at(keys: &Keys, refresh_token: &str, now: DateTime<Utc>) -> Result<Self, Refusal> {
        let presented = Presented::parse(refresh_token)?;
        let successor = presented.successor(keys).text.expose_secret().to_owned();
        let session = SignedIn::issue(presented.session_id, successor, now);
        Ok(Self { session, presented, now, living: Mutex::default() })
    }

    /// The session that is renewed.
    pub fn session_id(&self) -> SessionId {
        self.session.session_id
    }

    /// The session, with the token that the client is to show from now on.
    pub fn session(&self) -> SignedIn {
        let living = self.living.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let refresh_token = living.unwrap_or_else(|| self.session.refresh_token.clone());
        SignedIn { refresh_token, ..self.session.clone() }
    }

    /// The session that a refresh token names, if the token is that session's newest.
    pub async fn owner(
        bus: &crate::Bus,
        refresh_token: &str,
    ) -> Result<(SessionId, UserId), CommandError> {
        let session_id = Presented::parse(refresh_token)?.session_id;
        let session = bus.store().load::<Session>(session_id.0).await?;
        match session.aggregate.holder_of(&hash_of(refresh_token)) {
            Some(user_id) => Ok((session_id, user_id)),
            None => Err(Refusal::from(SessionError::InvalidToken).into()),
        }
    }
}

impl UseCase for Refresh {
    fn action(&self) -> Action {
        Action::Authenticate
    }

    async fn decide(&self, unit: &mut Unit<'_>) -> Result<(), CommandError> {
        let mut session = unit.load::<Session>(self.session.session_id.0).await?;
        // Whether there is such a session is nobody's business.
        let invalid = || Refusal::from(SessionError::InvalidToken);
        let user_id = session.aggregate.owner().ok_or_else(invalid)?;
        let standing = self.presented.standing(&session.aggregate, unit.keys());
        if matches!(standing, Standing::Foreign) {
            return Err(invalid().into());
        }
        if session.aggregate.is_revoked() {
            return Err(Refusal::from(SessionError::Revoked).into());
        }
        let user = unit.load::<User>(user_id.0).await?;
        if user.aggregate.active_role().is_none() {
            return Err(Refusal::from(UserError::Inactive).into());
        }
        match standing {
            Standing::Replaced(steps, living)
                if session.aggregate.has_just_replaced(steps as usize, self.now) =>
            {
                *self.living.lock().unwrap_or_else(PoisonError::into_inner) = Some(living);
                Ok(())
            }
            Standing::Replaced(..) => {
                unit.handle(&mut session, SessionCommand::ReportReuse).await?;
                unit.refuse_after(SessionError::Reused.into());
                Ok(())
            }
            Standing::Newest | Standing::Foreign => {
                let rotate = SessionCommand::Rotate {
                    presented_hash: hash_of(self.presented.text.expose_secret()),
                    now: self.now,
                    successor: self.session.token.clone(),
                };
                unit.handle(&mut session, rotate).await
            }
        }
    }

    fn contended(&self) -> Option<Uuid> {
        Some(self.session.session_id.0)
    }
}

/// Replaces the own password.
#[derive(Debug)]
pub struct ChangePassword {
    /// Hashes and compares.
    pub passwords: Passwords,
    /// Whose password.
    pub user_id: UserId,
    /// The present one.
    pub current: SecretString,
    /// The one that takes its place.
    pub new: Password,
}

impl UseCase for ChangePassword {
    fn action(&self) -> Action {
        Action::ManageOwnAccount
    }

    async fn decide(&self, unit: &mut Unit<'_>) -> Result<(), CommandError> {
        let mut user = unit.load_to_change::<User>(self.user_id.0).await?;
        let hash = user.aggregate.password_hash();
        if !self.passwords.verify(self.current.clone(), hash).await? {
            let refusal = Refusal::new("INVALID_CREDENTIALS", "the current password is wrong");
            return Err(refusal.at("currentPassword").into());
        }
        let password_hash = self.passwords.hash(&self.new).await?;
        unit.handle(&mut user, UserCommand::ChangePassword { password_hash }).await
    }
}
