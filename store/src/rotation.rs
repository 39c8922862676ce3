//! Changing keys without touching an event.

use sqlx::PgPool;
use uuid::Uuid;

use crate::claims::write_claims;
use crate::error::StoreError;
use crate::keys::{Keys, MasterKeys, fingerprint, fresh_secret, server_key_place};
use crate::locks;
use crate::vault::{Vault, data_key_place};

/// How many keys are read at a time.
const BATCH_MAX: i64 = 1_000;

/// Wraps every key of the database by the present master key, until it finds none that another has
/// wrapped. Says how many it had to.
///
/// Servers may run meanwhile, as long as each of them opens both master keys.
pub async fn rewrap_keys(pool: &PgPool, masters: &MasterKeys) -> Result<usize, StoreError> {
    let mut rewrapped = 0;
    loop {
        // A server may still have wrapped one by the old key behind this one's back.
        match rewrap_once(pool, masters).await? {
            0 => return Ok(rewrapped),
            more => rewrapped += more,
        }
    }
}

async fn rewrap_once(pool: &PgPool, masters: &MasterKeys) -> Result<usize, StoreError> {
    let database = || StoreError::database("wrapping keys again");
    let server_keys: Vec<(String, String)> =
        sqlx::query_as("SELECT name, wrapped FROM server_keys")
            .fetch_all(pool)
            .await
            .map_err(database())?;
    let mut rewrapped = 0;
    for (name, wrapped) in server_keys.iter().filter(|(_, key)| !masters.is_current(key)) {
        let place = server_key_place(name);
        let again = masters.wrap(&place, &masters.unwrap(&place, wrapped)?);
        sqlx::query("UPDATE server_keys SET wrapped = $3 WHERE name = $1 AND wrapped = $2")
            .bind(name)
            .bind(wrapped)
            .bind(again)
            .execute(pool)
            .await
            .map_err(database())?;
        rewrapped += 1;
    }
    let mut after = Uuid::nil();
    loop {
        let data_keys: Vec<(Uuid, String)> = sqlx::query_as(
            "SELECT subject, wrapped FROM data_keys
             WHERE subject > $1 AND wrapped IS NOT NULL ORDER BY subject LIMIT $2",
        )
        .bind(after)
        .bind(BATCH_MAX)
        .fetch_all(pool)
        .await
        .map_err(database())?;
        let Some((last, _)) = data_keys.last() else { return Ok(rewrapped) };
        after = *last;
        let (mut subjects, mut before, mut again) = (Vec::new(), Vec::new(), Vec::new());
        for (subject, wrapped) in data_keys {
            if !masters.is_current(&wrapped) {
                let place = data_key_place(subject);
                again.push(masters.wrap(&place, &masters.unwrap(&place, &wrapped)?));
                before.push(wrapped);
                subjects.push(subject);
            }
        }
        rewrapped += subjects.len();
        // Only as they were found: a key that was destroyed meanwhile stays so.
        sqlx::query(
            "UPDATE data_keys k SET wrapped = n.again
             FROM unnest($1::uuid[], $2::text[], $3::text[]) AS n (subject, before, again)
             WHERE k.subject = n.subject AND k.wrapped = n.before",
        )
        .bind(subjects)
        .bind(before)
        .bind(again)
        .execute(pool)
        .await
        .map_err(database())?;
    }
}

/// Replaces the key that personal claims are hashed with, and computes the claims again from the
/// log. Says how many there are.
///
/// Nothing is appended meanwhile. Servers that run must be started anew: they hash with the old key,
/// and their claims are refused.
pub async fn rotate_claims_key(pool: &PgPool, keys: &Keys) -> Result<usize, StoreError> {
    let database = || StoreError::database("computing the claims again");
    let vault = Vault::new(pool.clone(), keys);
    let fresh = fresh_secret();
    let mut transaction = pool.begin().await.map_err(database())?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(locks::APPEND)
        .execute(&mut *transaction)
        .await
        .map_err(database())?;
    sqlx::query(
        "DELETE FROM claims USING (SELECT DISTINCT aggregate_id FROM events WHERE aggregate_type = 'user') u
         WHERE claims.aggregate_id = u.aggregate_id",
    )
    .execute(&mut *transaction)
    .await
    .map_err(database())?;
    let written = write_claims(&mut transaction, &vault, &["user"], &fresh).await?;
    sqlx::query("UPDATE server_keys SET wrapped = $1, fingerprint = $2 WHERE name = 'claims'")
        .bind(keys.masters().wrap(&server_key_place("claims"), &fresh))
        .bind(fingerprint(&fresh))
        .execute(&mut *transaction)
        .await
        .map_err(database())?;
    transaction.commit().await.map_err(database())?;
    Ok(written)
}
