//! Accounts: register, sign in and out, change the own account, manage others'.

use std::marker::PhantomData;

use async_graphql::parser::types::Field;
use async_graphql::registry::Registry;
use async_graphql::{
    ComplexObject, Context, ContextSelectionSet, Data, ID, InputObject, Json, MaybeUndefined,
    Object, OutputType, Positioned, Result, ServerResult, SimpleObject,
};
use chrono::{DateTime, Utc};
use orion_commands::{
    Action, Actor, ChangePassword, CommandError, Envelope, LogIn, Password, Refresh, Refusal,
    Register, SignedIn, Single, Unit, UpdateSettings, UseCase,
};
use orion_domain::user::ProfileChange;
use orion_domain::values::{
    AvatarUrl, Bio, Email, FirstName, LastName, Name, OAuthAccountId, Personal, Role as DomainRole,
    SessionId, TimeZone, UserId, Username, ValueError,
};
use orion_domain::{
    AggregateRoot as _, Rejection as _, Session as SessionAggregate, SessionCommand, SessionError,
    User as UserAggregate, UserCommand, UserError as UserRejection,
};
use orion_projections::tables::{SessionRow, UserRow, UserSettingsRow};
use serde_json::Value;
use uuid::Uuid;

use super::content::{acting_user, patch};
use super::context::{App, Caller, CommandArgs, ContextExt as _, Outcome};
use super::error::{AtField as _, failure, internal};
use super::loader;
use super::reader::RowKey;
use super::scalars::{Position, uuid};
use super::user::{Role, Session, User, UserSettings};

/// What became of an attempt to sign in, or to stay signed in.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct AuthPayload {
    /// For `Authorization: Bearer`; null when the mutation was refused.
    access_token: Option<String>,
    /// From when on the access token is refused.
    expires_at: Option<DateTime<Utc>>,
    /// What the client shows to `refreshSession`, once; null when the mutation was refused.
    refresh_token: Option<String>,
    #[graphql(flatten)]
    outcome: Outcome,
    #[graphql(skip)]
    actor: Actor,
}

impl AuthPayload {
    fn refused(refusal: Refusal) -> Self {
        Self::without_tokens(Outcome::refused(refusal))
    }

    fn without_tokens(outcome: Outcome) -> Self {
        let (access_token, expires_at, refresh_token) = (None, None, None);
        Self { access_token, expires_at, refresh_token, outcome, actor: Actor::Anonymous }
    }

    /// Hands out the tokens of a session that has begun or gone on, unless it was refused.
    async fn of(app: &App, outcome: Outcome, id: UserId, session: &SignedIn) -> Result<Self> {
        if !outcome.errors.is_empty() {
            return Ok(Self::without_tokens(outcome));
        }
        let user = app.bus.store().load::<UserAggregate>(id.0).await.map_err(internal)?;
        let Some(role) = user.aggregate.active_role() else {
            let errors = vec![Refusal::from(UserRejection::Inactive).into()];
            return Ok(Self::without_tokens(Outcome { errors, ..outcome }));
        };
        let session_id = session.session_id;
        let issued = app.tokens.issue(id, session_id, role).map_err(internal)?;
        Ok(Self {
            access_token: Some(issued.token),
            expires_at: Some(issued.expires_at),
            refresh_token: Some(session.refresh_token.expose().clone()),
            outcome,
            actor: Actor::User { id, role, session_id },
        })
    }
}

#[ComplexObject]
impl AuthPayload {
    /// The user who is signed in now; null when the mutation was refused.
    async fn user(&self, ctx: &Context<'_>) -> Result<Option<Oneself>> {
        let Some(id) = self.actor.user_id() else { return Ok(None) };
        let caller = Caller { actor: self.actor, ..ctx.caller().clone() };
        let loader = loader(ctx.app(), &caller);
        let key = RowKey::<UserRow>(id.0, PhantomData);
        let Some(found) = loader.load_one(key).await.map_err(internal)? else { return Ok(None) };
        let mut data = Data::default();
        data.insert(caller);
        data.insert(loader);
        Ok(Some(Oneself { user: found.into(), data }))
    }
}

