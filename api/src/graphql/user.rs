//! Users: query, with their settings, sessions and linked identities.

use async_graphql::{Context, Enum, ID, InputObject, Json, Object, Result};
use chrono::{DateTime, Utc};
use orion_commands::policy::Area;
use orion_commands::{Action, Actor, webhook_secret};
use orion_domain::values::{UserId, effective_settings};
use orion_projections::tables::{OAuthAccountRow, SessionRow, UserRow, UserSettingsRow};
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::context::ContextExt as _;
use super::inline::Inline;
use super::page::{List, Nodes, Order, PageArgs};
use super::plan::{Relation, ToMany, ToOne};
use super::reader::{Condition, Entity, Found};
use super::scalars::{Position, uuid};

/// Their row has the user's id.
const SETTINGS: ToOne<UserSettingsRow> = ToOne::new("settings", "id");
const SESSIONS: ToMany<SessionRow> = ToMany::new("sessions", "user_id", SESSION_ORDER);
const OAUTH_ACCOUNTS: ToMany<OAuthAccountRow> =
    ToMany::new("oauthAccounts", "user_id", OAUTH_ACCOUNT_ORDER);

impl Entity for UserRow {
    const AREA: Area = Area::Accounts;
    const OWNER: Option<&'static str> = Some("{t}.id");
    const RELATIONS: &'static [Relation] =
        &[SETTINGS.relation(), SESSIONS.relation(), OAUTH_ACCOUNTS.relation()];
}

impl Entity for UserSettingsRow {
    const AREA: Area = Area::Accounts;
    const OWNER: Option<&'static str> = Some("{t}.user_id");
}

impl Entity for SessionRow {
    const AREA: Area = Area::Accounts;
    const OWNER: Option<&'static str> = Some("{t}.user_id");
}

impl Entity for OAuthAccountRow {
    const AREA: Area = Area::Accounts;
    const OWNER: Option<&'static str> = Some("{t}.user_id");
}

/// Newest first.
const SESSION_ORDER: Order = Order::descending("created_at", "timestamptz");

/// In the order in which they were linked.
const OAUTH_ACCOUNT_ORDER: Order = Order::ascending("created_at", "timestamptz");

/// What a user may do.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "orion_domain::values::Role")]
pub enum Role {
    /// Everything.
    Admin,
    /// Detects trends; creates, changes and publishes own contents.
    Editor,
    /// Reads.
    Viewer,
}

/// Who vouches for an external identity.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(name = "OAuthProvider", remote = "orion_domain::values::OAuthProvider")]
pub enum OAuthProvider {
    /// github.com.
    #[graphql(name = "GITHUB")]
    GitHub,
    /// Google accounts.
    Google,
}

/// A person who can sign in.
pub type User = Inline<UserFields>;

/// What a client may select of it.
pub struct UserFields(Found<UserRow>);

impl From<Found<UserRow>> for UserFields {
    fn from(found: Found<UserRow>) -> Self {
        Self(found)
    }
}

