//! What operations may ask for, what they cost their caller, and how long they may take: over HTTP as
//! on a WebSocket.
//!
//! In this order: the text is measured (`text.rs`), parsed, weighed (`assess.rs`), charged to the
//! caller's budget, validated, and run against the clock. Each mutation counts by itself, too.

mod assess;
mod documents;
mod lines;
mod text;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextExecute, NextParseQuery, NextPrepareRequest,
    NextRequest, NextResolve, NextSubscribe, NextValidation, ResolveInfo,
};
use async_graphql::futures_util::stream::BoxStream;
use async_graphql::futures_util::{FutureExt as _, StreamExt as _};
use async_graphql::parser::types::{ExecutableDocument, OperationType};
use async_graphql::{
    Error, ErrorExtensionValues, ErrorExtensions as _, PathSegment, Pos, Request, Response,
    ServerError, ServerResult, ValidationResult, Value, Variables, async_trait, value,
};
use clap::ValueEnum;
use orion_commands::{Action, Actor, policy};

pub use self::assess::{Assessed, COST_MAX};
pub use self::lines::{Lines, Preparation};
use super::context::{App, Caller};
use super::error::{coded, internal};
use super::snapshot::OfDone;
use super::subscription::Run;
use crate::limits::{Account, Exceeded, Limit, network};

/// When a client should try again for whom the server had too much to do.
const OVERLOADED_FOR_MS: u64 = 1_000;

const RETRY_AFTER_MS: &str = "retryAfterMs";

/// The extension of a request that asks for the cost, and of the answer that tells it.
const COST: &str = "cost";

/// How many mistakes of one document are listed: a document may consist of nothing else.
const MISTAKES_MAX: usize = 5;

impl From<Exceeded> for Error {
    fn from(exceeded: Exceeded) -> Self {
        limited(exceeded.message(), exceeded.wait_ms())
    }
}

/// The server has more to do than it can queue.
pub fn overloaded() -> Error {
    limited("too many requests, try again soon".to_owned(), OVERLOADED_FOR_MS)
}

fn limited(message: String, wait_ms: u64) -> Error {
    coded(message, "RATE_LIMITED").extend_with(|_, values| values.set(RETRY_AFTER_MS, wait_ms))
}

/// When to try again, if an error says so.
pub fn retry_after_ms(extensions: Option<&ErrorExtensionValues>) -> Option<u64> {
    let Value::Number(ms) = extensions?.get(RETRY_AFTER_MS)? else { return None };
    ms.as_u64()
}

impl Caller {
    /// Who pays for what this caller does.
    pub fn account(&self) -> Account {
        match self.actor {
            Actor::User { id, .. } => Account::User(id),
            Actor::Service { id, .. } => Account::Service(id),
            Actor::Anonymous | Actor::System => Account::Network(network(self.address)),
        }
    }
}

/// What the operator has decided about operations.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How long one may take.
    pub timeout: Duration,
    /// Who may ask for the schema.
    pub introspection: Introspection,
    /// Whether an error names what may have been meant.
    pub suggestions: bool,
}

/// Who may ask for the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Introspection {
    /// Everybody.
    On,
    /// Nobody.
    Off,
    /// Admins.
    Admin,
}

/// An operation that asks for too much of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMuch {
    /// Of what.
    pub limit: &'static str,
    /// How much it asks for, as far as was counted.
    pub found: u32,
    /// How much there may be.
    pub max: u32,
}

impl TooMuch {
    fn of(limit: &'static str, found: u32, max: u32) -> Self {
        Self { limit, found, max }
    }
}

impl From<TooMuch> for ServerError {
    fn from(too_much: TooMuch) -> Self {
        let TooMuch { limit, found, max } = too_much;
        let error = coded(format!("too complex: more than {max} {limit}"), "QUERY_TOO_COMPLEX");
        at_no_place(error.extend_with(|_, values| {
            values.set("limit", limit);
            values.set("found", found);
            values.set("max", max);
        }))
    }
}

/// The document of a request, whose text is measured before it is parsed. To be used by whoever looks
/// into a request before it is executed.
pub fn parsed(request: &mut Request) -> ServerResult<&ExecutableDocument> {
    text::check(&request.query)?;
    documents::parse(request)
}

