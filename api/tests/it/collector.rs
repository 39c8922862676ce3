//! A collector of spans on this machine: OTLP over HTTP, as OpenTelemetry's own takes it.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::task::AbortHandle;

use crate::eventually::eventually;

/// What was collected so far.
#[derive(Clone, Default)]
struct Collected {
    spans: Arc<Mutex<Vec<Span>>>,
    /// Everything as it came.
    bytes: Arc<Mutex<Vec<u8>>>,
}

/// A collector; it ends with the test.
pub struct Collector {
    /// Where it listens: `http://127.0.0.1:port`.
    pub url: String,
    collected: Collected,
    task: AbortHandle,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn collect(
    State(collected): State<Collected>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    assert_eq!(headers[CONTENT_TYPE], "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body.clone()).unwrap();
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    collected.spans.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
    collected.bytes.lock().unwrap().extend_from_slice(&body);
    StatusCode::OK
}

impl Collector {
    /// Starts one.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let collected = Collected::default();
        let router = Router::new().route("/v1/traces", post(collect)).with_state(collected.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, collected, task: task.abort_handle() }
    }

    /// The first span of this name that fits.
    pub async fn span(&self, name: &str, fits: impl Fn(&Span) -> bool) -> Span {
        eventually(&format!("a span {name}"), async || self.now(name, &fits)).await
    }

    /// The same, if it has come.
    pub fn now(&self, name: &str, fits: impl Fn(&Span) -> bool) -> Option<Span> {
        let spans = self.collected.spans.lock().unwrap();
        spans.iter().find(|span| span.name == name && fits(span)).cloned()
    }

    /// True when this text stands anywhere in what was collected.
    pub fn has_heard(&self, text: &str) -> bool {
        let bytes = self.collected.bytes.lock().unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

/// A text among a span's attributes.
pub fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        Value::BoolValue(_)
        | Value::DoubleValue(_)
        | Value::ArrayValue(_)
        | Value::KvlistValue(_)
        | Value::BytesValue(_)
        | Value::StringValueStrindex(_) => None,
    }
}
