//! What auditors need of the log to verify it: the public key, and the newest checkpoint. Neither is secret.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use orion_store::seal::newest_seal;
use tracing::warn;

use super::Shared;

/// Both are signed notes, or parts of one: text.
const TEXT: &str = "text/plain; charset=utf-8";

/// The public key that checkpoints are signed with, and those before it, one on each line.
pub async fn key(State(shared): State<Shared>) -> impl IntoResponse {
    ([(CONTENT_TYPE, TEXT)], shared.log_keys.to_string())
}

/// The newest checkpoint; 404 before the first one.
pub async fn checkpoint(State(shared): State<Shared>) -> Response {
    let (status, text) = match newest_seal(shared.app.bus.log().pool()).await {
        Ok(Some(seal)) => (StatusCode::OK, seal.checkpoint),
        Ok(None) => (StatusCode::NOT_FOUND, "nothing is sealed yet\n".to_owned()),
        Err(error) => {
            warn!(error = &error as &dyn std::error::Error, "cannot read the newest checkpoint");
            let text = "the newest checkpoint cannot be read now\n".to_owned();
            (StatusCode::SERVICE_UNAVAILABLE, text)
        }
    };
    (status, [(CONTENT_TYPE, TEXT)], text).into_response()
}