/// Refuses what is too much, and charges the rest.
pub struct Guard(pub Rules);

/// One request under guard.
struct Guarded {
    rules: Rules,
    known: Arc<Known>,
}

/// What has become known of a request; not all of it is before it is parsed.
#[derive(Default)]
struct Known {
    assessed: OnceLock<Assessed>,
    wants_cost: AtomicBool,
}

impl Known {
    /// Tells the cost to whom it has asked.
    fn tell(&self, response: Response) -> Response {
        match self.assessed.get().filter(|_| self.wants_cost.load(Ordering::Relaxed)) {
            Some(assessed) => {
                let cost = value!({ "operation": assessed.cost, "max": COST_MAX });
                response.extension(COST, cost)
            }
            None => response,
        }
    }
}

impl ExtensionFactory for Guard {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Guarded { rules: self.0, known: Arc::default() })
    }
}

#[async_trait::async_trait]
impl Extension for Guarded {
    async fn request(&self, ctx: &ExtensionContext<'_>, next: NextRequest<'_>) -> Response {
        self.known.tell(unless_panicked(next.run(ctx)).await)
    }

    fn subscribe<'s>(
        &self,
        ctx: &ExtensionContext<'_>,
        stream: BoxStream<'s, Response>,
        next: NextSubscribe<'_>,
    ) -> BoxStream<'s, Response> {
        let known = self.known.clone();
        let mut is_first = true;
        let tell = move |response| {
            if std::mem::take(&mut is_first) { known.tell(response) } else { response }
        };
        until_panicked(next.run(ctx, stream)).map(tell).boxed()
    }

    async fn prepare_request(
        &self,
        ctx: &ExtensionContext<'_>,
        mut request: Request,
        next: NextPrepareRequest<'_>,
    ) -> ServerResult<Request> {
        let wants_cost = request.extensions.get(COST) == Some(&Value::Boolean(true));
        self.known.wants_cost.store(wants_cost, Ordering::Relaxed);
        text::check(&request.query)?;
        let (operation, variables) =
            (request.operation_name.take(), std::mem::take(&mut request.variables));
        // What does not parse costs nothing; it is refused at its next step.
        let assessed = match request.parsed_query() {
            Ok(document) => assess::assess(document, operation.as_deref(), &variables)?,
            Err(_) => None,
        };
        (request.operation_name, request.variables) = (operation, variables);
        if let Some(assessed) = assessed {
            let _ = self.known.assessed.set(assessed);
            request = request.data(assessed);
        }
        next.run(ctx, request).await
    }

    async fn parse_query(
        &self,
        ctx: &ExtensionContext<'_>,
        query: &str,
        variables: &Variables,
        next: NextParseQuery<'_>,
    ) -> ServerResult<ExecutableDocument> {
        // The first step that knows the caller. What goes on with a subscription was paid for before.
        let is_first = ctx.data_opt::<Run>().is_none_or(Run::is_first);
        if let Some(assessed) = self.known.assessed.get().filter(|_| is_first) {
            metrics::histogram!("orion_graphql_cost").record(assessed.cost);
            charge(ctx, Limit::Cost, assessed.cost, Pos::default())?;
            if assessed.introspects {
                self.rules.introspection.admit(ctx.data_unchecked())?;
            }
        }
        next.run(ctx, query, variables).await
    }

    async fn validation(
        &self,
        ctx: &ExtensionContext<'_>,
        next: NextValidation<'_>,
    ) -> Result<ValidationResult, Vec<ServerError>> {
        next.run(ctx).await.map_err(|mut mistakes| {
            mistakes.truncate(MISTAKES_MAX);
            mistakes
        })
    }

    async fn execute(
        &self,
        ctx: &ExtensionContext<'_>,
        operation_name: Option<&str>,
        next: NextExecute<'_>,
    ) -> Response {
        let kind = self.known.assessed.get().map(|assessed| assessed.kind);
        if let Some(preparation) = ctx.data_opt::<Preparation>() {
            preparation.end();
        }
        // Held until all of the payload was read.
        let Ok(_turn) = ctx.data_unchecked::<App>().lines.turn_of(kind).await else {
            return Response::from_errors(vec![at_no_place(overloaded())]);
        };
        let answered =
            tokio::time::timeout(self.rules.timeout, next.run(ctx, operation_name)).await;
        answered.unwrap_or_else(|_| Response::from_errors(vec![overdue(kind, self.rules.timeout)]))
    }

    async fn resolve(
        &self,
        ctx: &ExtensionContext<'_>,
        info: ResolveInfo<'_>,
        next: NextResolve<'_>,
    ) -> ServerResult<Option<Value>> {
        if info.parent_type == "Mutation" {
            let field = info.alias.unwrap_or(info.name).to_owned();
            let at_field = |error: ServerError| error.with_path(vec![PathSegment::Field(field)]);
            charge(ctx, Limit::Mutation, 1, info.field.name.pos).map_err(at_field)?;
        }
        next.run(ctx, info).await
    }
}

