//! What the program says of itself: log lines, figures, and traces for those who collect them.

pub mod figures;
pub mod traces;

use std::io::IsTerminal as _;

use metrics_exporter_prometheus::PrometheusHandle;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, registry};

use crate::config::{Config, ConfigError, LogFormat};

/// The crates whose spans are exported; libraries' are nobody's business.
const OURS: &str = "orion_";

/// What was started, until it is stopped.
pub struct Telemetry {
    /// The figures of this process.
    pub figures: PrometheusHandle,
    traces: Option<SdkTracerProvider>,
}

/// Sends log lines to standard error, counts, and exports spans if the settings say where to.
pub fn start(config: &Config, runtime: &Handle) -> Result<Telemetry, ConfigError> {
    // PostgreSQL's notices are noise. The client of NATS writes its password, and what goes wrong there the relay
    // says. What goes over WebSockets has access tokens in it. None is logged unless somebody asks for it by name.
    let quiet =
        "sqlx::postgres::notice=warn,tungstenite=info,tokio_tungstenite=info,async_nats=off";
    let filter = format!("{quiet},{}", config.log);
    let filter = EnvFilter::try_new(filter).map_err(|error| ConfigError::Value {
        variable: "ORION_LOG",
        problem: error.to_string(),
    })?;
    let traces = config.otlp()?.map(|to| traces::export(&to, runtime)).transpose()?;
    match &traces {
        None => registry().with(filter).with(lines(config.log_format)).init(),
        Some(provider) => {
            // Spans only: a line may say more than what belongs into another program. The filter is asked
            // each time: what it once answered would be mixed up with what is asked of the other one.
            let is_ours = |metadata: &Metadata<'_>, _: &Context<'_, _>| {
                metadata.is_span() && metadata.target().starts_with(OURS)
            };
            let is_ours = dynamic_filter_fn(is_ours).with_max_level_hint(LevelFilter::DEBUG);
            let spans = traces::layer(provider).with_filter(is_ours);
            let lines = lines(config.log_format).with_filter(filter);
            registry().with(lines).with(spans).init();
        }
    }
    Ok(Telemetry { figures: figures::record(), traces })
}

/// The layer that writes lines.
fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    }
}

impl Telemetry {
    /// Hands over the spans that wait, for a bounded time. The runtime must still work.
    pub fn stop(self) {
        if let Some(traces) = self.traces {
            traces::flush(&traces);
        }
    }
}

/// An error with its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text.replace('\n', " ")
}
