//! The queue of what is to be sent: a table, so that nothing is forgotten.

use std::time::Duration;

use orion_store::Position;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// The way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Channel {
    Mail,
    Webhook,
}

impl Channel {
    const ALL: [Self; 2] = [Self::Mail, Self::Webhook];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Webhook => "webhook",
        }
    }
}

/// What is to be sent to one user because of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub user_id: Uuid,
    pub channel: Channel,
    pub position: Position,
    /// How often it has failed.
    pub attempts: u32,
    /// True when it has waited for too long.
    pub is_stale: bool,
}

/// Deliveries of one user by one channel go one after the other.
pub(super) type Lane = (Uuid, Channel);

/// Puts deliveries of one event into the queue; those that are there stay.
pub(super) async fn put(
    pool: &PgPool,
    position: Position,
    lanes: &[Lane],
) -> Result<(), sqlx::Error> {
    let users: Vec<Uuid> = lanes.iter().map(|(user, _)| *user).collect();
    let channels: Vec<&str> = lanes.iter().map(|(_, channel)| channel.as_str()).collect();
    sqlx::query(
        "INSERT INTO deliveries (user_id, channel, position)
         SELECT user_id, channel, $3 FROM unnest($1::uuid[], $2::text[]) AS lane (user_id, channel)
         ON CONFLICT DO NOTHING",
    )
    .bind(users)
    .bind(channels)
    .bind(position.0)
    .execute(pool)
    .await
    .map(drop)
}

/// The first delivery that is due of each lane that is not busy, those first that wait the longest.
pub(super) async fn due(
    connection: &mut PgConnection,
    busy: impl Iterator<Item = &Lane>,
    stale_after: Duration,
    limit: usize,
) -> Result<Vec<Delivery>, sqlx::Error> {
    let busy: Vec<String> =
        busy.map(|(user, channel)| format!("{user} {}", channel.as_str())).collect();
    let rows: Vec<(Uuid, String, i64, i32, bool)> = sqlx::query_as(
        "SELECT user_id, channel, position, attempts,
                created_at < now() - make_interval(secs => $2)
         FROM (SELECT DISTINCT ON (user_id, channel) * FROM deliveries
               WHERE next_at <= now() AND user_id || ' ' || channel <> ALL ($1)
               ORDER BY user_id, channel, position) first
         ORDER BY next_at LIMIT $3",
    )
    .bind(busy)
    .bind(stale_after.as_secs_f64())
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    let delivery = |(user_id, channel, position, attempts, is_stale): (_, String, _, i32, _)| {
        let channel = Channel::ALL.into_iter().find(|known| known.as_str() == channel)?;
        let attempts = attempts.unsigned_abs();
        Some(Delivery { user_id, channel, position: Position(position), attempts, is_stale })
    };
    Ok(rows.into_iter().filter_map(delivery).collect())
}

/// Since when the longest due delivery is due, if one is, in microseconds of PostgreSQL's clock.
pub(super) async fn longest_due(connection: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT (extract(epoch FROM min(next_at)) * 1e6)::bigint FROM deliveries WHERE next_at <= now()",
    )
    .fetch_one(connection)
    .await
}

/// It is sent, or given up.
pub(super) async fn remove(pool: &PgPool, delivery: &Delivery) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM deliveries WHERE user_id = $1 AND channel = $2 AND position = $3")
        .bind(delivery.user_id)
        .bind(delivery.channel.as_str())
        .bind(delivery.position.0)
        .execute(pool)
        .await
        .map(drop)
}

/// It is tried again after a while.
pub(super) async fn postpone(
    pool: &PgPool,
    delivery: &Delivery,
    attempts: u32,
    wait: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE deliveries SET attempts = $4, next_at = now() + make_interval(secs => $5)
         WHERE user_id = $1 AND channel = $2 AND position = $3",
    )
    .bind(delivery.user_id)
    .bind(delivery.channel.as_str())
    .bind(delivery.position.0)
    .bind(i32::try_from(attempts).unwrap_or(i32::MAX))
    .bind(wait.as_secs_f64())
    .execute(pool)
    .await
    .map(drop)
}
