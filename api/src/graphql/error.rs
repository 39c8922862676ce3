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
use orion_store::is_overload;
use tracing::error;
use uuid::Uuid;

use super::limits::overloaded;
use super::snapshot::Behind;
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

/// A failure of ours: logged once with all its causes; the client gets an id to ask about it. Where only too
/// much is asked, of PostgreSQL or of us, the client is told so.
pub fn internal(failure: impl std::error::Error + 'static) -> Error {
    if let Some(error) = of_database(&failure) {
        if is_overload(error) {
            return overloaded();
        }
        if is_cancelled(error) {
            return coded("the operation took too long, and was cancelled", "TIMEOUT");
        }
    }
    if is_behind(&failure) {
        return not_reached();
    }
    let trace_id = Uuid::now_v7();
    error!(%trace_id, error = chain(&failure), "request failed");
    Error::new("something went wrong on our side").extend_with(|_, extensions| {
        extensions.set("code", "INTERNAL");
        extensions.set("traceId", trace_id.to_string());
    })
}

/// The tables do not show what they were asked for.
pub fn not_reached() -> Error {
    coded("the read model has not reached the position in time", "TIMEOUT")
}

/// True when the tables were found to be behind what was promised.
pub fn is_behind(failure: &(dyn std::error::Error + 'static)) -> bool {
    let shared = failure.downcast_ref::<Arc<sqlx::Error>>();
    failure.is::<Behind>()
        || shared.is_some_and(|failure| is_behind(failure.as_ref()))
        || failure.source().is_some_and(is_behind)
}

/// What sqlx says, if it is a cause of the failure.
fn of_database<'f>(failure: &'f (dyn std::error::Error + 'static)) -> Option<&'f sqlx::Error> {
    let shared = failure.downcast_ref::<Arc<sqlx::Error>>().map(Arc::as_ref);
    let own = failure.downcast_ref::<sqlx::Error>().or(shared);
    own.or_else(|| of_database(failure.source()?))
}

/// True when PostgreSQL has cancelled a statement that took too long: it may be faster than whoever
/// watches over the whole operation.
fn is_cancelled(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code == "57014")
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
    error.message = without_quotes(&error.message);
    let extensions = error.extensions.get_or_insert_default();
    if extensions.get("code").is_none() {
        // The guard has refused what is too much before; these find the rest by their own count.
        let message = &error.message;
        let is_too_much = message.starts_with("The recursion depth of the query cannot be greater")
            || message.ends_with("recursion limit exceeded.");
        extensions.set("code", if is_too_much { "QUERY_TOO_COMPLEX" } else { "BAD_USER_INPUT" });
    }
}

/// A message of async-graphql without what it quotes of the query or the variables: a value that is
/// wrong may be a password in the wrong place.
fn without_quotes(message: &str) -> String {
    if message.starts_with(" --> ") {
        let expected = message.rsplit_once("\n  = ").map_or("", |(_, expected)| expected);
        return format!("the query does not parse: {expected}");
    }
    let Some((expected, found)) = message.split_once(", found ") else {
        return message.to_owned();
    };
    if !expected.contains("Expected input type \"") {
        return message.to_owned();
    }
    match found.rfind(" (occurred while parsing ") {
        Some(at) => format!("{expected}{}", &found[at..]),
        None => expected.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_quote_nothing() {
        for (message, shown) in [
            (
                " --> 1:5\n  |\n1 | { secret \n  |     ^---\n  |\n  = expected selection_set",
                "the query does not parse: expected selection_set",
            ),
            (
                "Failed to parse \"Login\": Expected input type \"String\", found {\"a, found \": 1}. \
                 (occurred while parsing \"Login\")",
                "Failed to parse \"Login\": Expected input type \"String\" (occurred while parsing \"Login\")",
            ),
            ("Expected input type \"Login\", found [\"secret\"].", "Expected input type \"Login\""),
            ("Unknown field \"x\" on type \"User\".", "Unknown field \"x\" on type \"User\"."),
        ] {
            assert_eq!(without_quotes(message), shown);
        }
    }
}
