//! Service tokens, for admins: query, issue, revoke.

use async_graphql::{ComplexObject, Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use orion_commands::policy::Area;
use orion_commands::{Action, Actor, ServiceSecret, Single};
use orion_domain::values::{Scopes, ServiceTokenName};
use orion_domain::{ServiceToken as ServiceTokenAggregate, ServiceTokenCommand};
use orion_projections::tables::{ServiceTokenRow, UserRow};
use serde_json::json;
use uuid::Uuid;

use super::content::acting_user;
use super::context::{CommandArgs, ContextExt as _, Outcome, naming_inputs};
use super::error::AtField as _;
use super::inline::Inline;
use super::page::{List, Nodes, Order, PageArgs};
use super::plan::{Relation, ToOne};
use super::reader::{Condition, Entity, Found};
use super::scalars::{Position, uuid};
use super::user::User;

const ISSUED_BY: ToOne<UserRow> = ToOne::new("issuedBy", "issued_by");

impl Entity for ServiceTokenRow {
    const AREA: Area = Area::Administration;
    const OWNER: Option<&'static str> = None;
    const RELATIONS: &'static [Relation] = &[ISSUED_BY.relation()];
}

/// What a service token is for.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "orion_domain::values::Scope")]
pub enum Scope {
    /// Detects, rescores, expires and archives trends; sees nothing else.
    Trends,
    /// Runs the stages of any content, writes scripts, attaches media assets; sees trends and all
    /// contents.
    Pipeline,
    /// Records results of any publish request; sees trends and all contents.
    Publish,
}

/// What a machine, such as a worker of the pipeline, signs its requests with.
pub type ServiceToken = Inline<ServiceTokenFields>;

/// What a client may select of it.
pub struct ServiceTokenFields(Found<ServiceTokenRow>);

impl From<Found<ServiceTokenRow>> for ServiceTokenFields {
    fn from(found: Found<ServiceTokenRow>) -> Self {
        Self(found)
    }
}

/// What a machine, such as a worker of the pipeline, signs its requests with.
#[Object(name = "ServiceToken")]
impl ServiceTokenFields {
    /// The token's id, a bare UUID.
    pub async fn id(&self) -> ID {
        self.0.row.id.into()
    }
    /// How often it has changed; what `expectedVersion` is compared with.
    async fn version(&self) -> i64 {
        self.0.version.unwrap_or_default()
    }
    /// What admins call it, unique among tokens that are not revoked.
    async fn name(&self) -> &str {
        &self.0.row.name
    }
    /// What it is for.
    async fn scopes(&self) -> Vec<Scope> {
        self.0.row.scopes.iter().map(Scope::from).collect()
    }
    /// The admin who issued it.
    async fn issued_by(&self, ctx: &Context<'_>) -> Result<Option<User>> {
        Ok(self.0.one(ctx, ISSUED_BY, self.0.row.issued_by).await?.map(User::from))
    }
    /// When it was issued.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.row.created_at
    }
    /// From when on it is refused; null when it does not end by itself.
    async fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.0.row.expires_at
    }
    /// When it was revoked.
    async fn revoked_at(&self) -> Option<DateTime<Utc>> {
        self.0.row.revoked_at
    }
}

/// Which service tokens a list shows.
#[derive(InputObject, Default)]
pub struct ServiceTokenFilter {
    /// Whose name contains this text, in any case.
    name: Option<String>,
    /// That were revoked, or were not.
    is_revoked: Option<bool>,
}

/// The order of a list of service tokens.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ServiceTokenOrder {
    /// Newest first.
    #[default]
    IdDesc,
    /// Oldest first.
    IdAsc,
    /// By name.
    NameAsc,
}

impl From<ServiceTokenOrder> for Order {
    fn from(order: ServiceTokenOrder) -> Self {
        match order {
            ServiceTokenOrder::IdDesc => Self::descending("id", "uuid"),
            ServiceTokenOrder::IdAsc => Self::ascending("id", "uuid"),
            ServiceTokenOrder::NameAsc => Self::ascending("name", "varchar"),
        }
    }
}

/// Queries on service tokens.
#[derive(Default)]
pub struct ServiceTokenQuery;

#[Object]
impl ServiceTokenQuery {
    /// All service tokens, also those that are over; for admins.
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the field")]
    async fn service_tokens(
        &self,
        ctx: &Context<'_>,
        filter: Option<ServiceTokenFilter>,
        #[graphql(default)] order_by: ServiceTokenOrder,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
        min_position: Option<Position>,
    ) -> Result<Nodes<ServiceToken>> {
        ctx.allow(Action::Audit)?;
        ctx.reach(min_position).await?;
        let filter = filter.unwrap_or_default();
        List::<ServiceTokenRow>::all(order_by.into())
            .and(filter.name.map(|text| Condition::Contains("name", text)))
            .and(filter.is_revoked.map(|is| Condition::IsNull("revoked_at", !is)))
            .page(ctx, PageArgs { after, before, first, last })
            .await
    }
}