/// A user who has signed in by this very request. The request came from nobody, or from somebody
/// else: what is below this field is read as the user.
struct Oneself {
    user: User,
    data: Data,
}

impl OutputType for Oneself {
    fn type_name() -> std::borrow::Cow<'static, str> {
        <User as OutputType>::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        <User as OutputType>::create_type_info(registry)
    }

    async fn resolve(
        &self,
        ctx: &ContextSelectionSet<'_>,
        field: &Positioned<Field>,
    ) -> ServerResult<async_graphql::Value> {
        let mut ctx = ctx.clone();
        ctx.execute_data = Some(&self.data);
        OutputType::resolve(&self.user, &ctx, field).await
    }
}

/// What became of a logout.
#[derive(SimpleObject)]
pub struct LogoutPayload {
    #[graphql(flatten)]
    outcome: Outcome,
}

/// What became of a mutation on a user.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct UserPayload {
    #[graphql(flatten)]
    outcome: Outcome,
    #[graphql(skip)]
    id: Option<Uuid>,
}

#[ComplexObject]
impl UserPayload {
    /// The user as it is now; null when the mutation was refused.
    async fn user(&self, ctx: &Context<'_>) -> Result<Option<User>> {
        match self.id {
            Some(id) => Ok(ctx.row::<UserRow>(id).await?.map(User::from)),
            None => Ok(None),
        }
    }
}

/// What became of a mutation on a session.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct SessionPayload {
    #[graphql(flatten)]
    outcome: Outcome,
    #[graphql(skip)]
    id: Option<Uuid>,
}

#[ComplexObject]
impl SessionPayload {
    /// The session as it is now; null when the mutation was refused.
    async fn session(&self, ctx: &Context<'_>) -> Result<Option<Session>> {
        match self.id {
            Some(id) => Ok(ctx.row::<SessionRow>(id).await?.map(Session::from)),
            None => Ok(None),
        }
    }
}

/// What became of a mutation on preferences.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct SettingsPayload {
    #[graphql(flatten)]
    outcome: Outcome,
    #[graphql(skip)]
    id: Option<Uuid>,
}

#[ComplexObject]
impl SettingsPayload {
    /// The preferences as they are now; null when the mutation was refused.
    async fn settings(&self, ctx: &Context<'_>) -> Result<Option<UserSettings>> {
        match self.id {
            Some(id) => Ok(ctx.row::<UserSettingsRow>(id).await?.map(UserSettings::from)),
            None => Ok(None),
        }
    }
}

/// A new account.
#[derive(InputObject)]
pub struct RegisterInput {
    /// The address to sign in with, at most 512 characters.
    email: String,
    /// The password: at least 12 characters, at most 72 bytes.
    password: String,
    /// The display name, at most 256 characters.
    name: String,
}

/// An address and its password.
#[derive(InputObject)]
pub struct LoginInput {
    /// The address that the account was opened with.
    email: String,
    /// The password.
    password: String,
}

/// A refresh token.
#[derive(InputObject)]
pub struct RefreshSessionInput {
    /// The newest refresh token of the session; it is over afterwards.
    refresh_token: String,
}

/// The end of a session.
#[derive(InputObject)]
pub struct LogoutInput {
    /// The newest refresh token of the session.
    refresh_token: String,
    /// True to end all of the user's sessions.
    #[graphql(default_with = "Some(false)")]
    everywhere: Option<bool>,
}

