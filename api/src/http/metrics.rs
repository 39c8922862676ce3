//! Figures for Prometheus.

use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use metrics::{counter, gauge};
use orion_projections::{Checkpoint, NOTIFICATIONS, READ_MODEL, Status};
use sqlx::PgPool;

use super::Shared;
use crate::relay::{RelayState, RelayStatus};

/// How long the database may take for its part.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// The figures of this moment.
pub async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    let app = &shared.app;
    let head = app.bus.log().tail().head().0;
    gauge!("orion_log_position").set(figure(head));
    for (projection, progress) in [(READ_MODEL, &app.progress), (NOTIFICATIONS, &app.notified)] {
        let Checkpoint { position, status } = progress.now();
        gauge!("orion_projection_stopped", "projection" => projection)
            .set(u32::from(status != Status::Running));
        gauge!("orion_projection_position", "projection" => projection).set(figure(position.0));
        gauge!("orion_projection_lag_events", "projection" => projection)
            .set(lag(position.0, head));
    }
    if let Some(relay) = &shared.relay {
        let RelayStatus { state, position } = relay.now();
        gauge!("orion_relay_stopped").set(u32::from(state == RelayState::Stopped));
        gauge!("orion_relay_position").set(figure(position.0));
        gauge!("orion_relay_lag_events").set(lag(position.0, head));
    }
    if let Some(replica) = app.reads.replica() {
        let position = replica.extent().tables.0;
        gauge!("orion_replica_in_use").set(u32::from(replica.standing().is_read()));
        gauge!("orion_replica_position").set(figure(position));
        gauge!("orion_replica_lag_events").set(lag(position, app.progress.now().position.0));
    }
    gauge!("orion_disk_full").set(u32::from(app.bus.log().is_disk_full()));
    let pool = app.bus.log().pool();
    let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
    for (state, count) in [("open", pool.size()), ("idle", idle)] {
        gauge!("orion_database_connections", "state" => state).set(count);
    }
    gauge!("orion_database_connections_max").set(pool.options().get_max_connections());
    for (limit, count) in app.limits.refused() {
        counter!("orion_rate_limited_total", "limit" => limit).absolute(count);
    }
    let looked = tokio::time::timeout(LOOK_WITHIN, look(pool)).await;
    let looked = looked.ok().and_then(Result::ok);
    gauge!("orion_database_up").set(u32::from(looked.is_some()));
    let (reactors, sealed) =
        looked.map_or((Vec::new(), None), |(reactors, sealed)| (reactors, Some(sealed)));
    if let Some(sealed) = sealed {
        gauge!("orion_sealed_position").set(figure(sealed));
        gauge!("orion_seal_lag_events").set(lag(sealed, head));
    }
    for (name, position) in reactors {
        gauge!("orion_reactor_position", "reactor" => name.clone()).set(figure(position));
        gauge!("orion_reactor_lag_events", "reactor" => name).set(lag(position, head));
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.figures.render())
}

/// Where every reactor is, and how far the log is sealed, whichever server does it, and also if none does.
async fn look(pool: &PgPool) -> Result<(Vec<(String, i64)>, i64), sqlx::Error> {
    let reactors =
        sqlx::query_as("SELECT name, position FROM reactor_checkpoints").fetch_all(pool).await?;
    let sealed =
        sqlx::query_scalar("SELECT coalesce(max(size), 0) FROM seals").fetch_one(pool).await?;
    Ok((reactors, sealed))
}

/// A position as Prometheus has it.
#[expect(clippy::cast_precision_loss, reason = "a log has fewer than 2^53 events")]
fn figure(count: i64) -> f64 {
    count as f64
}

/// How far behind the head; another server may be ahead of what this one has seen.
fn lag(position: i64, head: i64) -> f64 {
    figure((head - position).max(0))
}
