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
    let ping = shared.app.bus.log().claims_key_holds();
    let (is_reachable, keys) = match tokio::time::timeout(PING_WITHIN, ping).await {
        Ok(Ok(true)) => (true, "current"),
        // Nobody would be found by e-mail.
        Ok(Ok(false)) => (true, "rotated: restart this server"),
        Ok(Err(_)) | Err(_) => (false, "unknown"),
    };
    let is_ready = is_reachable && keys == "current";
    let checkpoint = shared.app.progress.now();
    let projection = match &checkpoint.status {
        Status::Running => "running",
        Status::Stopped { .. } => "stopped",
    };
    let is_outdated = shared.app.bus.log().outdated().is_outdated();
    let program = if is_outdated { "older than the log: upgrade this server" } else { "current" };
    let is_full = shared.app.bus.log().is_disk_full();
    let writes = if is_full { "refused: the database's disk is full" } else { "accepted" };
    let relay = shared.relay.as_ref().map_or("off", |relay| relay.now().state.name());
    let replica = shared.app.reads.replica();
    let replica = replica.map_or("off", |replica| replica.standing().name());
    // A stopped projection still answers queries, and so does a full disk; taking every server away would help nobody. Nor
    // does who asks this server miss the relay, or the replica: the primary is read instead.
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "status": if is_ready { "ready" } else { "unavailable" },
        "database": if is_reachable { "reachable" } else { "unreachable" },
        "keys": keys,
        "program": program,
        "projection": projection,
        "relay": relay,
        "replica": replica,
        "position": checkpoint.position.to_string(),
        "writes": writes,
    });
    (status, Json(body))
}