/// Changes of how the caller appears; what is not given stays, null removes.
#[derive(InputObject)]
pub struct UpdateProfileInput {
    /// A new display name, at most 256 characters.
    name: Option<String>,
    /// A new unique short name of letters, digits, `.`, `_` and `-`, at most 64; or null for none.
    username: MaybeUndefined<String>,
    /// A new given name, at most 128 characters; or null for none.
    first_name: MaybeUndefined<String>,
    /// A new family name, at most 128 characters; or null for none.
    last_name: MaybeUndefined<String>,
    /// A new http or https address of a picture, at most 2048 characters; or null for none.
    avatar_url: MaybeUndefined<String>,
    /// New words about oneself, at most 10,000 characters; or null for none.
    bio: MaybeUndefined<String>,
    /// A new time zone: an IANA name such as `Europe/Berlin`.
    timezone: Option<String>,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
    /// The user's version that the decision was made on.
    expected_version: Option<i32>,
}

/// A new password of the caller.
#[derive(InputObject)]
pub struct ChangePasswordInput {
    /// The present password.
    current_password: String,
    /// The new one: at least 12 characters, at most 72 bytes.
    new_password: String,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
    /// The user's version that the decision was made on.
    expected_version: Option<i32>,
}

/// Changes of the caller's preferences.
#[derive(InputObject)]
pub struct UpdateSettingsInput {
    /// An object that is merged into the present one, key by key; null removes a key.
    settings: Json<Value>,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
    /// The user's version that the decision was made on.
    expected_version: Option<i32>,
}

/// Names a linked identity of the caller.
#[derive(InputObject)]
pub struct UnlinkOAuthAccountInput {
    /// The link.
    oauth_account_id: ID,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
    /// The user's version that the decision was made on.
    expected_version: Option<i32>,
}

/// Names a session.
#[derive(InputObject)]
pub struct RevokeSessionInput {
    /// The session.
    session_id: ID,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
    /// The session's version that the decision was made on.
    expected_version: Option<i32>,
}

/// A new role of a user.
#[derive(InputObject)]
pub struct ChangeRoleInput {
    /// The user; not the caller.
    user_id: ID,
    /// What the user may do from now on.
    role: Role,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
    /// The user's version that the decision was made on.
    expected_version: Option<i32>,
}

/// Names a user.
#[derive(InputObject)]
pub struct UserInput {
    /// The user.
    user_id: ID,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
    /// The user's version that the decision was made on.
    expected_version: Option<i32>,
}

/// Mutations of accounts and sessions.
#[derive(Default)]
pub struct AccountMutation;

#[Object]
impl AccountMutation {
    /// Opens a viewer's account and signs it in.
    async fn register(&self, ctx: &Context<'_>, input: RegisterInput) -> Result<AuthPayload> {
        ctx.allow(Action::Authenticate)?;
        let (email, password, name) = match input.parse() {
            Ok(parsed) => parsed,
            Err(refusal) => return Ok(AuthPayload::refused(refusal)),
        };
        let app = ctx.app();
        let client = ctx.caller().client.clone();
        let register = match Register::new(&app.passwords, email, password, name, client).await {
            Ok(register) => register,
            Err(error) => return failure(error).map(AuthPayload::refused),
        };
        let outcome = ctx.run(&ctx.envelope(), &register).await?;
        AuthPayload::of(app, outcome, register.user_id, &register.session).await
    }

    /// Signs in with address and password.
    async fn login(&self, ctx: &Context<'_>, input: LoginInput) -> Result<AuthPayload> {
        ctx.allow(Action::Authenticate)?;
        let LoginInput { email, password } = input;
        let app = ctx.app();
        let client = ctx.caller().client.clone();
        let log_in = match LogIn::new(&app.bus, &app.passwords, &email, password, client).await {
            Ok(log_in) => log_in,
            Err(error) => return failure(error).map(AuthPayload::refused),
        };
        let outcome = ctx.run(&ctx.envelope(), &log_in).await?;
        AuthPayload::of(app, outcome, log_in.user_id(), &log_in.session).await
    }