impl Introspection {
    fn admit(self, caller: &Caller) -> ServerResult<()> {
        let is_admitted = match self {
            Self::On => true,
            Self::Off => false,
            Self::Admin => policy::allow(&caller.actor, Action::Audit).is_ok(),
        };
        if is_admitted {
            return Ok(());
        }
        Err(at_no_place(coded("this server does not show its schema", "FORBIDDEN")))
    }
}

/// The time is up. What a mutation has begun may be done all the same: its answer was not waited for.
fn overdue(kind: Option<OperationType>, timeout: Duration) -> ServerError {
    let seconds = timeout.as_secs();
    let message = match kind {
        Some(OperationType::Mutation) => format!(
            "not done within {seconds} s, but it may be done yet; \
             sent again with the same commandId, it tells"
        ),
        Some(OperationType::Query | OperationType::Subscription) | None => {
            format!("not answered within {seconds} s")
        }
    };
    at_no_place(coded(message, "TIMEOUT"))
}

/// An answer also where something of ours breaks: the connection and its other requests go on.
async fn unless_panicked(answer: impl Future<Output = Response>) -> Response {
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| panicked())
}

/// Answers until something of ours breaks; that is the last one.
fn until_panicked(answers: BoxStream<'_, Response>) -> BoxStream<'_, Response> {
    let answers = AssertUnwindSafe(answers).catch_unwind();
    answers.map(|answer| answer.unwrap_or_else(|_| panicked())).boxed()
}

/// The panic itself was logged when it happened.
fn panicked() -> Response {
    Response::from_errors(vec![at_no_place(internal(Panicked))])
}

/// A resolver has panicked.
#[derive(Debug, thiserror::Error)]
#[error("a resolver has panicked")]
struct Panicked;

/// An error about the operation as a whole.
fn at_no_place(error: Error) -> ServerError {
    let mut error = error.into_server_error(Pos::default());
    error.locations.clear();
    error
}

fn charge(ctx: &ExtensionContext<'_>, limit: Limit, weight: u32, at: Pos) -> ServerResult<()> {
    if ctx.data_opt::<OfDone>().is_some() {
        return Ok(());
    }
    let (app, caller): (&App, &Caller) = (ctx.data_unchecked(), ctx.data_unchecked());
    let checked = app.limits.check_n(limit, caller.account(), weight);
    checked.map_err(|exceeded| Error::from(exceeded).into_server_error(at))
}

#[cfg(test)]
mod tests {
    use async_graphql::futures_util::stream;

    use super::*;

    fn is_internal(response: &Response) -> bool {
        let response = serde_json::to_string(response).unwrap();
        response.contains(r#""code":"INTERNAL""#) && !response.contains("secret")
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_that_tells_nothing() {
        let answer = unless_panicked(async { panic!("secret") }).await;
        assert!(is_internal(&answer), "{answer:?}");
        let numbers = stream::iter([1, 2, 3]);
        let answers = numbers.map(|number| match number {
            2 => panic!("secret"),
            number => Response::new(number),
        });
        let answers: Vec<_> = until_panicked(answers.boxed()).collect().await;
        assert_eq!(answers.iter().map(is_internal).collect::<Vec<_>>(), [false, true]);
    }
}
