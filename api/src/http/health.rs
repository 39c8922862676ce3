//! Whether the server lives, and whether it can work.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use orion_projections::Status;
use serde_json::{Value, json};

use super::Shared;

/// How long the database may take to answer.
const PING_WITHIN: Duration = Duration::from_secs(2);

/// The process runs.
pub async fn live() -> Json<Value> {
    Json(json!({ "status": "live" }))
}

/// The database answers and the read model follows the log.
pub async fn ready(State(shared): State<Shared>) -> (StatusCode, Json<Value>) {
    let ping = sqlx::query("SELECT 1").execute(shared.app.bus.log().pool());
    let is_reachable = matches!(tokio::time::timeout(PING_WITHIN, ping).await, Ok(Ok(_)));
    let checkpoint = shared.app.progress.now();
    let projection = match &checkpoint.status {
        Status::Running => "running",
        Status::Stopped { .. } => "stopped",
    };
    // A stopped projection still answers queries; taking every server away would help nobody.
    let status = if is_reachable { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "status": if is_reachable { "ready" } else { "unavailable" },
        "database": if is_reachable { "reachable" } else { "unreachable" },
        "projection": projection,
        "position": checkpoint.position.to_string(),
    });
    (status, Json(body))
}
