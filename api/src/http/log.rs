//! What auditors need of the log to verify it: the public key, and the newest checkpoint. Neither is secret.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use orion_store::seal::newest_seal_by;
use tracing::warn;

use super::Shared;
use crate::graphql::context::App;

/// Both are signed notes, or parts of one: text.
const TEXT: &str = "text/plain; charset=utf-8";

/// The public key that checkpoints are signed with, and those before it, one on each line.
pub async fn key(State(shared): State<Shared>) -> impl IntoResponse {
    let keys = shared.app.log_keys.iter().map(|key| key.text() + "\n");
    ([(CONTENT_TYPE, TEXT)], keys.collect::<String>())
}

/// The newest checkpoint that this server vouches for; 404 before the first one.
pub async fn checkpoint(State(shared): State<Shared>) -> Response {
    let App { bus, log_keys, .. } = &shared.app;
    let (status, text) = match newest_seal_by(bus.log().kept(), log_keys).await {
        Ok(Some(seal)) => (StatusCode::OK, seal.checkpoint),
        Ok(None) => {
            (StatusCode::NOT_FOUND, "nothing is sealed with a key of this server\n".to_owned())
        }
        Err(error) => {
            warn!(error = &error as &dyn std::error::Error, "cannot read the newest checkpoint");
            let text = "the newest checkpoint cannot be read now\n".to_owned();
            (StatusCode::SERVICE_UNAVAILABLE, text)
        }
    };
    (status, [(CONTENT_TYPE, TEXT)], text).into_response()
}
