//! AI providers, for admins: query, register, configure, enable, disable, prioritize.

use async_graphql::{
    ComplexObject, Context, Enum, ID, InputObject, Json, Object, Result, SimpleObject,
};
use orion_commands::policy::Area;
use orion_commands::{Action, Actor, Refusal, Single};
use orion_domain::values::{Json as JsonValue, Personal, ProviderName, ProviderType};
use orion_domain::{Provider as ProviderAggregate, ProviderCommand};
use orion_projections::tables::ProviderRow;
use serde_json::{Value, json};
use uuid::Uuid;

use super::context::{CommandArgs, ContextExt as _, Outcome, naming_inputs};
use super::error::AtField as _;
use super::inline::Inline;
use super::page::{List, Nodes, Order, PageArgs};
use super::reader::{Condition, Entity, Found};
use super::scalars::{Position, uuid};

impl Entity for ProviderRow {
    const AREA: Area = Area::Administration;
    const OWNER: Option<&'static str> = None;
}

/// The names, in lower case and without `_` and `-`, whose texts are shown. A secret may stand under
/// any other.
const SHOWN_NAMES: [&str; 14] = [
    "api",
    "apiversion",
    "defaultmodel",
    "format",
    "language",
    "mode",
    "model",
    "models",
    "name",
    "region",
    "size",
    "style",
    "version",
    "voice",
];

/// What stands in the place of a secret.
const HIDDEN: &str = "***";

/// An AI service that the pipeline may use.
pub type Provider = Inline<ProviderFields>;

/// What a client may select of it.
pub struct ProviderFields(Found<ProviderRow>);

impl From<Found<ProviderRow>> for ProviderFields {
    fn from(found: Found<ProviderRow>) -> Self {
        Self(found)
    }
}

/// An AI service that the pipeline may use.
#[Object(name = "Provider")]
impl ProviderFields {
    /// The provider's id, a bare UUID.
    pub async fn id(&self) -> ID {
        self.0.row.id.into()
    }
    /// How often it has changed; what `expectedVersion` is compared with.
    async fn version(&self) -> i64 {
        self.0.version.unwrap_or_default()
    }
    /// Its unique name.
    async fn name(&self) -> &str {
        &self.0.row.name
    }
    /// What it makes: `llm`, `image`, `tts`.
    async fn provider_type(&self) -> &str {
        &self.0.row.provider_type
    }
    /// Models, limits, switches. Every text that could be a secret, an address included, is `***`.
    async fn config(&self) -> Option<Json<Value>> {
        self.0.row.config.as_ref().map(|config| Json(without_secrets(config)))
    }
    /// Whether the pipeline may use it.
    async fn is_active(&self) -> bool {
        self.0.row.is_active
    }
    /// Higher is preferred.
    async fn priority(&self) -> i32 {
        self.0.row.priority
    }
}

/// Which providers a list shows.
#[derive(InputObject, Default)]
pub struct ProviderFilter {
    /// That make this: `llm`, `image`, `tts`.
    provider_type: Option<String>,
    /// That the pipeline may use, or may not.
    is_active: Option<bool>,
}

/// The order of a list of providers.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ProviderOrder {
    /// By name.
    #[default]
    NameAsc,
    /// By id: oldest first.
    IdAsc,
    /// By id: newest first.
    IdDesc,
}

impl From<ProviderOrder> for Order {
    fn from(order: ProviderOrder) -> Self {
        match order {
            ProviderOrder::NameAsc => Self::ascending("name", "varchar"),
            ProviderOrder::IdAsc => Self::ascending("id", "uuid"),
            ProviderOrder::IdDesc => Self::descending("id", "uuid"),
        }
    }
}

/// Queries on providers.
#[derive(Default)]
pub struct ProviderQuery;

#[Object]
impl ProviderQuery {
    /// All providers; for admins.
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the field")]
    async fn providers(
        &self,
        ctx: &Context<'_>,
        filter: Option<ProviderFilter>,
        #[graphql(default)] order_by: ProviderOrder,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
        min_position: Option<Position>,
    ) -> Result<Nodes<Provider>> {
        ctx.allow(Action::Audit)?;
        ctx.reach(min_position).await?;
        let filter = filter.unwrap_or_default();
        List::<ProviderRow>::all(order_by.into())
            .and(filter.provider_type.map(|is| Condition::Is("provider_type", "varchar", is)))
            .and(filter.is_active.map(|is| Condition::Is("is_active", "boolean", is.to_string())))
            .page(ctx, PageArgs { after, before, first, last })
            .await
    }
}

/// What became of a mutation on a provider.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct ProviderPayload {
    #[graphql(flatten)]
    outcome: Outcome,
    #[graphql(skip)]
    id: Option<Uuid>,
}

#[ComplexObject]
impl ProviderPayload {
    /// The provider as it is now; null when the mutation was refused.
    async fn provider(&self, ctx: &Context<'_>) -> Result<Option<Provider>> {
        match self.id {
            Some(id) => Ok(ctx.row::<ProviderRow>(id).await?.map(Provider::from)),
            None => Ok(None),
        }
    }
}

/// A new provider.
#[derive(InputObject)]
pub struct RegisterProviderInput {
    /// Its unique name, at most 256 characters.
    name: String,
    /// What it makes: `llm`, `image`, `tts`; at most 128 characters.
    provider_type: String,
    /// Keys, endpoints, models, limits, as an object.
    config: Option<Json<Value>>,
    /// Higher is preferred.
    #[graphql(default)]
    priority: i32,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
}

