//! Failures as GraphQL errors with codes, refusals as data.

use std::sync::Arc;

use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextRequest, NextSubscribe,
};
use async_graphql::futures_util::StreamExt as _;
use async_graphql::futures_util::stream::BoxStream;
use async_graphql::{
    Error, ErrorExtensions as _, Response, ServerError, SimpleObject, async_trait,
};
use orion_commands::{CommandError, Refusal};
use orion_domain::Rejection;
use tracing::error;
use uuid::Uuid;

use super::limits::overloaded;
use crate::telemetry::chain;

/// Why a command was refused: something that the caller can act on.
#[derive(Clone, Debug, SimpleObject)]
pub struct UserError {
    /// Stable, for programs: `EMAIL_TAKEN`, `NOT_IN_REVIEW`, `VERSION_CONFLICT`, …
    pub code: String,
    /// For people, in English.
    pub message: String,
    /// The field of the input that it is about.
    pub field: Option<String>,
}

impl From<Refusal> for UserError {
    fn from(refusal: Refusal) -> Self {
        Self {
            code: refusal.code.to_owned(),
            message: refusal.message,
            field: refusal.field.map(str::to_owned),
        }
    }
}

/// Names the field of the input that a value came from.
pub trait AtField<T> {
    /// The refusal of a value, about this field.
    fn at(self, field: &'static str) -> Result<T, Refusal>;
}

impl<T, E: Rejection> AtField<T> for Result<T, E> {
    fn at(self, field: &'static str) -> Result<T, Refusal> {
        self.map_err(|error| Refusal::from(error).at(field))
    }
}

/// The client asked for something that makes no sense.
pub fn bad_input(message: impl Into<String>) -> Error {
    coded(message, "BAD_USER_INPUT")
}

/// An error with a code.
pub fn coded(message: impl Into<String>, code: &'static str) -> Error {
    Error::new(message).extend_with(|_, extensions| extensions.set("code", code))
}

/// A failure of ours: logged once with all its causes; the client gets an id to ask about it.
pub fn internal(failure: impl std::error::Error) -> Error {
    let trace_id = Uuid::now_v7();
    error!(%trace_id, error = chain(&failure), "request failed");
    Error::new("something went wrong on our side").extend_with(|_, extensions| {
        extensions.set("code", "INTERNAL");
        extensions.set("traceId", trace_id.to_string());
    })
}

/// What a command's failure is to the client; a refusal is handed back as data.
pub fn failure(error: CommandError) -> Result<Refusal, Error> {
    match error {
        CommandError::Refused(refusal) => Ok(refusal),
        CommandError::Conflict => {
            Ok(Refusal::new("CONFLICT", "others keep changing the same; try again"))
        }
        CommandError::Unauthenticated => Err(coded("sign in first", "UNAUTHENTICATED")),
        CommandError::Forbidden => Err(coded("your rights do not allow this", "FORBIDDEN")),
        CommandError::Overloaded => Err(overloaded()),
        CommandError::Store(_) | CommandError::Append(_) | CommandError::Hash(_) => {
            Err(internal(error))
        }
    }
}

/// Gives a code to the errors that async-graphql makes itself, over HTTP as on a WebSocket.
pub struct Codes;

impl ExtensionFactory for Codes {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_trait::async_trait]
impl Extension for Codes {
    async fn request(&self, ctx: &ExtensionContext<'_>, next: NextRequest<'_>) -> Response {
        with_codes(next.run(ctx).await)
    }

    fn subscribe<'s>(
        &self,
        ctx: &ExtensionContext<'_>,
        stream: BoxStream<'s, Response>,
        next: NextSubscribe<'_>,
    ) -> BoxStream<'s, Response> {
        next.run(ctx, stream).map(with_codes).boxed()
    }
}

fn with_codes(mut response: Response) -> Response {
    response.errors.iter_mut().for_each(name_the_fault);
    response
}

/// What it refuses, such as a wrong type or a missing field, is the caller's fault.
fn name_the_fault(error: &mut ServerError) {
    let extensions = error.extensions.get_or_insert_default();
    if extensions.get("code").is_none() {
        // The guard has refused what is too much before; these find the rest by their own count.
        let message = &error.message;
        let is_too_much = message.starts_with("The recursion depth of the query cannot be greater")
            || message.ends_with("recursion limit exceeded.");
        extensions.set("code", if is_too_much { "QUERY_TOO_COMPLEX" } else { "BAD_USER_INPUT" });
    }
}
