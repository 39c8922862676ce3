//! Who a service token stands for.

use orion_commands::{Actor, ServiceSecret};
use orion_domain::ServiceToken;
use orion_domain::service_token::Credential;
use orion_domain::values::Scopes;
use orion_projections::tables::ServiceTokenRow;
use orion_projections::{READ_MODEL, Table as _};
use orion_store::Position;
use sqlx::types::Json;
use uuid::Uuid;

use super::{AuthError, Known, tables_with_rights};
use crate::graphql::context::App;

/// The machine that shows this token, with the scopes of this moment.
pub(super) async fn machine(app: &App, presented: &ServiceSecret) -> Result<Known, AuthError> {
    let id = presented.id();
    let known = match tables_with_rights(app, &[id.0]) {
        Some(position) => in_tables(app, id.0, position).await?,
        None => None,
    };
    let credential = match known {
        Some(credential) => Some(credential),
        // The tables may be behind a token that was just issued, or stand: the log is not, and does not.
        None => in_log(app, id.0).await?,
    };
    let credential = credential.ok_or(AuthError::Invalid)?;
    let scopes =
        credential.admits(&presented.hash(), orion_store::now()).ok_or(AuthError::Invalid)?;
    Ok(Known { actor: Actor::Service { id, scopes }, expires_at: credential.expires_at })
}

/// What a token that was shown before may do now; `None` when it was revoked.
pub(super) async fn scopes_in_log(app: &App, id: Uuid) -> Result<Option<Scopes>, AuthError> {
    let credential = in_log(app, id).await?.filter(|credential| !credential.revoked);
    Ok(credential.map(|credential| credential.scopes))
}

/// What the tables say of it, if they are at this position or later.
async fn in_tables(
    app: &App,
    id: Uuid,
    position: Position,
) -> Result<Option<Credential>, AuthError> {
    let statement = format!(
        "SELECT to_json(t) FROM {} t WHERE t.id = $1
           AND (SELECT position FROM projection.checkpoints WHERE name = $2) >= $3",
        ServiceTokenRow::NAME
    );
    let kept = app.reads.primary();
    let mut connection = kept.take().await?;
    let found: Option<Json<ServiceTokenRow>> = sqlx::query_scalar(&statement)
        .bind(id)
        .bind(READ_MODEL)
        .bind(position.0)
        .fetch_optional(&mut *connection)
        .await?;
    kept.give_back(connection);
    Ok(found.map(|Json(row)| Credential {
        token_hash: row.token_hash,
        scopes: row.scopes,
        expires_at: row.expires_at,
        revoked: row.revoked_at.is_some(),
    }))
}

async fn in_log(app: &App, id: Uuid) -> Result<Option<Credential>, AuthError> {
    let token = app.bus.store().load::<ServiceToken>(id).await?;
    Ok(token.aggregate.credential().cloned())
}
