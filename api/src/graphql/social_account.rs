//! Social accounts: query, connect, rotate credentials, deactivate.

use async_graphql::{ComplexObject, Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use orion_commands::policy::Area;
use orion_commands::{Action, Actor, ConnectSocialAccount, Refusal, RotateCredentials, Single};
use orion_domain::values::{DisplayName, PlatformName, SocialAccountId, ValueError};
use orion_domain::{SocialAccount as SocialAccountAggregate, SocialAccountCommand};
use orion_projections::tables::{SocialAccountRow, UserRow};
use secrecy::SecretString;
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

const USER: ToOne<UserRow> = ToOne::new("user", "user_id");

impl Entity for SocialAccountRow {
    const AREA: Area = Area::Accounts;
    const OWNER: Option<&'static str> = Some("{t}.user_id");
    const RELATIONS: &'static [Relation] = &[USER.relation()];
}

/// The most characters that credentials may have.
const CREDENTIALS_CHARS_MAX: usize = 10_000;

/// An account on a social platform, to publish through.
pub type SocialAccount = Inline<SocialAccountFields>;

/// What a client may select of it.
pub struct SocialAccountFields(Found<SocialAccountRow>);

impl From<Found<SocialAccountRow>> for SocialAccountFields {
    fn from(found: Found<SocialAccountRow>) -> Self {
        Self(found)
    }
}

/// An account on a social platform, to publish through.
#[Object(name = "SocialAccount")]
impl SocialAccountFields {
    /// The account's id, a bare UUID.
    pub async fn id(&self) -> ID {
        self.0.row.id.into()
    }
    /// How often it has changed; what `expectedVersion` is compared with.
    async fn version(&self) -> i64 {
        self.0.version.unwrap_or_default()
    }
    /// Whose account it is.
    async fn user_id(&self) -> ID {
        self.0.row.user_id.into()
    }
    /// Whose account it is.
    async fn user(&self, ctx: &Context<'_>) -> Result<Option<User>> {
        Ok(self.0.one(ctx, USER, self.0.row.user_id).await?.map(User::from))
    }
    /// The platform, such as `youtube`.
    async fn platform(&self) -> &str {
        &self.0.row.platform
    }
    /// What the owner calls it.
    async fn display_name(&self) -> &str {
        &self.0.row.display_name
    }
    /// Whether it may be published through.
    async fn is_active(&self) -> bool {
        self.0.row.is_active
    }
    /// When it was connected.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.row.created_at
    }
}

/// Which accounts a list shows.
#[derive(InputObject, Default)]
pub struct SocialAccountFilter {
    /// On this platform.
    platform: Option<String>,
    /// That may be published through, or may not.
    is_active: Option<bool>,
    /// Of this user; only admins see others' accounts.
    user_id: Option<ID>,
    /// Connected then or later.
    created_since: Option<DateTime<Utc>>,
    /// Connected earlier.
    created_before: Option<DateTime<Utc>>,
}

/// The order of a list of accounts.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SocialAccountOrder {
    /// Newest first.
    #[default]
    IdDesc,
    /// Oldest first.
    IdAsc,
}

impl From<SocialAccountOrder> for Order {
    fn from(order: SocialAccountOrder) -> Self {
        match order {
            SocialAccountOrder::IdDesc => Self::descending("id", "uuid"),
            SocialAccountOrder::IdAsc => Self::ascending("id", "uuid"),
        }
    }
}

/// Queries on social accounts.
#[derive(Default)]
pub struct SocialAccountQuery;

#[Object]
impl SocialAccountQuery {
    /// The social accounts that the caller may see.
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the field")]
    async fn social_accounts(
        &self,
        ctx: &Context<'_>,
        filter: Option<SocialAccountFilter>,
        #[graphql(default)] order_by: SocialAccountOrder,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
        min_position: Option<Position>,
    ) -> Result<Nodes<SocialAccount>> {
        ctx.allow(Action::Read)?;
        ctx.reach(min_position).await?;
        let filter = filter.unwrap_or_default();
        List::<SocialAccountRow>::all(order_by.into())
            .and(filter.platform.map(|is| Condition::Is("platform", "varchar", is)))
            .and(filter.is_active.map(|is| Condition::Is("is_active", "boolean", is.to_string())))
            .and(Condition::is_id("user_id", filter.user_id.as_ref())?)
            .and(filter.created_since.map(|time| Condition::Since("created_at", time)))
            .and(filter.created_before.map(|time| Condition::Before("created_at", time)))
            .page(ctx, PageArgs { after, before, first, last })
            .await
    }
}

/// What became of a mutation on a social account.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct SocialAccountPayload {
    #[graphql(flatten)]
    outcome: Outcome,
    #[graphql(skip)]
    id: Option<Uuid>,
}

