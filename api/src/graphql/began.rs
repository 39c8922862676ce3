//! Tells a request whose execution has begun from one that was refused before: GraphQL over HTTP
//! answers the two differently.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextExecute};
use async_graphql::{Response, async_trait};

/// Set when the execution of the request begins that it is part of.
#[derive(Clone, Debug, Default)]
pub struct Began(Arc<AtomicBool>);

impl Began {
    /// True when the request was parsed, found valid, and its first resolver was asked.
    pub fn has(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Notes the beginning of executions in the [`Began`] of their requests.
pub struct Beginnings;

impl ExtensionFactory for Beginnings {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_trait::async_trait]
impl Extension for Beginnings {
    async fn execute(
        &self,
        ctx: &ExtensionContext<'_>,
        operation_name: Option<&str>,
        next: NextExecute<'_>,
    ) -> Response {
        if let Some(Began(has_begun)) = ctx.data_opt() {
            has_begun.store(true, Ordering::Relaxed);
        }
        next.run(ctx, operation_name).await
    }
}
