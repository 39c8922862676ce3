//! The figures for Prometheus: their names, what they mean, and how finely times are told apart.
//!
//! Whatever a client may choose is never a label: not the name of an operation, nor the path of a request.

use std::time::Duration;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

/// The upper bounds of times, in seconds: from a read in memory to the time-outs.
const SECONDS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The upper bounds of the sizes of batches; 256 commits and 500 events are the most.
const SIZES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 500.0];

/// The upper bounds of costs; at 20,000 a query is refused.
const COSTS: [f64; 10] =
    [3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0, 20_000.0, 100_000.0];

/// How often what was recorded is put in order.
const KEEP_UP_EVERY: Duration = Duration::from_secs(5);

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How many of a thing took how long.
    Seconds,
    /// How many of a thing were how large.
    Sizes,
    /// How many of a thing cost how much.
    Costs,
}

/// Every figure with its kind and meaning. Names are for ever: dashboards and alerts know them.
pub const FIGURES: [(&str, Kind, &str); 47] = [
    ("orion_build_info", Kind::Gauge, "1, with the version of the program"),
    ("orion_http_requests_total", Kind::Counter, "Answered requests by method, route and status"),
    ("orion_http_request_duration_seconds", Kind::Seconds, "Time to the head of the answer"),
    ("orion_graphql_operations_total", Kind::Counter, "Ended operations by kind and code"),
    ("orion_graphql_operation_duration_seconds", Kind::Seconds, "Time of queries and mutations"),
    ("orion_graphql_cost", Kind::Costs, "What operations cost"),
    ("orion_sockets", Kind::Gauge, "Open WebSockets"),
    ("orion_subscriptions", Kind::Gauge, "Open subscriptions"),
    ("orion_subscription_executions_total", Kind::Counter, "Answers made, by their audience"),
    ("orion_subscription_messages_total", Kind::Counter, "Messages of subscriptions"),
    ("orion_tail_reads_total", Kind::Counter, "Reads of followers by reader and source"),
    ("orion_rate_limited_total", Kind::Counter, "Refusals because a budget was used up"),
    ("orion_overloaded_total", Kind::Counter, "Refusals because too many waited for the same"),
    ("orion_commands_total", Kind::Counter, "Commands by code"),
    ("orion_appends_total", Kind::Counter, "Commits by what became of them"),
    ("orion_append_duration_seconds", Kind::Seconds, "Time of one commit until it is durable"),
    ("orion_append_batch_duration_seconds", Kind::Seconds, "Time to write one batch of commits"),
    ("orion_append_batch_commits", Kind::Sizes, "Commits in one batch"),
    ("orion_log_position", Kind::Gauge, "The newest position that this server has seen"),
    ("orion_projection_position", Kind::Gauge, "The position that a projection has reached"),
    ("orion_projection_lag_events", Kind::Gauge, "Events that a projection is behind the log"),
    ("orion_projection_stopped", Kind::Gauge, "1 when a projection waits before a bad event"),
    ("orion_projection_batch_duration_seconds", Kind::Seconds, "Time to apply one batch of events"),
    ("orion_projection_batch_events", Kind::Sizes, "Events in one batch"),
    ("orion_reactor_position", Kind::Gauge, "The position that a reactor has reached"),
    ("orion_reactor_lag_events", Kind::Gauge, "Events that a reactor is behind the log"),
    ("orion_sealed_position", Kind::Gauge, "The newest position that a checkpoint covers"),
    ("orion_seal_lag_events", Kind::Gauge, "Events that no checkpoint covers yet"),
    ("orion_sealer_stopped", Kind::Gauge, "1 when this server refuses to seal the log as it is"),
    ("orion_seal_duration_seconds", Kind::Seconds, "Time to seal one batch of events"),
    ("orion_seal_trees_mended_total", Kind::Counter, "Stored trees that were computed anew"),
    ("orion_leader", Kind::Gauge, "1 while this server leads in an office"),
    (
        "orion_outdated",
        Kind::Gauge,
        "1 when a newer server writes events that this one cannot read",
    ),
    ("orion_relay_position", Kind::Gauge, "The newest position that is in JetStream"),
    ("orion_relay_lag_events", Kind::Gauge, "Events that are not in JetStream yet"),
    ("orion_relay_stopped", Kind::Gauge, "1 when nothing is relayed until somebody acts"),
    ("orion_reads_total", Kind::Counter, "Queries by the database that they were read from"),
    ("orion_replica_in_use", Kind::Gauge, "1 while queries are read from the replica"),
    ("orion_replica_position", Kind::Gauge, "The position that the tables of the replica have"),
    ("orion_replica_lag_events", Kind::Gauge, "Events that the replica is behind the primary"),
    ("orion_disk_full", Kind::Gauge, "1 while PostgreSQL has no room for what is appended"),
    ("orion_database_up", Kind::Gauge, "1 when the database has answered this look"),
    ("orion_database_connections", Kind::Gauge, "Connections of the main pool by state"),
    ("orion_database_connections_max", Kind::Gauge, "The most connections of the main pool"),
    ("orion_password_hash_duration_seconds", Kind::Seconds, "Time to hash or compare a password"),
    ("orion_mails_total", Kind::Counter, "Tries to send mail by outcome"),
    ("orion_trace_exports_total", Kind::Counter, "Batches of spans by outcome"),
];