/// A person who can sign in.
#[Object(name = "User")]
impl UserFields {
    /// The user's id, a bare UUID.
    pub async fn id(&self) -> ID {
        self.0.row.id.into()
    }
    /// How often the user has changed; what `expectedVersion` is compared with.
    async fn version(&self) -> i64 {
        self.0.version.unwrap_or_default()
    }
    /// The address to sign in with.
    async fn email(&self) -> &str {
        &self.0.row.email
    }
    /// The display name.
    async fn name(&self) -> &str {
        &self.0.row.name
    }
    /// The unique short name.
    async fn username(&self) -> Option<&str> {
        self.0.row.username.as_deref()
    }
    /// The given name.
    async fn first_name(&self) -> Option<&str> {
        self.0.row.first_name.as_deref()
    }
    /// The family name.
    async fn last_name(&self) -> Option<&str> {
        self.0.row.last_name.as_deref()
    }
    /// Where the picture is.
    async fn avatar_url(&self) -> Option<&str> {
        self.0.row.avatar_url.as_deref()
    }
    /// A few words.
    async fn bio(&self) -> Option<&str> {
        self.0.row.bio.as_deref()
    }
    /// An IANA name such as `Europe/Berlin`.
    async fn timezone(&self) -> &str {
        &self.0.row.timezone
    }
    /// What the user may do.
    async fn role(&self) -> Role {
        self.0.row.role.into()
    }
    /// Whether the address is known to be the user's.
    async fn email_verified(&self) -> bool {
        self.0.row.email_verified
    }
    /// Whether the user may come in.
    async fn is_active(&self) -> bool {
        self.0.row.is_active
    }
    /// When the user last signed in.
    async fn last_login_at(&self) -> Option<DateTime<Utc>> {
        self.0.row.last_login_at
    }
    /// When the user registered.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.row.created_at
    }
    /// When the user last changed; signing in is no change.
    async fn updated_at(&self) -> DateTime<Utc> {
        self.0.row.updated_at
    }
    /// The user's preferences.
    async fn settings(&self, ctx: &Context<'_>) -> Result<Option<UserSettings>> {
        Ok(self.0.one(ctx, SETTINGS, self.0.row.id).await?.map(UserSettings::from))
    }
    /// The user's sessions, also those that are over; newest first.
    async fn sessions(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Nodes<Session>> {
        self.0.many(ctx, SESSIONS, PageArgs { after, before, first, last }).await
    }
    /// The identities that the user has linked, in that order.
    async fn oauth_accounts(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Nodes<OAuthAccount>> {
        self.0.many(ctx, OAUTH_ACCOUNTS, PageArgs { after, before, first, last }).await
    }
}

/// The preferences of a user.
pub type UserSettings = Inline<UserSettingsFields>;

/// What a client may select of it.
pub struct UserSettingsFields(Found<UserSettingsRow>);

impl From<Found<UserSettingsRow>> for UserSettingsFields {
    fn from(found: Found<UserSettingsRow>) -> Self {
        Self(found)
    }
}

/// The preferences of a user.
#[Object(name = "UserSettings")]
impl UserSettingsFields {
    /// The preferences' id: there is one document for each user, under the user's id.
    pub async fn id(&self) -> ID {
        self.0.row.id.into()
    }
    /// Whose preferences they are.
    async fn user_id(&self) -> ID {
        self.0.row.user_id.into()
    }
    /// All of them, as an object: what was chosen, and the defaults for the rest.
    async fn settings(&self) -> Json<Value> {
        Json(effective_settings(&self.0.row.settings))
    }
    /// What the signatures of the caller's webhooks are made with; null for the preferences of others.
    async fn webhook_secret(&self, ctx: &Context<'_>) -> Option<String> {
        let user_id = UserId(self.0.row.user_id);
        let is_own = ctx.caller().actor.user_id() == Some(user_id);
        let secret = || webhook_secret(ctx.app().bus.keys(), user_id);
        is_own.then(|| secret().expose_secret().to_owned())
    }
    /// When the user registered.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.row.created_at
    }
    /// When the preferences last changed.
    async fn updated_at(&self) -> DateTime<Utc> {
        self.0.row.updated_at
    }
}

/// A time for which a user is signed in with one program.
pub type Session = Inline<SessionFields>;

/// What a client may select of it.
pub struct SessionFields(Found<SessionRow>);

impl From<Found<SessionRow>> for SessionFields {
    fn from(found: Found<SessionRow>) -> Self {
        Self(found)
    }
}

/// A time for which a user is signed in with one program.
#[Object(name = "Session")]
impl SessionFields {
    /// The session's id, a bare UUID.
    pub async fn id(&self) -> ID {
        self.0.row.id.into()
    }
    /// How often it has changed; what `expectedVersion` is compared with.
    async fn version(&self) -> i64 {
        self.0.version.unwrap_or_default()
    }
    /// Who signed in.
    async fn user_id(&self) -> ID {
        self.0.row.user_id.into()
    }
    /// When that was.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.row.created_at
    }
    /// When it was last begun or refreshed.
    async fn last_used_at(&self) -> DateTime<Utc> {
        self.0.row.last_used_at
    }
    /// From when on it cannot be refreshed any more.
    async fn expires_at(&self) -> DateTime<Utc> {
        self.0.row.expires_at
    }
    /// When it was ended.
    async fn revoked_at(&self) -> Option<DateTime<Utc>> {
        self.0.row.revoked_at
    }
    /// Why it was ended: `logout`, `revoked`, `reuse`.
    async fn revoked_reason(&self) -> Option<&str> {
        self.0.row.revoked_reason.as_deref()
    }
    /// The address that it was begun from, if known.
    async fn ip(&self) -> Option<&str> {
        self.0.row.ip.as_deref()
    }
    /// The program that it was begun with, if known.
    async fn user_agent(&self) -> Option<&str> {
        self.0.row.user_agent.as_deref()
    }
    /// Whether it is the session that asks.
    async fn current(&self, ctx: &Context<'_>) -> bool {
        match ctx.caller().actor {
            Actor::User { session_id, .. } => session_id.0 == self.0.row.id,
            Actor::Anonymous | Actor::Service { .. } | Actor::System => false,
        }
    }
}

