//! Signing in by an identity that another provider vouches for, and linking one.

use chrono::{DateTime, Utc};
use orion_domain::user::{OAuthAccount, email_claim, oauth_claim};
use orion_domain::values::{
    Email, Name, OAuthAccountId, OAuthProvider, Personal, Role, SessionId, UserId,
};
use orion_domain::{AggregateRoot as _, Claim, Session, User, UserCommand};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use crate::accounts::{Client, SignedIn};
use crate::actor::Envelope;
use crate::bus::{Bus, Done};
use crate::error::{CommandError, Refusal};
use crate::policy::Action;
use crate::unit::{Unit, UseCase};

/// An identity as its provider has just described it. It is of no use in a log line.
pub struct Identity {
    /// Who vouches for it.
    pub provider: OAuthProvider,
    /// The id there, which stays when name and address change.
    pub provider_user_id: String,
    /// The address there.
    pub email: Option<Email>,
    /// True when the provider knows that the address is the person's.
    pub email_verified: bool,
    /// What the person is called there.
    pub name: Option<Name>,
    /// The provider's access token.
    pub access_token: String,
    /// The provider's refresh token.
    pub refresh_token: Option<String>,
    /// When the access token ends.
    pub token_expires_at: Option<DateTime<Utc>>,
}

impl Identity {
    /// The identity as the log keeps it, still without its tokens.
    fn account(&self) -> OAuthAccount {
        let account_id = OAuthAccountId(Uuid::now_v7());
        let email = self.email.as_ref().map(|email| email.as_str().to_owned());
        OAuthAccount {
            account_id,
            provider: self.provider,
            provider_user_id: Personal::new(self.provider_user_id.clone()),
            provider_email: email.map(Personal::new),
            access_token: None,
            refresh_token: None,
            token_expires_at: self.token_expires_at,
        }
    }

    /// The account that would be opened for it. An address that is not verified may be anybody's,
    /// and opens none.
    fn newcomer(&self) -> Result<Newcomer, Refusal> {
        let Some(email) = self.email.clone().filter(|_| self.email_verified) else {
            let message =
                "the provider does not vouch for an e-mail address of yours; verify it there";
            return Err(Refusal::new("EMAIL_NOT_VERIFIED", message));
        };
        let before_at = email.as_str().split('@').next().unwrap_or_default();
        let name = match &self.name {
            Some(name) => name.clone(),
            None => Name::parse(before_at).map_err(Refusal::from)?,
        };
        Ok(Newcomer { email, name })
    }
}

/// The tokens that a provider gave, until they are sealed.
struct ProviderTokens {
    access: SecretString,
    refresh: Option<SecretString>,
}

impl ProviderTokens {
    fn of(identity: &Identity) -> Self {
        let refresh = identity.refresh_token.clone().map(SecretString::from);
        Self { access: identity.access_token.clone().into(), refresh }
    }

    /// The account with its tokens encrypted under the user's key, each good for its column only.
    async fn seal_into(
        &self,
        account: &OAuthAccount,
        user_id: Uuid,
        unit: &mut Unit<'_>,
    ) -> Result<OAuthAccount, CommandError> {
        let place = |column: &str| format!("{column} of oauth_account {}", account.account_id);
        let access = self.access.expose_secret();
        let access_token = unit.seal_text(user_id, &place("access_token"), access).await?;
        let refresh_token = match &self.refresh {
            Some(refresh) => {
                let refresh = refresh.expose_secret();
                Some(unit.seal_text(user_id, &place("refresh_token"), refresh).await?)
            }
            None => None,
        };
        Ok(OAuthAccount { access_token: Some(access_token), refresh_token, ..account.clone() })
    }
}

/// What opens an account.
struct Newcomer {
    email: Email,
    name: Name,
}

/// Signs in by an identity: whose it is, or else a new viewer.
///
/// An account is never found by its address. Whoever has registered the address here may be
/// somebody else than who has it there, so the two are joined by a link only, which the signed-in
/// user asks for.
pub struct OAuthSignIn {
    /// The session that will be.
    pub session: SignedIn,
    /// The user that will be, if the identity is nobody's.
    user_id: UserId,
    account: OAuthAccount,
    claim: Claim,
    tokens: ProviderTokens,
    newcomer: Result<Newcomer, Refusal>,
    client: Client,
}

impl OAuthSignIn {
    /// Draws the ids.
    pub fn new(identity: &Identity, client: Client) -> Self {
        Self {
            session: SignedIn::begin(orion_store::now()),
            user_id: UserId(Uuid::now_v7()),
            account: identity.account(),
            claim: oauth_claim(identity.provider, &identity.provider_user_id),
            tokens: ProviderTokens::of(identity),
            newcomer: identity.newcomer(),
            client,
        }
    }

