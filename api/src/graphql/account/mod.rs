//! Accounts: register, sign in and out, change the own account, manage others'.

mod input;
mod payload;
mod verification;

use async_graphql::{Context, ID, Json, Object, Result};
use orion_commands::{
    Action, Actor, ChangePassword, CommandError, Envelope, EraseUser, LogIn, ManageUser, Password,
    Refresh, Refusal, Register, Single, UpdateSettings,
};
use orion_domain::values::{
    OAuthAccountId, RevocationReason, Role as DomainRole, SessionId, UserId, ValueError,
};
use orion_domain::{
    AggregateRoot as _, Rejection as _, Session as SessionAggregate, SessionCommand, SessionError,
    User as UserAggregate, UserCommand,
};
use serde_json::Value;
use sqlx::{QueryBuilder, Row as _};
use uuid::Uuid;

use self::input::{
    ChangePasswordInput, ChangeRoleInput, DeactivateUserInput, EraseUserInput, LoginInput,
    LogoutInput, ReactivateUserInput, RefreshSessionInput, RegisterInput,
    RequestEmailVerificationInput, RevokeSessionInput, UnlinkOAuthAccountInput, UpdateProfileInput,
    UpdateSettingsInput, VerifyEmailInput,
};
use self::payload::{AuthPayload, LogoutPayload, SessionPayload, SettingsPayload, UserPayload};
use super::content::acting_user;
use super::context::{CommandArgs, ContextExt as _, Outcome};
use super::error::{AtField as _, failure, internal};
use super::scalars::{Position, uuid};
use crate::limits::Limit;

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
        app.limits.register(ctx.caller().address, email.as_str())?;
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
        app.limits.login(ctx.caller().address, &email)?;
        let client = ctx.caller().client.clone();
        let log_in =
            match LogIn::new(&app.bus, &app.passwords, &email, password.into(), client).await {
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
        let refresh = match Refresh::new(ctx.app().bus.keys(), &input.refresh_token) {
            Ok(refresh) => refresh,
            Err(refusal) => return Ok(AuthPayload::refused(refusal)),
        };
        let app = ctx.app();
        app.limits.refresh(ctx.caller().address, refresh.session_id())?;
        let outcome = ctx.run(&ctx.envelope(), &refresh).await?;
        let session_id = refresh.session_id().0;
        let session = app.bus.patient().store().load::<SessionAggregate>(session_id).await;
        match session.map_err(internal)?.aggregate.owner() {
            Some(user_id) => AuthPayload::of(app, outcome, user_id, &refresh.session()).await,
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
        let (mut bus, everywhere) = (ctx.app().bus.clone(), everywhere.unwrap_or_default());
        if everywhere {
            bus = bus.patient();
        }
        if everywhere
            && let Some(refusal) = revoke_others(ctx, &envelope, user_id, session_id).await?
        {
            return Ok(LogoutPayload::refused(refusal));
        }
        let revocation = revocation(session_id.0, RevocationReason::Logout);
        let mut outcome = ctx.run_by(&bus, &envelope, &revocation).await?;
        // Another logout may have been faster.
        outcome.errors.retain(|error| !is_over(&error.code));
        Ok(LogoutPayload { outcome })
    }

    /// Verifies an address by the link that was sent to it. The link is the authority: nobody needs
    /// to be signed in. `user` is null to those who may not see the user.
    async fn verify_email(
        &self,
        ctx: &Context<'_>,
        input: VerifyEmailInput,
    ) -> Result<UserPayload> {
        ctx.allow(Action::Authenticate)?;
        verification::verify(ctx, &input.token).await
    }

    /// Asks for another mail with a link that verifies the caller's address: once a minute, and five
    /// times in 24 hours.
    async fn request_email_verification(
        &self,
        ctx: &Context<'_>,
        input: RequestEmailVerificationInput,
    ) -> Result<UserPayload> {
        let RequestEmailVerificationInput { command_id, expected_version } = input;
        verification::request(ctx, CommandArgs { command_id, expected_version }).await
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

    /// Replaces the caller's password, and ends the caller's other sessions.
    async fn change_password(
        &self,
        ctx: &Context<'_>,
        input: ChangePasswordInput,
    ) -> Result<UserPayload> {
        ctx.app().limits.check(Limit::ChangePassword, ctx.caller().account())?;
        let ChangePasswordInput { current_password, new_password, .. } = input;
        let args =
            CommandArgs { command_id: input.command_id, expected_version: input.expected_version };
        let build = |actor: &Actor| {
            let at_field = |refusal: Refusal| refusal.at("newPassword");
            Ok(ChangePassword {
                passwords: ctx.app().passwords.clone(),
                user_id: acting_user(actor)?,
                current: current_password.into(),
                new: Password::parse(&new_password).map_err(at_field)?,
            })
        };
        let mut outcome = ctx.command(Action::ManageOwnAccount, args, build).await?;
        // Whoever knew the old password may have a session.
        if outcome.errors.is_empty()
            && let Actor::User { id, session_id, .. } = ctx.caller().actor
            && let Some(refusal) = revoke_others(ctx, &ctx.envelope(), id, session_id).await?
        {
            outcome.errors.push(refusal.into());
        }
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
        let build = |_: &Actor| Ok(revocation(id, RevocationReason::Revoked));
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
    async fn deactivate_user(
        &self,
        ctx: &Context<'_>,
        input: DeactivateUserInput,
    ) -> Result<UserPayload> {
        let (user_id, args) = input.into();
        manage(ctx, &user_id, args, UserCommand::Deactivate).await
    }

    /// Forgets a person for ever: for admins, and for oneself. What was personal cannot be brought
    /// back by anyone; contents and trends stay.
    async fn erase_user(&self, ctx: &Context<'_>, input: EraseUserInput) -> Result<UserPayload> {
        let (user_id, args) = input.into();
        let id = uuid(&user_id)?;
        let build = |_: &Actor| Ok(EraseUser { user_id: UserId(id) });
        let outcome = ctx.command(Action::EraseUser, args, build).await?;
        Ok(UserPayload { id: outcome.unless_refused(id), outcome })
    }

    /// Lets a user in again; for admins.
    async fn reactivate_user(
        &self,
        ctx: &Context<'_>,
        input: ReactivateUserInput,
    ) -> Result<UserPayload> {
        let (user_id, args) = input.into();
        manage(ctx, &user_id, args, UserCommand::Reactivate).await
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

/// A command of an admin on another's account.
async fn manage(
    ctx: &Context<'_>,
    user_id: &ID,
    args: CommandArgs,
    command: UserCommand,
) -> Result<UserPayload> {
    let id = uuid(user_id)?;
    let build = |_: &Actor| Ok(ManageUser { user_id: UserId(id), command });
    let outcome = ctx.command(Action::ManageUsers, args, build).await?;
    Ok(UserPayload { id: outcome.unless_refused(id), outcome })
}

fn revocation(session_id: Uuid, reason: RevocationReason) -> Single<SessionAggregate> {
    Single::new(session_id, SessionCommand::Revoke { reason })
}

/// True of the code that says that a session has ended already.
fn is_over(code: &str) -> bool {
    code == SessionError::Revoked.code()
}

/// Ends all sessions of a user but the one that asks: while that one lives, it can ask again, should
/// the read model be too far behind to know them all.
async fn revoke_others(
    ctx: &Context<'_>,
    envelope: &Envelope,
    user_id: UserId,
    but: SessionId,
) -> Result<Option<Refusal>> {
    // Patient: a password may have been changed, or a session ended, by now.
    let bus = ctx.app().bus.patient();
    let head = bus.log().head().await.map_err(internal)?;
    // No connection is held while it waits, nor while it ends them.
    ctx.snapshot().end().await;
    let reached = ctx.reach(Some(Position(head))).await;
    let mut sql = QueryBuilder::new("SELECT id FROM projection.sessions WHERE revoked_at IS NULL");
    sql.push(" AND user_id = ").push_bind(user_id.0);
    sql.push(" AND id <> ").push_bind(but.0);
    let sessions = ctx.snapshot().rows(&mut sql).await.map_err(internal)?;
    ctx.snapshot().end().await;
    for session in sessions {
        let session = session.try_get("id").map_err(internal)?;
        match bus.run(envelope, &revocation(session, RevocationReason::Logout)).await {
            Ok(_) => {}
            Err(CommandError::Refused(refusal)) if is_over(refusal.code) => {}
            Err(error) => return failure(error).map(Some),
        }
    }
    reached.map(|()| None)
}