/// Begins to record the figures of this process.
///
/// Whoever records before counts nothing, and so do tests without a recorder.
pub fn record() -> PrometheusHandle {
    let builder = PrometheusBuilder::new();
    let builder = FIGURES.iter().fold(builder, |builder, (name, kind, _)| {
        let bounds: &[f64] = match kind {
            Kind::Counter | Kind::Gauge => return builder,
            Kind::Seconds => &SECONDS,
            Kind::Sizes => &SIZES,
            Kind::Costs => &COSTS,
        };
        set_buckets(builder, name, bounds)
    });
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    // It fails when there is one already, which then goes on.
    let _ = metrics::set_global_recorder(recorder);
    for (name, kind, help) in FIGURES {
        match kind {
            Kind::Counter => describe_counter!(name, help),
            Kind::Gauge => describe_gauge!(name, help),
            Kind::Seconds => describe_histogram!(name, Unit::Seconds, help),
            Kind::Sizes | Kind::Costs => describe_histogram!(name, help),
        }
    }
    gauge!("orion_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1);
    // What nothing has happened to yet is 0 and not missing.
    gauge!("orion_sockets").set(0);
    gauge!("orion_subscriptions").set(0);
    handle
}

#[expect(clippy::expect_used, reason = "it fails for no bounds only, and there are some")]
fn set_buckets(builder: PrometheusBuilder, name: &str, bounds: &[f64]) -> PrometheusBuilder {
    builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds).expect("bounds")
}

/// Puts what was recorded where it takes little room, again and again, until `stop`: whether or not
/// anybody asks for the figures.
pub async fn keep_up(figures: PrometheusHandle, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(KEEP_UP_EVERY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        figures.run_upkeep();
    }
}

/// Counts one more of a thing for as long as it lives.
pub struct Present(&'static str);

impl Present {
    /// Another one.
    pub fn one(name: &'static str) -> Self {
        gauge!(name).increment(1);
        Self(name)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        gauge!(self.0).decrement(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_documented_and_nothing_else() {
        let page = include_str!("../../../docs/operations.md");
        for (name, ..) in FIGURES {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
        let words = page.split('`').filter(|word| word.starts_with("orion_"));
        let names = words.map(|word| word.split('{').next().unwrap());
        for name in names.filter(|name| name.contains("_total") || name.ends_with("_seconds")) {
            assert!(FIGURES.iter().any(|(known, ..)| *known == name), "{name}");
        }
    }

    #[test]
    fn names_say_the_unit_last() {
        for (name, kind, _) in FIGURES {
            assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
            assert_eq!(name.ends_with("_seconds"), kind == Kind::Seconds, "{name}");
        }
    }
}
