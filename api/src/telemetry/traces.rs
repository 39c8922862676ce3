//! Traces: where a request's comes from, what is said of it to others, and the way to a collector by
//! OTLP over HTTP.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use metrics::counter;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use reqwest::Url;
use reqwest::redirect::Policy;
use tokio::runtime::Handle;
use tracing::{Span, Subscriber, warn};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::config::ConfigError;

/// How long the collector may take for one batch of spans.
const EXPORT_WITHIN: Duration = Duration::from_secs(5);

/// How long the last spans may take when the server stops.
const FLUSH_FOR: Duration = Duration::from_secs(1);

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Where spans go to.
#[derive(Clone, Debug)]
pub struct Otlp {
    /// The address that spans are posted to.
    pub url: Url,
    /// The variable that it comes from.
    pub variable: &'static str,
}

/// Makes the span of a request a child of the span that the client names.
pub fn continue_from(span: &Span, headers: &HeaderMap) {
    let parent = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    if parent.span().span_context().is_valid() {
        // It fails where nobody exports, or when the span has a parent already.
        let _ = span.set_parent(parent);
    }
}

/// The same from the header's value alone.
pub fn continue_from_value(span: &Span, traceparent: &str) {
    if let Ok(value) = traceparent.parse() {
        continue_from(span, &HeaderMap::from_iter([(TRACEPARENT, value)]));
    }
}

/// The present span as W3C writes it; nothing where no spans are exported.
pub fn traceparent() -> Option<String> {
    let context = Span::current().context();
    let span = context.span();
    let span = span.span_context();
    let flags = span.trace_flags().to_u8();
    span.is_valid().then(|| format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id()))
}

/// Starts to export. The usual variables of OpenTelemetry name the service, its resource and the sampler,
/// and give headers to the collector.
pub fn export(to: &Otlp, runtime: &Handle) -> Result<SdkTracerProvider, ConfigError> {
    let unusable = |problem: String| ConfigError::Value { variable: to.variable, problem };
    // It fails when somebody was faster, who has chosen the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .redirect(Policy::none())
        .timeout(EXPORT_WITHIN)
        .user_agent("orion")
        .build()
        .map_err(|error| unusable(super::chain(&error)))?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Collector { client, runtime: runtime.clone() })
        .with_endpoint(to.url.as_str())
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(EXPORT_WITHIN)
        .build()
        .map_err(|error| unusable(super::chain(&error)))?;
    let resource = Resource::builder();
    let resource = match std::env::var_os("OTEL_SERVICE_NAME") {
        Some(_) => resource,
        None => resource.with_service_name("orion"),
    };
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.build())
        .build())
}

/// The layer that turns spans of `tracing` into those of OpenTelemetry.
pub fn layer<S>(
    provider: &SdkTracerProvider,
) -> OpenTelemetryLayer<S, opentelemetry_sdk::trace::SdkTracer>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("orion"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
}

/// Hands over what waits, for a bounded time.
pub fn flush(provider: &SdkTracerProvider) {
    if let Err(error) = provider.shutdown_with_timeout(FLUSH_FOR) {
        warn!(error = super::chain(&error), "the last spans were not exported");
    }
}

/// Posts batches of spans. They are collected on a thread of their own, outside of the runtime.
#[derive(Debug)]
struct Collector {
    client: reqwest::Client,
    runtime: Handle,
}

#[async_graphql::async_trait::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move {
            let answer = client.execute(request.try_into()?).await?;
            Ok::<_, reqwest::Error>(answer.status())
        });
        let sent = sent.await?;
        let is_taken = sent.as_ref().is_ok_and(StatusCode::is_success);
        let outcome = if is_taken { "sent" } else { "failed" };
        counter!("orion_trace_exports_total", "outcome" => outcome).increment(1);
        // What else a collector says of a batch is of no use here, and may be long.
        let mut answer = Response::new(Bytes::new());
        *answer.status_mut() = sent?;
        Ok(answer)
    }
}
