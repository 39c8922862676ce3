//! Figures for Prometheus.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use orion_projections::{Checkpoint, NOTIFICATIONS, READ_MODEL, Status};

use super::Shared;

/// The figures of this moment.
pub async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    let head = shared.app.bus.log().tail().head().0;
    let projections = [(READ_MODEL, &shared.app.progress), (NOTIFICATIONS, &shared.app.notified)];
    let of_projections = |metric: &str, value: fn(i64, &Checkpoint) -> i64| {
        projections.iter().fold(String::new(), |lines, (name, progress)| {
            let value = value(head, &progress.now());
            format!("{lines}{metric}{{projection=\"{name}\"}} {value}\n")
        })
    };
    let position = of_projections("orion_projection_position", |_, now| now.position.0);
    let lag =
        of_projections("orion_projection_lag_events", |head, now| (head - now.position.0).max(0));
    let stopped = of_projections("orion_projection_stopped", |_, now| {
        i64::from(now.status != Status::Running)
    });
    let pool = shared.app.bus.log().pool();
    let connections = pool.size();
    let idle = pool.num_idle();
    let refused = shared.app.limits.refused().fold(String::new(), |lines, (limit, count)| {
        format!("{lines}orion_rate_limited_total{{limit=\"{limit}\"}} {count}\n")
    });
    let body = format!(
        "# HELP orion_log_position The newest position of the log that this server has seen.\n\
         # TYPE orion_log_position gauge\n\
         orion_log_position {head}\n\
         # HELP orion_projection_position The position that a projection has reached.\n\
         # TYPE orion_projection_position gauge\n\
         {position}\
         # HELP orion_projection_lag_events How many events a projection is behind the log.\n\
         # TYPE orion_projection_lag_events gauge\n\
         {lag}\
         # HELP orion_projection_stopped 1 when a projection waits before an event that it cannot apply.\n\
         # TYPE orion_projection_stopped gauge\n\
         {stopped}\
         # HELP orion_database_connections The connections of the main pool.\n\
         # TYPE orion_database_connections gauge\n\
         orion_database_connections{{state=\"open\"}} {connections}\n\
         orion_database_connections{{state=\"idle\"}} {idle}\n\
         # HELP orion_rate_limited_total The requests that were refused because a budget was used up.\n\
         # TYPE orion_rate_limited_total counter\n\
         {refused}"
    );
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], body)
}
