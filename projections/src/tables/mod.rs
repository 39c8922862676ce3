//! The tables of the read side, one file each, and a way to visit them all.
//!
//! A row begins with the event that creates it, changes with those that follow, and is `None` once
//! an event removes it. Each file lists every event of its noun: a new one does not compile until
//! somebody has said what it means to the table.

mod column;
mod contents;
mod erased;
mod media_assets;
mod oauth_accounts;
mod pipeline_runs;
mod providers;
mod publish_records;
mod publishes;
mod refresh_tokens;
mod service_tokens;
mod sessions;
mod social_accounts;
mod streams;
mod trends;
mod user_settings;
mod users;

pub use contents::ContentRow;
pub use media_assets::MediaAssetRow;
pub use oauth_accounts::OAuthAccountRow;
pub use pipeline_runs::PipelineRunRow;
pub use providers::ProviderRow;
pub use publish_records::PublishRecordRow;
pub use publishes::PublishRow;
pub use refresh_tokens::RefreshTokenRow;
pub use service_tokens::ServiceTokenRow;
pub use sessions::SessionRow;
pub use social_accounts::SocialAccountRow;
pub use streams::StreamRow;
pub use trends::TrendRow;
pub use user_settings::UserSettingsRow;
pub use users::UserRow;

use crate::table::Table;

/// Something to do with each table, such as projecting or comparing it.
pub trait Visitor {
    /// Why it could not be done.
    type Error;

    /// Does it with one table.
    fn visit<T: Table>(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Visits every table, parents before children; the first error ends the visit.
pub async fn visit_all<V: Visitor + Send>(visitor: &mut V) -> Result<(), V::Error> {
    visit_documented(visitor).await?;
    visitor.visit::<StreamRow>().await?;
    visitor.visit::<SessionRow>().await?;
    visitor.visit::<PublishRow>().await?;
    visitor.visit::<ServiceTokenRow>().await
}

/// Visits the 11 documented tables only, parents before children; the first error ends the visit.
pub async fn visit_documented<V: Visitor + Send>(visitor: &mut V) -> Result<(), V::Error> {
    visitor.visit::<UserRow>().await?;
    visitor.visit::<OAuthAccountRow>().await?;
    visitor.visit::<UserSettingsRow>().await?;
    visitor.visit::<RefreshTokenRow>().await?;
    visitor.visit::<ProviderRow>().await?;
    visitor.visit::<TrendRow>().await?;
    visitor.visit::<ContentRow>().await?;
    visitor.visit::<MediaAssetRow>().await?;
    visitor.visit::<PipelineRunRow>().await?;
    visitor.visit::<SocialAccountRow>().await?;
    visitor.visit::<PublishRecordRow>().await
}