/// An identity at another provider that a user has linked.
pub type OAuthAccount = Inline<OAuthAccountFields>;

/// What a client may select of it.
pub struct OAuthAccountFields(Found<OAuthAccountRow>);

impl From<Found<OAuthAccountRow>> for OAuthAccountFields {
    fn from(found: Found<OAuthAccountRow>) -> Self {
        Self(found)
    }
}

/// An identity at another provider that a user has linked.
#[Object(name = "OAuthAccount")]
impl OAuthAccountFields {
    /// The link's id, a bare UUID.
    pub async fn id(&self) -> ID {
        self.0.row.id.into()
    }
    /// Whose identity it is.
    async fn user_id(&self) -> ID {
        self.0.row.user_id.into()
    }
    /// Who vouches for it.
    async fn provider(&self) -> OAuthProvider {
        self.0.row.provider.into()
    }
    /// The user's id there.
    async fn provider_user_id(&self) -> &str {
        &self.0.row.provider_user_id
    }
    /// The user's address there.
    async fn provider_email(&self) -> Option<&str> {
        self.0.row.provider_email.as_deref()
    }
    /// When Orion's access there ends.
    async fn token_expires_at(&self) -> Option<DateTime<Utc>> {
        self.0.row.token_expires_at
    }
    /// When it was linked.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.row.created_at
    }
    /// When it last changed.
    async fn updated_at(&self) -> DateTime<Utc> {
        self.0.row.updated_at
    }
}

/// Which users a list shows.
#[derive(InputObject, Default)]
pub struct UserFilter {
    /// With this role.
    role: Option<Role>,
    /// Who may come in, or may not.
    is_active: Option<bool>,
    /// Whose address contains this text, in any case.
    email: Option<String>,
    /// Registered then or later.
    created_since: Option<DateTime<Utc>>,
    /// Registered earlier.
    created_before: Option<DateTime<Utc>>,
}

/// The order of a list of users.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum UserOrder {
    /// By address.
    #[default]
    EmailAsc,
    /// By id: oldest first.
    IdAsc,
    /// By id: newest first.
    IdDesc,
}

impl From<UserOrder> for Order {
    fn from(order: UserOrder) -> Self {
        match order {
            UserOrder::EmailAsc => Self::ascending("email", "varchar"),
            UserOrder::IdAsc => Self::ascending("id", "uuid"),
            UserOrder::IdDesc => Self::descending("id", "uuid"),
        }
    }
}

/// Queries on users.
#[derive(Default)]
pub struct UserQuery;

#[Object]
impl UserQuery {
    /// The user who asks; null when nobody is signed in, and to a machine.
    async fn me(&self, ctx: &Context<'_>, min_position: Option<Position>) -> Result<Option<User>> {
        let Some(id) = ctx.caller().actor.user_id() else { return Ok(None) };
        ctx.allow(Action::Read)?;
        ctx.reach(min_position).await?;
        Ok(ctx.row::<UserRow>(id.0).await?.map(User::from))
    }

    /// One user; for admins.
    async fn user(
        &self,
        ctx: &Context<'_>,
        id: ID,
        min_position: Option<Position>,
    ) -> Result<Option<User>> {
        ctx.allow(Action::Audit)?;
        ctx.reach(min_position).await?;
        Ok(ctx.row::<UserRow>(uuid(&id)?).await?.map(User::from))
    }

    /// All users; for admins.
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the field")]
    async fn users(
        &self,
        ctx: &Context<'_>,
        filter: Option<UserFilter>,
        #[graphql(default)] order_by: UserOrder,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
        min_position: Option<Position>,
    ) -> Result<Nodes<User>> {
        ctx.allow(Action::Audit)?;
        ctx.reach(min_position).await?;
        let filter = filter.unwrap_or_default();
        let role = filter.role.map(orion_domain::values::Role::from);
        List::<UserRow>::all(order_by.into())
            .and(role.map(|is| Condition::Is("role", "varchar", is.to_string())))
            .and(filter.is_active.map(|is| Condition::Is("is_active", "boolean", is.to_string())))
            .and(filter.email.map(|text| Condition::Contains("email", text)))
            .and(filter.created_since.map(|time| Condition::Since("created_at", time)))
            .and(filter.created_before.map(|time| Condition::Before("created_at", time)))
            .page(ctx, PageArgs { after, before, first, last })
            .await
    }
}
