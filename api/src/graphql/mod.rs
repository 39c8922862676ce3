//! The GraphQL schema: one file for each noun.

mod account;
mod as_of;
pub mod began;
mod content;
pub mod context;
pub mod error;
mod event;
pub mod limits;
mod media_asset;
mod node;
mod nulls;
mod page;
mod pipeline_run;
mod provider;
mod publish;
mod publish_record;
pub mod reader;
pub mod scalars;
mod service_token;
mod social_account;
mod subscription;
mod trend;
mod user;

use std::time::Duration;

use async_graphql::dataloader::DataLoader;
use async_graphql::{MergedObject, Request, Schema};

use self::context::{App, Caller};
use self::reader::Reader;
use self::subscription::Subscription;

/// Everything that can be asked.
#[derive(MergedObject, Default)]
pub struct Query(
    node::NodeQuery,
    user::UserQuery,
    trend::TrendQuery,
    content::ContentQuery,
    pipeline_run::PipelineRunQuery,
    provider::ProviderQuery,
    social_account::SocialAccountQuery,
    publish::PublishQuery,
    publish_record::PublishRecordQuery,
    event::EventQuery,
    service_token::ServiceTokenQuery,
);

/// Everything that can be done. Each takes one input; a refusal is data in the payload.
#[derive(MergedObject, Default)]
pub struct Mutation(
    account::AccountMutation,
    trend::TrendMutation,
    content::ContentMutation,
    pipeline_run::PipelineRunMutation,
    media_asset::MediaAssetMutation,
    provider::ProviderMutation,
    social_account::SocialAccountMutation,
    publish::PublishMutation,
    service_token::ServiceTokenMutation,
);

/// Orion's schema.
pub type OrionSchema = Schema<Query, Mutation, Subscription>;

/// How deep a query may nest.
const DEPTH_MAX: usize = 15;

/// How long a loader waits for more of the same: long enough for the fields of one level to ask.
const GATHER_FOR: Duration = Duration::from_micros(500);

/// Builds the schema over an application.
pub fn schema(app: App) -> OrionSchema {
    builder().data(app).finish()
}

/// The schema in GraphQL's own language.
pub fn sdl() -> String {
    builder().finish().sdl()
}

fn builder() -> async_graphql::SchemaBuilder<Query, Mutation, Subscription> {
    Schema::build(Query::default(), Mutation::default(), Subscription)
        .limit_depth(DEPTH_MAX)
        .extension(error::Codes)
        .extension(began::Beginnings)
        .extension(nulls::Nulls)
        .extension(limits::Charges)
        .register_output_type::<node::Node>()
}

/// A request in the name of a caller.
pub fn request_of(request: Request, app: &App, caller: Caller) -> Request {
    request.data(loader(app, &caller)).data(caller)
}

/// Loads rows for one caller. Each request has its own, so that nothing stale is served from it.
pub fn loader(app: &App, caller: &Caller) -> DataLoader<Reader> {
    let reader = Reader { pool: app.pool.clone(), actor: caller.actor };
    DataLoader::new(reader, tokio::spawn).delay(GATHER_FOR)
}
