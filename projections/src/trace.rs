//! The span of a batch: linked to the traces that its events come from.

use std::borrow::Borrow;
use std::collections::BTreeSet;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use orion_store::RecordedEvent;
use tracing::{Span, debug_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::READ_MODEL;

/// The most traces that a batch is linked to: what OpenTelemetry keeps of a span's links.
const LINKS_MAX: usize = 128;

/// A span for what is done with these events. It belongs to none of their traces: there are many.
pub fn span_over(events: &[impl Borrow<RecordedEvent>]) -> Span {
    let span = debug_span!("project", projection = READ_MODEL, events = events.len());
    if !span.is_disabled() {
        let metadata = events.iter().map(|event| &event.borrow().metadata);
        let parents = metadata.filter_map(|metadata| metadata.get("traceparent"));
        for parent in parents.collect::<BTreeSet<_>>().into_iter().take(LINKS_MAX) {
            if let Some(context) = context_of(parent) {
                span.add_link(context);
            }
        }
    }
    span
}

/// Reads `version-trace-parent-flags`. What another program wrote may be anything.
fn context_of(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-').skip(1);
    let trace_id = TraceId::from_hex(parts.next()?).ok()?;
    let span_id = SpanId::from_hex(parts.next()?).ok()?;
    let flags = TraceFlags::new(u8::from_str_radix(parts.next()?, 16).ok()?);
    let context = SpanContext::new(trace_id, span_id, flags, true, TraceState::default());
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_traceparent_is_a_link() {
        let context =
            context_of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
        assert!(context.is_sampled());
        for bad in [
            "",
            "00-trace",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-xbf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(context_of(bad).is_none(), "{bad}");
        }
    }
}
