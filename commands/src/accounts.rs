//! Opening an account, signing in, renewing and ending a session.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Duration, Utc};
use orion_domain::session::Token;
use orion_domain::values::{Email, Name, Personal, RefreshTokenId, Role, SessionId, UserId};
use orion_domain::{
    AggregateRoot as _, Session, SessionCommand, SessionError, User, UserCommand, UserError,
};
use orion_store::Loaded;
use rand::RngCore;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::error::{CommandError, Refusal};
use crate::passwords::{Password, Passwords};
use crate::policy::Action;
use crate::unit::{Unit, UseCase};

/// How long a refresh token lives.
const REFRESH_TOKEN_DAYS: i64 = 30;

/// A session that has just begun or gone on, with the token that only the client keeps.
///
/// The token is `<session id>.<256 random bits>`; the log has its SHA-256.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The session.
    pub session_id: SessionId,
    /// What the client shows to renew it.
    pub refresh_token: Personal<String>,
    token: Token,
}

impl SignedIn {
    /// A token for a session that begins now.
    fn begin(now: DateTime<Utc>) -> Self {
        Self::issue(SessionId(Uuid::now_v7()), now)
    }

    fn issue(session_id: SessionId, now: DateTime<Utc>) -> Self {
        let mut secret = [0; 32];
        rand::rng().fill_bytes(&mut secret);
        let refresh_token = format!("{session_id}.{}", URL_SAFE_NO_PAD.encode(secret));
        let token = Token {
            token_id: RefreshTokenId(Uuid::now_v7()),
            token_hash: hash_of(&refresh_token),
            expires_at: now + Duration::days(REFRESH_TOKEN_DAYS),
        };
        Self { session_id, refresh_token: Personal::new(refresh_token), token }
    }

    /// Writes the session's first event into a unit.
    async fn start(
        &self,
        unit: &mut Unit<'_>,
        user_id: UserId,
        client: &Client,
    ) -> Result<(), CommandError> {
        let mut session = unit.load::<Session>(self.session_id.0).await?;
        let start = SessionCommand::Start {
            user_id,
            token: self.token.clone(),
            ip: client.ip.clone().map(Personal::new),
            user_agent: client.user_agent.clone().map(Personal::new),
        };
        unit.handle(&mut session, start).await
    }
}

/// What is known of the program that signs in.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// Its address.
    pub ip: Option<String>,
    /// Its `User-Agent`.
    pub user_agent: Option<String>,
}

fn hash_of(refresh_token: &str) -> Personal<String> {
    Personal::new(hex::encode(Sha256::digest(refresh_token)))
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
            session: SignedIn::begin(Utc::now()),
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
    /// The hash that was compared, and one with today's cost, where it has an older.
    renewal: Option<(Personal<String>, Personal<String>)>,
}

impl LogIn {
    /// Compares the password. A wrong one and an unknown e-mail are refused alike, after as long.
    pub async fn new(
        bus: &crate::Bus,
        passwords: &Passwords,
        email: &str,
        password: String,
        client: Client,
    ) -> Result<Self, CommandError> {
        let refused = || Refusal::new("INVALID_CREDENTIALS", "e-mail or password is wrong");
        let holder = match Email::parse(email) {
            Ok(email) => bus.log().holder("user.email", &email_claim(bus, &email)).await?,
            Err(_) => None,
        };
        let user = match holder {
            Some(id) => bus.store().load::<User>(id).await?,
            None => Loaded { id: Uuid::nil(), version: 0, aggregate: User::default() },
        };
        let hash = user.aggregate.password_hash();
        if !passwords.verify(Personal::new(password.clone()), hash).await? {
            return Err(refused().into());
        }
        let renewal = match hash {
            Some(hash) if passwords.is_outdated(hash) => {
                Some((hash.clone(), passwords.hash(&Password::known(password)).await?))
            }
            Some(_) | None => None,
        };
        let session = SignedIn::begin(Utc::now());
        Ok(Self { session, user_id: UserId(user.id), client, renewal })
    }

    /// Who signs in.
    pub fn user_id(&self) -> UserId {
        self.user_id
    }
}

fn email_claim(bus: &crate::Bus, email: &Email) -> String {
    bus.keys().claim_value(&orion_domain::user::email_claim(&Personal::new(email.clone())))
}

impl UseCase for LogIn {
    fn action(&self) -> Action {
        Action::Authenticate
    }

    async fn decide(&self, unit: &mut Unit<'_>) -> Result<(), CommandError> {
        let mut user = unit.load::<User>(self.user_id.0).await?;
        let session_id = self.session.session_id;
        unit.handle(&mut user, UserCommand::LogIn { session_id }).await?;
        // Another password may have been set since the old one was compared.
        if let Some((compared, password_hash)) = self.renewal.clone()
            && user.aggregate.password_hash() == Some(&compared)
        {
            unit.handle(&mut user, UserCommand::ChangePassword { password_hash }).await?;
        }
        self.session.start(unit, self.user_id, &self.client).await
    }
}

/// Replaces a refresh token by its successor.
#[derive(Debug)]
pub struct Refresh {
    /// The session, with the new token.
    pub session: SignedIn,
    presented_hash: Personal<String>,
    now: DateTime<Utc>,
}

impl Refresh {
    /// Reads the token that was shown.
    pub fn new(refresh_token: &str) -> Result<Self, Refusal> {
        let session_id = session_of(refresh_token)?;
        let now = Utc::now();
        let session = SignedIn::issue(session_id, now);
        Ok(Self { session, presented_hash: hash_of(refresh_token), now })
    }

    /// The session that a refresh token names, if the token is that session's newest.
    pub async fn owner(
        bus: &crate::Bus,
        refresh_token: &str,
    ) -> Result<(SessionId, UserId), CommandError> {
        let session_id = session_of(refresh_token)?;
        let session = bus.store().load::<Session>(session_id.0).await?;
        match session.aggregate.holder_of(&hash_of(refresh_token)) {
            Some(user_id) => Ok((session_id, user_id)),
            None => Err(Refusal::from(SessionError::InvalidToken).into()),
        }
    }
}

fn session_of(refresh_token: &str) -> Result<SessionId, Refusal> {
    let session_id = refresh_token.split_once('.').and_then(|(id, _)| id.parse().ok());
    session_id.map(SessionId).ok_or_else(|| SessionError::InvalidToken.into())
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
        let user = unit.load::<User>(user_id.0).await?;
        if user.aggregate.active_role().is_none() {
            return Err(Refusal::from(UserError::Inactive).into());
        }
        let rotate = SessionCommand::Rotate {
            presented_hash: self.presented_hash.clone(),
            now: self.now,
            successor: self.session.token.clone(),
        };
        unit.handle(&mut session, rotate).await
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
    pub current: Personal<String>,
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