    /// Trades a refresh token for its successor and a new access token.
    async fn refresh_session(
        &self,
        ctx: &Context<'_>,
        input: RefreshSessionInput,
    ) -> Result<AuthPayload> {
        ctx.allow(Action::Authenticate)?;
        let refresh = match Refresh::new(&input.refresh_token) {
            Ok(refresh) => refresh,
            Err(refusal) => return Ok(AuthPayload::refused(refusal)),
        };
        let outcome = ctx.run(&ctx.envelope(), &refresh).await?;
        let app = ctx.app();
        let session_id = refresh.session.session_id.0;
        let session = app.bus.store().load::<SessionAggregate>(session_id).await;
        match session.map_err(internal)?.aggregate.owner() {
            Some(user_id) => AuthPayload::of(app, outcome, user_id, &refresh.session).await,
            None => Ok(AuthPayload::without_tokens(outcome)),
        }
    }

    /// Ends the session of a refresh token, or all sessions of its user.
    async fn logout(&self, ctx: &Context<'_>, input: LogoutInput) -> Result<LogoutPayload> {
        ctx.allow(Action::Authenticate)?;
        let LogoutInput { refresh_token, everywhere } = input;
        let (session_id, user_id) = match Refresh::owner(&ctx.app().bus, &refresh_token).await {
            Ok(owner) => owner,
            Err(error) => return failure(error).map(LogoutPayload::refused),
        };
        // The token says whose session it is, and no more is needed to end it.
        let actor = Actor::User { id: user_id, role: DomainRole::Viewer, session_id };
        let envelope = Envelope { actor, ..ctx.envelope() };
        if everywhere.unwrap_or_default()
            && let Some(refusal) = revoke_others(ctx, &envelope, user_id, session_id).await?
        {
            return Ok(LogoutPayload::refused(refusal));
        }
        let mut outcome = ctx.run(&envelope, &revocation(session_id.0, "logout")).await?;
        // Another logout may have been faster.
        outcome.errors.retain(|error| !is_over(&error.code));
        Ok(LogoutPayload { outcome })
    }

    /// Changes how the caller appears.
    async fn update_profile(
        &self,
        ctx: &Context<'_>,
        input: UpdateProfileInput,
    ) -> Result<UserPayload> {
        let args = CommandArgs {
            command_id: input.command_id.clone(),
            expected_version: input.expected_version,
        };
        change_own(ctx, args, || Ok(UserCommand::UpdateProfile(input.parse()?))).await
    }

    /// Replaces the caller's password.
    async fn change_password(
        &self,
        ctx: &Context<'_>,
        input: ChangePasswordInput,
    ) -> Result<UserPayload> {
        let ChangePasswordInput { current_password, new_password, .. } = input;
        let args =
            CommandArgs { command_id: input.command_id, expected_version: input.expected_version };
        let build = |actor: &Actor| {
            let at_field = |refusal: Refusal| refusal.at("newPassword");
            Ok(ReplacePassword {
                app: ctx.app().clone(),
                user_id: acting_user(actor)?,
                current: Personal::new(current_password),
                new: Password::parse(&new_password).map_err(at_field)?,
            })
        };
        let outcome = ctx.command(Action::ManageOwnAccount, args, build).await?;
        Ok(UserPayload { id: own_id(ctx, &outcome), outcome })
    }

    /// Merges a change into the caller's preferences.
    async fn update_settings(
        &self,
        ctx: &Context<'_>,
        input: UpdateSettingsInput,
    ) -> Result<SettingsPayload> {
        let UpdateSettingsInput { settings: Json(settings), command_id, expected_version } = input;
        let args = CommandArgs { command_id, expected_version };
        let build = |actor: &Actor| {
            let Value::Object(change) = settings else {
                let error = ValueError::Malformed { what: "settings", expected: "a JSON object" };
                return Err(error).at("settings");
            };
            Ok(UpdateSettings { user_id: acting_user(actor)?, change })
        };
        let outcome = ctx.command(Action::ManageOwnAccount, args, build).await?;
        Ok(SettingsPayload { id: own_id(ctx, &outcome), outcome })
    }