    /// Signs in. Where one identity comes twice at once, on two servers, the second finds the
    /// account that the first has opened.
    pub async fn run(&self, bus: &Bus, envelope: &Envelope) -> Result<Done, CommandError> {
        match bus.run(envelope, self).await {
            Err(CommandError::Refused(refusal)) if is_taken(&refusal) => {
                bus.run(envelope, self).await
            }
            done => done,
        }
    }

    async fn log_in(&self, unit: &mut Unit<'_>, id: Uuid) -> Result<(), CommandError> {
        let mut user = unit.load::<User>(id).await?;
        if !user.aggregate.has_identity(self.account.provider, &self.account.provider_user_id) {
            // It was unlinked just now.
            return Err(CommandError::Conflict);
        }
        let session_id = self.session.session_id;
        unit.handle(&mut user, UserCommand::LogIn { session_id }).await?;
        self.session.start(unit, UserId(id), &self.client).await
    }

    async fn sign_up(&self, unit: &mut Unit<'_>) -> Result<(), CommandError> {
        let Newcomer { email, name } = self.newcomer.as_ref().map_err(Clone::clone)?;
        if holder(unit, &email_claim(email)).await?.is_some() {
            let message = "a user has this e-mail already; sign in as that user, then link";
            return Err(Refusal::new("EMAIL_TAKEN", message).at("email").into());
        }
        let mut user = unit.load::<User>(self.user_id.0).await?;
        let register = UserCommand::Register {
            email: Personal::new(email.clone()),
            password_hash: None,
            name: Personal::new(name.clone()),
            role: Role::Viewer,
            email_verified: true,
        };
        unit.handle(&mut user, register).await?;
        let account = self.tokens.seal_into(&self.account, self.user_id.0, unit).await?;
        unit.handle(&mut user, UserCommand::LinkOAuthAccount(account)).await?;
        self.session.start(unit, self.user_id, &self.client).await?;
        let session_id = self.session.session_id;
        unit.handle(&mut user, UserCommand::LogIn { session_id }).await
    }
}

/// True when somebody else was faster with the address or with the identity.
fn is_taken(refusal: &Refusal) -> bool {
    matches!(refusal.code, "EMAIL_TAKEN" | "OAUTH_ACCOUNT_TAKEN")
}

/// Who holds a unique value now.
async fn holder(unit: &Unit<'_>, claim: &Claim) -> Result<Option<Uuid>, CommandError> {
    let value = unit.keys().claim_value(claim);
    Ok(unit.store().log().holder(claim.namespace, &value).await?)
}

impl UseCase for OAuthSignIn {
    fn action(&self) -> Action {
        Action::Authenticate
    }

    async fn decide(&self, unit: &mut Unit<'_>) -> Result<(), CommandError> {
        match holder(unit, &self.claim).await? {
            Some(id) => self.log_in(unit, id).await,
            None => self.sign_up(unit).await,
        }
    }

    /// One identity at a time: the second finds what the first has made.
    fn contended(&self) -> Option<Uuid> {
        Some(Uuid::new_v5(&Uuid::NAMESPACE_URL, self.claim.value.as_bytes()))
    }
}

/// Links an identity to the user who has asked for it while signed in.
pub struct OAuthLink {
    user_id: UserId,
    session_id: SessionId,
    account: OAuthAccount,
    claim: Claim,
    tokens: ProviderTokens,
}

impl OAuthLink {
    /// Draws the id.
    pub fn new(identity: &Identity, user_id: UserId, session_id: SessionId) -> Self {
        let claim = oauth_claim(identity.provider, &identity.provider_user_id);
        let tokens = ProviderTokens::of(identity);
        Self { user_id, session_id, account: identity.account(), claim, tokens }
    }

    /// The link that will be.
    pub fn account_id(&self) -> OAuthAccountId {
        self.account.account_id
    }
}

impl UseCase for OAuthLink {
    fn action(&self) -> Action {
        Action::ManageOwnAccount
    }

    async fn decide(&self, unit: &mut Unit<'_>) -> Result<(), CommandError> {
        // Minutes have passed at the provider; the session may be over.
        let session = unit.load::<Session>(self.session_id.0).await?;
        if session.aggregate.owner() != Some(self.user_id) || session.aggregate.is_over() {
            let message = "the session that has asked for the link is over";
            return Err(Refusal::new("SESSION_REVOKED", message).into());
        }
        unit.require_unchanged(&session);
        let holder = holder(unit, &self.claim).await?;
        if holder.is_some_and(|id| id != self.user_id.0) {
            let message = "this identity is linked to another user";
            return Err(Refusal::new("OAUTH_ACCOUNT_TAKEN", message).at("provider").into());
        }
        let mut user = unit.load_to_change::<User>(self.user_id.0).await?;
        let account = self.tokens.seal_into(&self.account, self.user_id.0, unit).await?;
        unit.handle(&mut user, UserCommand::LinkOAuthAccount(account)).await
    }

    fn contended(&self) -> Option<Uuid> {
        Some(self.user_id.0)
    }
}