#[ComplexObject]
impl SocialAccountPayload {
    /// The account as it is now; null when the mutation was refused.
    async fn social_account(&self, ctx: &Context<'_>) -> Result<Option<SocialAccount>> {
        match self.id {
            Some(id) => Ok(ctx.row::<SocialAccountRow>(id).await?.map(SocialAccount::from)),
            None => Ok(None),
        }
    }
}

/// An account to publish through.
#[derive(InputObject)]
pub struct ConnectSocialAccountInput {
    /// The platform, such as `youtube`; at most 128 characters.
    platform: String,
    /// What the owner calls it, at most 256 characters.
    display_name: String,
    /// What the platform wants to see, at most 10,000 characters; it is encrypted and never shown.
    credentials: String,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
}

/// New credentials of an account.
#[derive(InputObject)]
pub struct RotateCredentialsInput {
    /// The account.
    social_account_id: ID,
    /// What the platform wants to see, at most 10,000 characters; it is encrypted and never shown.
    credentials: String,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
    /// The version that the decision was made on.
    expected_version: Option<i32>,
}

naming_inputs! {
    /// The end of publishing through an account.
    DeactivateSocialAccountInput {
        /// The account.
        social_account_id
    }
}

/// Mutations of social accounts.
#[derive(Default)]
pub struct SocialAccountMutation;

#[Object]
impl SocialAccountMutation {
    /// Connects an account, to publish through it.
    async fn connect_social_account(
        &self,
        ctx: &Context<'_>,
        input: ConnectSocialAccountInput,
    ) -> Result<SocialAccountPayload> {
        let args = CommandArgs { command_id: input.command_id, expected_version: None };
        let build = |actor: &Actor| {
            acting_user(actor)?;
            Ok(ConnectSocialAccount {
                id: SocialAccountId(Uuid::now_v7()),
                platform: PlatformName::parse(&input.platform).at("platform")?,
                display_name: DisplayName::parse(&input.display_name).at("displayName")?,
                credentials: parse_credentials(input.credentials)?,
            })
        };
        let outcome = ctx.command(Action::ManageSocialAccounts, args, build).await?;
        Ok(SocialAccountPayload { id: outcome.id("socialAccountId"), outcome })
    }

    /// Replaces an account's credentials.
    async fn rotate_credentials(
        &self,
        ctx: &Context<'_>,
        input: RotateCredentialsInput,
    ) -> Result<SocialAccountPayload> {
        let RotateCredentialsInput { social_account_id, credentials, .. } = input;
        let args =
            CommandArgs { command_id: input.command_id, expected_version: input.expected_version };
        let id = uuid(&social_account_id)?;
        let build = |_: &Actor| {
            let credentials = parse_credentials(credentials)?;
            Ok(RotateCredentials { id: SocialAccountId(id), credentials })
        };
        let outcome = ctx.command(Action::ManageSocialAccounts, args, build).await?;
        Ok(SocialAccountPayload { id: outcome.unless_refused(id), outcome })
    }

    /// Stops publishing through an account.
    async fn deactivate_social_account(
        &self,
        ctx: &Context<'_>,
        input: DeactivateSocialAccountInput,
    ) -> Result<SocialAccountPayload> {
        let (social_account_id, args) = input.into();
        let id = uuid(&social_account_id)?;
        let deactivate =
            Single::<SocialAccountAggregate>::new(id, SocialAccountCommand::Deactivate);
        let build = |_: &Actor| Ok(deactivate);
        let outcome = ctx.command(Action::ManageSocialAccounts, args, build).await?;
        Ok(SocialAccountPayload { id: outcome.unless_refused(id), outcome })
    }
}

/// What a platform wants to see: any text of a sensible length.
fn parse_credentials(clear: String) -> Result<SecretString, Refusal> {
    check_credentials(&clear).at("credentials")?;
    Ok(clear.into())
}

fn check_credentials(clear: &str) -> Result<(), ValueError> {
    const WHAT: &str = "credentials";
    if clear.trim().is_empty() {
        return Err(ValueError::Empty { what: WHAT });
    }
    if clear.contains('\0') {
        return Err(ValueError::NulCharacter { what: WHAT });
    }
    let chars = clear.chars().count();
    if chars > CREDENTIALS_CHARS_MAX {
        return Err(ValueError::TooLong { what: WHAT, max_chars: CREDENTIALS_CHARS_MAX, chars });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use orion_domain::Rejection as _;

    #[test]
    fn credentials_are_bounded_text() {
        let code = |clear: &str| check_credentials(clear).map_err(|error| error.code());
        assert_eq!(code(" "), Err("EMPTY"));
        assert_eq!(code("a\0b"), Err("INVALID_CHARACTER"));
        assert_eq!(code(&"é".repeat(10_001)), Err("TOO_LONG"));
        assert_eq!(code(&"é".repeat(10_000)), Ok(()));
    }
}
