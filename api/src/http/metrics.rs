//! Figures for Prometheus.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use orion_projections::{READ_MODEL, Status};

use super::Shared;

/// The figures of this moment.
pub async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    let head = shared.app.bus.log().tail().head().0;
    let checkpoint = shared.app.progress.now();
    let position = checkpoint.position.0;
    let lag = (head - position).max(0);
    let stopped = i32::from(checkpoint.status != Status::Running);
    let pool = &shared.app.pool;
    let connections = pool.size();
    let idle = pool.num_idle();
    let (sockets, streams) = (shared.sockets.open(), shared.sockets.streams());
    let refills = shared.app.bus.log().tail().refills();
    let refused = shared.app.limits.refused().fold(String::new(), |lines, (limit, count)| {
        format!("{lines}orion_rate_limited_total{{limit=\"{limit}\"}} {count}\n")
    });
    let body = format!(
        "# HELP orion_log_position The newest position of the log that this server has seen.\n\
         # TYPE orion_log_position gauge\n\
         orion_log_position {head}\n\
         # HELP orion_projection_position The position that a projection has reached.\n\
         # TYPE orion_projection_position gauge\n\
         orion_projection_position{{projection=\"{READ_MODEL}\"}} {position}\n\
         # HELP orion_projection_lag_events How many events a projection is behind the log.\n\
         # TYPE orion_projection_lag_events gauge\n\
         orion_projection_lag_events{{projection=\"{READ_MODEL}\"}} {lag}\n\
         # HELP orion_projection_stopped 1 when a projection waits before an event that it cannot apply.\n\
         # TYPE orion_projection_stopped gauge\n\
         orion_projection_stopped{{projection=\"{READ_MODEL}\"}} {stopped}\n\
         # HELP orion_database_connections The connections of the main pool.\n\
         # TYPE orion_database_connections gauge\n\
         orion_database_connections{{state=\"open\"}} {connections}\n\
         orion_database_connections{{state=\"idle\"}} {idle}\n\
         # HELP orion_sockets The WebSockets that are open.\n\
         # TYPE orion_sockets gauge\n\
         orion_sockets {sockets}\n\
         # HELP orion_socket_operations The operations that go on over them.\n\
         # TYPE orion_socket_operations gauge\n\
         orion_socket_operations {streams}\n\
         # HELP orion_refills_total How often a follower of the log was too far behind for the memory.\n\
         # TYPE orion_refills_total counter\n\
         orion_refills_total {refills}\n\
         # HELP orion_rate_limited_total The requests that were refused because a budget was used up.\n\
         # TYPE orion_rate_limited_total counter\n\
         {refused}"
    );
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], body)
}
