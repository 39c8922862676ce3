//! What the mutations of accounts answer.

use async_graphql::parser::types::Field;
use async_graphql::registry::Registry;
use async_graphql::{
    ComplexObject, Context, ContextSelectionSet, Data, OutputType, Positioned, Result,
    ServerResult, SimpleObject,
};
use chrono::{DateTime, Utc};
use orion_commands::{Actor, Refusal, SignedIn};
use orion_domain::values::UserId;
use orion_domain::{User as UserAggregate, UserError as UserRejection};
use orion_projections::tables::{SessionRow, UserRow, UserSettingsRow};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use crate::graphql::context::{App, Caller, ContextExt as _, Outcome};
use crate::graphql::error::internal;
use crate::graphql::loader_in;
use crate::graphql::plan::Plan;
use crate::graphql::user::{Session, User, UserSettings};

/// What became of an attempt to sign in, or to stay signed in.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct AuthPayload {
    /// For `Authorization: Bearer`; null when the mutation was refused.
    pub(super) access_token: Option<String>,
    /// From when on the access token is refused.
    pub(super) expires_at: Option<DateTime<Utc>>,
    /// What the client shows to `refreshSession`, once; null when the mutation was refused.
    pub(super) refresh_token: Option<String>,
    #[graphql(flatten)]
    pub(super) outcome: Outcome,
    #[graphql(skip)]
    pub(super) actor: Actor,
}

impl AuthPayload {
    pub(super) fn refused(refusal: Refusal) -> Self {
        Self::without_tokens(Outcome::refused(refusal))
    }

    pub(super) fn without_tokens(outcome: Outcome) -> Self {
        let (access_token, expires_at, refresh_token) = (None, None, None);
        Self { access_token, expires_at, refresh_token, outcome, actor: Actor::Anonymous }
    }

    /// Hands out the tokens of a session that has begun or gone on, unless it was refused.
    pub(super) async fn of(
        app: &App,
        outcome: Outcome,
        id: UserId,
        session: &SignedIn,
    ) -> Result<Self> {
        if !outcome.errors.is_empty() {
            return Ok(Self::without_tokens(outcome));
        }
        // The session has begun by now.
        let store = app.bus.patient().store().clone();
        let user = store.load::<UserAggregate>(id.0).await.map_err(internal)?;
        let Some(role) = user.aggregate.active_role() else {
            let errors = vec![Refusal::from(UserRejection::Inactive).into()];
            return Ok(Self::without_tokens(Outcome { errors, ..outcome }));
        };
        let session_id = session.session_id;
        let issued = app.tokens.issue(id, session_id, role).map_err(internal)?;
        Ok(Self {
            access_token: Some(issued.token),
            expires_at: Some(issued.expires_at),
            refresh_token: Some(session.refresh_token.expose_secret().to_owned()),
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
        let loader = loader_in(&ctx.loader().loader().snapshot, caller.actor);
        let found = loader.loader().row(&Plan::of_row::<UserRow>(ctx), id.0).await;
        let Some(found) = found.map_err(internal)? else { return Ok(None) };
        let mut data = Data::default();
        data.insert(caller);
        data.insert(loader);
        Ok(Some(Oneself { user: found.into(), data }))
    }
}

/// A user who has signed in by this very request. The request came from nobody, or from somebody
/// else: what is below this field is read as the user.
struct Oneself {
    pub(super) user: User,
    pub(super) data: Data,
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
    pub(super) outcome: Outcome,
}

/// What became of a mutation on a user.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct UserPayload {
    #[graphql(flatten)]
    pub(super) outcome: Outcome,
    #[graphql(skip)]
    pub(super) id: Option<Uuid>,
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
    pub(super) outcome: Outcome,
    #[graphql(skip)]
    pub(super) id: Option<Uuid>,
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
    pub(super) outcome: Outcome,
    #[graphql(skip)]
    pub(super) id: Option<Uuid>,
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

impl LogoutPayload {
    pub(super) fn refused(refusal: Refusal) -> Self {
        Self { outcome: Outcome::refused(refusal) }
    }
}