/// A new configuration of a provider.
#[derive(InputObject)]
pub struct ConfigureProviderInput {
    /// The provider.
    provider_id: ID,
    /// Keys, endpoints, models, limits, as an object; it takes the place of the whole one before.
    config: Json<Value>,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
    /// The version that the decision was made on.
    expected_version: Option<i32>,
}

/// A new rank of a provider.
#[derive(InputObject)]
pub struct PrioritizeProviderInput {
    /// The provider.
    provider_id: ID,
    /// Higher is preferred.
    priority: i32,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
    /// The version that the decision was made on.
    expected_version: Option<i32>,
}

naming_inputs! {
    /// The permission to use a provider.
    EnableProviderInput {
        /// The provider.
        provider_id
    }
    /// The end of that permission.
    DisableProviderInput {
        /// The provider.
        provider_id
    }
}

/// Mutations of providers.
#[derive(Default)]
pub struct ProviderMutation;

#[Object]
impl ProviderMutation {
    /// Makes a new provider known; the pipeline may use it at once.
    async fn register_provider(
        &self,
        ctx: &Context<'_>,
        input: RegisterProviderInput,
    ) -> Result<ProviderPayload> {
        let args = CommandArgs { command_id: input.command_id, expected_version: None };
        let build = |_: &Actor| {
            let id = Uuid::now_v7();
            let register = ProviderCommand::Register {
                name: ProviderName::parse(&input.name).at("name")?,
                provider_type: ProviderType::parse(&input.provider_type).at("providerType")?,
                config: input.config.map(config).transpose()?,
                priority: input.priority,
            };
            let ids = json!({ "providerId": id });
            Ok(Single::<ProviderAggregate>::new(id, register).with_ids(ids))
        };
        let outcome = ctx.command(Action::ManageProviders, args, build).await?;
        Ok(ProviderPayload { id: outcome.id("providerId"), outcome })
    }

    /// Replaces a provider's configuration.
    async fn configure_provider(
        &self,
        ctx: &Context<'_>,
        input: ConfigureProviderInput,
    ) -> Result<ProviderPayload> {
        let ConfigureProviderInput { provider_id, config: raw, command_id, expected_version } =
            input;
        let args = CommandArgs { command_id, expected_version };
        change(ctx, &provider_id, args, || {
            Ok(ProviderCommand::Configure { config: Some(config(raw)?) })
        })
        .await
    }

    /// Lets the pipeline use a provider.
    async fn enable_provider(
        &self,
        ctx: &Context<'_>,
        input: EnableProviderInput,
    ) -> Result<ProviderPayload> {
        let (provider_id, args) = input.into();
        change(ctx, &provider_id, args, || Ok(ProviderCommand::Enable)).await
    }

    /// Keeps the pipeline from using a provider.
    async fn disable_provider(
        &self,
        ctx: &Context<'_>,
        input: DisableProviderInput,
    ) -> Result<ProviderPayload> {
        let (provider_id, args) = input.into();
        change(ctx, &provider_id, args, || Ok(ProviderCommand::Disable)).await
    }

    /// Changes how much a provider is preferred.
    async fn prioritize_provider(
        &self,
        ctx: &Context<'_>,
        input: PrioritizeProviderInput,
    ) -> Result<ProviderPayload> {
        let PrioritizeProviderInput { provider_id, priority, command_id, expected_version } = input;
        let args = CommandArgs { command_id, expected_version };
        change(ctx, &provider_id, args, || Ok(ProviderCommand::Prioritize { priority })).await
    }
}

async fn change(
    ctx: &Context<'_>,
    provider_id: &ID,
    args: CommandArgs,
    command: impl FnOnce() -> Result<ProviderCommand, Refusal> + Send,
) -> Result<ProviderPayload> {
    let id = uuid(provider_id)?;
    let build = |_: &Actor| Ok(Single::<ProviderAggregate>::new(id, command()?));
    let outcome = ctx.command(Action::ManageProviders, args, build).await?;
    Ok(ProviderPayload { id: outcome.unless_refused(id), outcome })
}

/// An object only: what may be shown is known by the names of its keys.
fn config(Json(raw): Json<Value>) -> Result<Personal<JsonValue>, Refusal> {
    JsonValue::parse_object(raw, "configuration").at("config").map(Personal::new)
}

/// The same value, with every text hidden but those under a name that is known to be harmless.
fn without_secrets(value: &Value) -> Value {
    shown(value, false)
}

fn shown(value: &Value, is_harmless: bool) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter();
            Value::Object(
                fields.map(|(name, value)| (name.clone(), shown(value, is_shown(name)))).collect(),
            )
        }
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| shown(item, is_harmless)).collect())
        }
        Value::String(_) if !is_harmless => HIDDEN.into(),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn is_shown(name: &str) -> bool {
    let name = name.to_lowercase().replace(['_', '-'], "");
    SHOWN_NAMES.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_texts_are_shown_at_any_depth() {
        let config = json!({
            "apiKey": "sk-1", "model": "m", "models": ["a", "b"], "max_tokens": 4096, "safe": true,
            "headers": {"Authorization": "Bearer sk-2"}, "dsn": "postgres://u:pw@h/", "none": null,
            "model_options": [{"Voice": "v", "user": "u"}],
        });
        let shown = json!({
            "apiKey": "***", "model": "m", "models": ["a", "b"], "max_tokens": 4096, "safe": true,
            "headers": {"Authorization": "***"}, "dsn": "***", "none": null,
            "model_options": [{"Voice": "v", "user": "***"}],
        });
        assert_eq!(without_secrets(&config), shown);
    }
}
