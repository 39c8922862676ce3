//! What is known of each operation, over HTTP as on a WebSocket: a span with its name and hash, and
//! figures. Never its variables, nor its text: it may have values in it.

use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Instant;

use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextPrepareRequest, NextRequest, NextSubscribe,
};
use async_graphql::futures_util::StreamExt as _;
use async_graphql::futures_util::stream::{BoxStream, poll_fn};
use async_graphql::parser::types::{ExecutableDocument, OperationType};
use async_graphql::{Request, Response, ServerResult, Value, async_trait};
use metrics::{counter, histogram};
use sha2::{Digest as _, Sha256};
use tracing::field::Empty;
use tracing::{Instrument as _, Span, debug, info_span};

use super::context::Caller;
use super::subscription::Run;
use crate::telemetry::traces::continue_from_value;

/// How much of the hash of a document is shown, in bytes: enough to tell some thousand apart.
const HASH_BYTES: usize = 8;

/// How much of an operation's name is shown; clients choose it.
const NAME_CHARS_MAX: usize = 64;

/// The kind of what does not parse, or names no operation of its document.
const UNKNOWN: &str = "unknown";

const SUBSCRIPTION: &str = "subscription";

/// The code of an operation whose client has left, or that was cut off.
const ABANDONED: &str = "ABANDONED";

/// Observes operations. It lies outside of what gives errors their codes.
pub struct Observations;

impl ExtensionFactory for Observations {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Observed(Arc::new(Operation {
            began: Instant::now(),
            span: info_span!(
                "operation",
                otel.status_code = Empty,
                graphql.operation.type = Empty,
                graphql.operation.name = Empty,
                graphql.document.hash = Empty,
            ),
            kind: OnceLock::new(),
        })))
    }
}

/// One operation.
struct Operation {
    began: Instant,
    span: Span,
    /// Becomes known when the document is read.
    kind: OnceLock<&'static str>,
}

impl Operation {
    fn kind(&self) -> &'static str {
        self.kind.get().copied().unwrap_or(UNKNOWN)
    }

    /// The operation of the document that is asked for becomes known.
    fn know(&self, document: &ExecutableDocument, wanted: Option<&str>) {
        let mut operations = document.operations.iter();
        let found = operations.find(|(name, _)| match (wanted, name) {
            (None, _) | (Some(_), None) => wanted.is_none(),
            (Some(wanted), Some(name)) => name.as_str() == wanted,
        });
        let Some((name, operation)) = found else { return };
        let kind = match operation.node.ty {
            OperationType::Query => "query",
            OperationType::Mutation => "mutation",
            OperationType::Subscription => SUBSCRIPTION,
        };
        let _ = self.kind.set(kind);
        self.span.record("graphql.operation.type", kind);
        if let Some(name) = name {
            let name: String = name.chars().take(NAME_CHARS_MAX).collect();
            self.span.record("graphql.operation.name", name);
        }
    }
}

/// An operation that goes on. When it is dropped the operation has ended, whoever ended it.
struct Open {
    operation: Arc<Operation>,
    code: String,
    /// For whom a subscription is executed, in the figures.
    audience: &'static str,
}

impl Open {
    fn new(operation: &Arc<Operation>, code: &str) -> Self {
        Self { operation: operation.clone(), code: code.to_owned(), audience: "" }
    }

    /// Looks at the next item of a stream, which may be none yet.
    fn look(&mut self, item: &Poll<Option<Response>>) {
        if let Poll::Ready(Some(response)) = item {
            self.code = code(response);
            if self.operation.kind() == SUBSCRIPTION {
                counter!("orion_subscription_executions_total", "audience" => self.audience)
                    .increment(1);
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let (kind, took) = (self.operation.kind(), self.operation.began.elapsed());
        let code = std::mem::take(&mut self.code);
        if code == "INTERNAL" {
            self.operation.span.record("otel.status_code", "ERROR");
        }
        let duration_ms = took.as_secs_f64() * 1_000.0;
        debug!(parent: &self.operation.span, kind, code, duration_ms, "operation ended");
        // A client's subscription may be several executions, and one execution is for many clients:
        // subscriptions are counted where they are given to clients.
        if kind == SUBSCRIPTION {
            return;
        }
        histogram!("orion_graphql_operation_duration_seconds", "kind" => kind).record(took);
        counter!("orion_graphql_operations_total", "kind" => kind, "code" => code).increment(1);
    }
}

struct Observed(Arc<Operation>);

#[async_trait::async_trait]
impl Extension for Observed {
    async fn request(&self, ctx: &ExtensionContext<'_>, next: NextRequest<'_>) -> Response {
        let mut open = Open::new(&self.0, ABANDONED);
        let response = next.run(ctx).instrument(self.0.span.clone()).await;
        open.code = code(&response);
        response
    }

    fn subscribe<'s>(
        &self,
        ctx: &ExtensionContext<'_>,
        stream: BoxStream<'s, Response>,
        next: NextSubscribe<'_>,
    ) -> BoxStream<'s, Response> {
        let span = self.0.span.clone();
        // A socket's messages are in no request; they belong to the trace that it was opened in.
        let caller = ctx.data_opt::<Caller>();
        if let Some(parent) = caller.and_then(|caller| caller.traceparent.as_deref())
            && Span::current().is_none()
        {
            continue_from_value(&span, parent);
        }
        let mut stream = next.run(ctx, stream);
        let mut open = Open::new(&self.0, "OK");
        let is_shared = ctx.data_opt::<Run>().is_some_and(Run::is_shared);
        open.audience = if is_shared { "group" } else { "one" };
        poll_fn(move |cx| {
            let item = span.in_scope(|| stream.poll_next_unpin(cx));
            open.look(&item);
            item
        })
        .boxed()
    }

    async fn prepare_request(
        &self,
        ctx: &ExtensionContext<'_>,
        request: Request,
        next: NextPrepareRequest<'_>,
    ) -> ServerResult<Request> {
        self.0.span.record("graphql.document.hash", hash(&request.query));
        // Afterwards: what is too long was refused unread.
        let mut request = next.run(ctx, request).await?;
        let wanted = request.operation_name.clone();
        if let Ok(document) = request.parsed_query() {
            self.0.know(document, wanted.as_deref());
        }
        Ok(request)
    }
}

/// The code of the first error, or `OK`. A refusal in a payload is `OK` here: the operation worked.
pub fn code(response: &Response) -> String {
    let Some(error) = response.errors.first() else { return "OK".to_owned() };
    match error.extensions.as_ref().and_then(|extensions| extensions.get("code")) {
        Some(Value::String(code)) => code.clone(),
        Some(_) | None => "INTERNAL".to_owned(),
    }
}

/// The first bytes of the SHA-256 of a document's text, in hex.
fn hash(document: &str) -> String {
    let hash = Sha256::digest(document);
    hex::encode(&hash[..HASH_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_known_by_its_hash() {
        // As `printf '{ me { id } }' | sha256sum` says it.
        assert_eq!(hash("{ me { id } }"), "c53d78fa4c9c65a9");
    }
}