    /// Removes a linked identity of the caller, unless it is the last way to sign in.
    #[graphql(name = "unlinkOAuthAccount")]
    async fn unlink_oauth_account(
        &self,
        ctx: &Context<'_>,
        input: UnlinkOAuthAccountInput,
    ) -> Result<UserPayload> {
        let UnlinkOAuthAccountInput { oauth_account_id, command_id, expected_version } = input;
        let args = CommandArgs { command_id, expected_version };
        let account_id = OAuthAccountId(uuid(&oauth_account_id)?);
        change_own(ctx, args, || Ok(UserCommand::UnlinkOAuthAccount { account_id })).await
    }

    /// Ends a session of the caller; an admin may end any.
    async fn revoke_session(
        &self,
        ctx: &Context<'_>,
        input: RevokeSessionInput,
    ) -> Result<SessionPayload> {
        let RevokeSessionInput { session_id, command_id, expected_version } = input;
        let args = CommandArgs { command_id, expected_version };
        let id = uuid(&session_id)?;
        let build = |_: &Actor| Ok(revocation(id, "revoked"));
        let mut outcome = ctx.command(Action::ManageOwnAccount, args, build).await?;
        // The domain knows a session by its token; this input does not.
        for error in &mut outcome.errors {
            if is_over(&error.code) {
                error.field = Some("sessionId".to_owned());
            }
        }
        Ok(SessionPayload { id: outcome.unless_refused(id), outcome })
    }

    /// Changes what another user may do; for admins.
    async fn change_role(&self, ctx: &Context<'_>, input: ChangeRoleInput) -> Result<UserPayload> {
        let ChangeRoleInput { user_id, role, command_id, expected_version } = input;
        let args = CommandArgs { command_id, expected_version };
        manage(ctx, &user_id, args, UserCommand::ChangeRole { role: role.into() }).await
    }

    /// Keeps another user out; for admins.
    async fn deactivate_user(&self, ctx: &Context<'_>, input: UserInput) -> Result<UserPayload> {
        let UserInput { user_id, command_id, expected_version } = input;
        let args = CommandArgs { command_id, expected_version };
        manage(ctx, &user_id, args, UserCommand::Deactivate).await
    }

    /// Lets a user in again; for admins.
    async fn reactivate_user(&self, ctx: &Context<'_>, input: UserInput) -> Result<UserPayload> {
        let UserInput { user_id, command_id, expected_version } = input;
        let args = CommandArgs { command_id, expected_version };
        manage(ctx, &user_id, args, UserCommand::Reactivate).await
    }
}

impl LogoutPayload {
    fn refused(refusal: Refusal) -> Self {
        Self { outcome: Outcome::refused(refusal) }
    }
}

impl RegisterInput {
    fn parse(&self) -> Result<(Email, Password, Name), Refusal> {
        let email = Email::parse(&self.email).at("email")?;
        let name = Name::parse(&self.name).at("name")?;
        Ok((email, Password::parse(&self.password)?, name))
    }
}

impl UpdateProfileInput {
    fn parse(self) -> Result<ProfileChange, Refusal> {
        // A macro because each field has a type of its own.
        macro_rules! personal {
            ($raw:expr, $value:ident, $field:literal) => {
                patch($raw).try_map(|raw| $value::parse(&raw).map(Personal::new)).at($field)?
            };
        }
        let name = self.name.as_deref().map(Name::parse).transpose().at("name")?;
        let timezone = self.timezone.as_deref().map(TimeZone::parse).transpose();
        Ok(ProfileChange {
            name: name.map(Personal::new),
            username: personal!(self.username, Username, "username"),
            first_name: personal!(self.first_name, FirstName, "firstName"),
            last_name: personal!(self.last_name, LastName, "lastName"),
            avatar_url: personal!(self.avatar_url, AvatarUrl, "avatarUrl"),
            bio: personal!(self.bio, Bio, "bio"),
            timezone: timezone.at("timezone")?,
        })
    }
}