/// What became of the request for a service token.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct IssueServiceTokenPayload {
    /// For `Authorization: Bearer`. It is shown only here and only once: nobody can read it again,
    /// and a repeated command answers with the service token and null here. Whoever has lost the
    /// answer revokes the token and issues another.
    token: Option<String>,
    #[graphql(flatten)]
    outcome: Outcome,
    #[graphql(skip)]
    id: Option<Uuid>,
}

#[ComplexObject]
impl IssueServiceTokenPayload {
    /// The service token; null when the mutation was refused.
    async fn service_token(&self, ctx: &Context<'_>) -> Result<Option<ServiceToken>> {
        service_token(ctx, self.id).await
    }
}

/// What became of a mutation on a service token.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct ServiceTokenPayload {
    #[graphql(flatten)]
    outcome: Outcome,
    #[graphql(skip)]
    id: Option<Uuid>,
}

#[ComplexObject]
impl ServiceTokenPayload {
    /// The service token as it is now; null when the mutation was refused.
    async fn service_token(&self, ctx: &Context<'_>) -> Result<Option<ServiceToken>> {
        service_token(ctx, self.id).await
    }
}

async fn service_token(ctx: &Context<'_>, id: Option<Uuid>) -> Result<Option<ServiceToken>> {
    match id {
        Some(id) => Ok(ctx.row::<ServiceTokenRow>(id).await?.map(ServiceToken::from)),
        None => Ok(None),
    }
}

/// A new service token.
#[derive(InputObject)]
pub struct IssueServiceTokenInput {
    /// What to call it, at most 100 characters; no other token that is not revoked may have the name.
    name: String,
    /// What it is for: one scope or more, each once.
    scopes: Vec<Scope>,
    /// From when on it is refused, in the future; never, if not given.
    expires_at: Option<DateTime<Utc>>,
    /// Repeat it to get the first answer again, without the token.
    command_id: Option<ID>,
}

naming_inputs! {
    /// The end of a service token.
    RevokeServiceTokenInput {
        /// The service token.
        service_token_id
    }
}

/// Mutations of service tokens.
#[derive(Default)]
pub struct ServiceTokenMutation;

#[Object]
impl ServiceTokenMutation {
    /// Hands out a token to a machine; for admins. It outlives the session and the rights of the
    /// admin who asks.
    async fn issue_service_token(
        &self,
        ctx: &Context<'_>,
        input: IssueServiceTokenInput,
    ) -> Result<IssueServiceTokenPayload> {
        let IssueServiceTokenInput { name, scopes, expires_at, command_id } = input;
        let args = CommandArgs { command_id, expected_version: None };
        let secret = ServiceSecret::draw();
        let build = |actor: &Actor| {
            let scopes: Vec<_> = scopes.into_iter().map(Into::into).collect();
            let issue = ServiceTokenCommand::Issue {
                name: ServiceTokenName::parse(&name).at("name")?,
                scopes: Scopes::parse(&scopes).at("scopes")?,
                token_hash: secret.hash(),
                issued_by: acting_user(actor)?,
                expires_at,
                now: orion_store::now(),
            };
            let ids = json!({ "serviceTokenId": secret.id() });
            Ok(Single::<ServiceTokenAggregate>::new(secret.id(), issue).with_ids(ids))
        };
        let outcome = ctx.command(Action::ManageServiceTokens, args, build).await?;
        let id = outcome.id("serviceTokenId");
        // A repeated command answers with the id of the first one, whose token nobody knows.
        let token = (id == Some(secret.id().0)).then(|| secret.into_text());
        Ok(IssueServiceTokenPayload { token, outcome, id })
    }

    /// Refuses a service token from now on; for admins.
    async fn revoke_service_token(
        &self,
        ctx: &Context<'_>,
        input: RevokeServiceTokenInput,
    ) -> Result<ServiceTokenPayload> {
        let (service_token_id, args) = input.into();
        let id = uuid(&service_token_id)?;
        let build =
            |_: &Actor| Ok(Single::<ServiceTokenAggregate>::new(id, ServiceTokenCommand::Revoke));
        let outcome = ctx.command(Action::ManageServiceTokens, args, build).await?;
        Ok(ServiceTokenPayload { id: outcome.unless_refused(id), outcome })
    }
}
