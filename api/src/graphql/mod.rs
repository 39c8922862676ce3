//! The GraphQL schema: one file for each noun.

mod account;
mod as_of;
pub mod began;
mod connection;
mod content;
pub mod context;
pub mod error;
mod event;
mod found;
mod inline;
pub mod limits;
mod media_asset;
mod node;
mod notification;
mod nulls;
pub mod observe;
mod page;
mod pipeline_run;
mod plan;
mod provider;
mod publish;
mod publish_record;
pub mod reader;
pub mod scalars;
mod selection;
mod service_token;
mod snapshot;
mod social_account;
mod sparse;
mod statement;
pub mod subscription;
mod trend;
mod user;

use std::sync::Arc;
use std::time::Duration;

use async_graphql::dataloader::DataLoader;
use async_graphql::{MergedObject, Request, Schema};
use orion_commands::Actor;

use self::context::{App, Caller};
use self::reader::Reader;
pub use self::snapshot::OfDone;
use self::snapshot::{Snapshot, SnapshotPerOperation};
use self::subscription::{SharedWork, Subscription};

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
    notification::NotificationQuery,
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
    notification::NotificationMutation,
    service_token::ServiceTokenMutation,
);

/// Orion's schema.
pub type OrionSchema = Schema<Query, Mutation, Subscription>;

/// How long a loader waits for more of the same: long enough for the fields of one level to ask, which takes
/// them ten times as long in a build that is not optimised.
const GATHER_FOR: Duration =
    Duration::from_micros(if cfg!(debug_assertions) { 5_000 } else { 500 });

/// Builds the schema over an application.
pub fn schema(app: App, rules: limits::Rules) -> OrionSchema {
    let builder = builder().extension(limits::Guard(rules)).data(app).data(SharedWork::default());
    if rules.suggestions { builder.finish() } else { builder.disable_suggestions().finish() }
}

/// The schema in GraphQL's own language.
pub fn sdl() -> String {
    builder().finish().sdl()
}

fn builder() -> async_graphql::SchemaBuilder<Query, Mutation, Subscription> {
    Schema::build(Query::default(), Mutation::default(), Subscription)
        .extension(observe::Observations)
        .extension(error::Codes)
        .extension(began::Beginnings)
        .extension(SnapshotPerOperation)
        .extension(nulls::Nulls)
        .register_output_type::<node::Node>()
}

/// A request in the name of a caller.
pub fn request_of(request: Request, caller: Caller) -> Request {
    request.data(caller)
}

/// Loads rows for one caller in a snapshot of their own, which is not refused.
pub fn loader(app: &App, caller: &Caller) -> DataLoader<Reader> {
    loader_in(&Snapshot::new(app.reads.patient()), caller.actor)
}

/// Loads rows for one caller in a snapshot. It caches nothing, so that nothing stale is served.
fn loader_in(snapshot: &Arc<Snapshot>, actor: Actor) -> DataLoader<Reader> {
    let reader = Reader { snapshot: snapshot.clone(), actor };
    DataLoader::new(reader, tokio::spawn).delay(GATHER_FOR)
}