/// Replaces the own password. It compares only when the receipt has been looked up: sent again,
/// the command would find that the current password has become another.
struct ReplacePassword {
    app: App,
    user_id: UserId,
    current: Personal<String>,
    new: Password,
}

impl UseCase for ReplacePassword {
    fn action(&self) -> Action {
        Action::ManageOwnAccount
    }

    async fn decide(&self, unit: &mut Unit<'_>) -> Result<(), CommandError> {
        let App { bus, passwords, .. } = &self.app;
        let (current, new) = (self.current.expose().clone(), self.new.clone());
        let change = ChangePassword::new(bus, passwords, self.user_id, current, new).await?;
        change.decide(unit).await
    }
}

/// A command of the caller on the own account.
async fn change_own(
    ctx: &Context<'_>,
    args: CommandArgs,
    command: impl FnOnce() -> Result<UserCommand, Refusal> + Send,
) -> Result<UserPayload> {
    let build = |actor: &Actor| {
        let id = acting_user(actor)?;
        Ok(Single::<UserAggregate>::new(id, command()?))
    };
    let outcome = ctx.command(Action::ManageOwnAccount, args, build).await?;
    Ok(UserPayload { id: own_id(ctx, &outcome), outcome })
}

/// The caller's id, unless the command was refused.
fn own_id(ctx: &Context<'_>, outcome: &Outcome) -> Option<Uuid> {
    ctx.caller().actor.user_id().and_then(|id| outcome.unless_refused(id))
}

/// A command of an admin on another's account: nobody may take the last admin's rights by mistake.
async fn manage(
    ctx: &Context<'_>,
    user_id: &ID,
    args: CommandArgs,
    command: UserCommand,
) -> Result<UserPayload> {
    let id = uuid(user_id)?;
    let build = |actor: &Actor| {
        if actor.user_id() == Some(UserId(id)) {
            let message = "ask another admin to change your own account";
            return Err(Refusal::new("OWN_ACCOUNT", message).at("userId"));
        }
        Ok(Single::<UserAggregate>::new(id, command))
    };
    let outcome = ctx.command(Action::ManageUsers, args, build).await?;
    Ok(UserPayload { id: outcome.unless_refused(id), outcome })
}

fn revocation(session_id: Uuid, reason: &str) -> Single<SessionAggregate> {
    Single::new(session_id, SessionCommand::Revoke { reason: reason.to_owned() })
}

/// True of the code that says that a session has ended already.
fn is_over(code: &str) -> bool {
    code == SessionError::Revoked.code()
}

/// Ends all sessions of a user but the one that logs out: while that one lives, the logout can be
/// sent again, should the read model be too far behind to know them all.
async fn revoke_others(
    ctx: &Context<'_>,
    envelope: &Envelope,
    user_id: UserId,
    but: SessionId,
) -> Result<Option<Refusal>> {
    let App { bus, pool, .. } = ctx.app();
    let head = bus.log().head().await.map_err(internal)?;
    let reached = ctx.reach(Some(Position(head))).await;
    let sessions: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM projection.sessions
         WHERE user_id = $1 AND revoked_at IS NULL AND id <> $2",
    )
    .bind(user_id.0)
    .bind(but.0)
    .fetch_all(pool)
    .await
    .map_err(internal)?;
    for session in sessions {
        match bus.run(envelope, &revocation(session, "logout")).await {
            Ok(_) => {}
            Err(CommandError::Refused(refusal)) if is_over(refusal.code) => {}
            Err(error) => return failure(error).map(Some),
        }
    }
    reached.map(|()| None)
}
