//! Notifications as they come.

use async_graphql::futures_util::Stream;
use async_graphql::{Context, Result};
use async_stream::try_stream;
use orion_commands::Action;
use orion_domain::notification::EVENT_TYPES;
use orion_domain::values::UserId;
use orion_projections::{NOTIFICATIONS, READ_MODEL};
use orion_store::{Kept, Position as LogPosition};
use sqlx::postgres::PgRow;
use sqlx::{FromRow as _, Row as _};
use tokio::time::sleep;

use super::{COLUMNS, Notification, NotificationRow};
use crate::graphql::context::{BEHIND_EVERY, ContextExt as _};
use crate::graphql::error::internal;
use crate::graphql::scalars::Position;
use crate::graphql::subscription::Follower;

/// What the caller is told from a position on, of the kinds that the caller wants to be pushed. Each
/// event tells a user once, so that a position is enough to resume.
pub async fn received<'a>(
    ctx: &Context<'a>,
    after: Option<Position>,
) -> Result<impl Stream<Item = Result<Notification>> + 'a> {
    let actor = ctx.allow(Action::Read)?;
    let reads = ctx.app().reads.patient();
    let mut follower = Follower::start(ctx, after).await?;
    Ok(try_stream! {
        loop {
            let events = follower.next().await?;
            if events.is_empty() {
                break;
            }
            // Most events tell nobody anything: for those the database is not asked.
            let telling = |event_type: &str| EVENT_TYPES.contains(&event_type);
            let positions: Vec<i64> = events
                .iter()
                .filter(|event| telling(&event.event_type))
                .map(|event| event.position.0)
                .collect();
            let (Some(user_id), Some(last)) = (actor.user_id(), positions.last()) else { continue };
            follower.notified(LogPosition(*last)).await?;
            // What it is about can be read as well.
            follower.projected(LogPosition(*last)).await?;
            let rows = loop {
                match pushed(reads.primary(), user_id, &positions).await.map_err(internal)? {
                    Some(rows) => break rows,
                    // A crash of PostgreSQL has taken back what had been reached.
                    None => sleep(BEHIND_EVERY).await,
                }
            };
            for row in rows {
                let position = LogPosition(row.position);
                if let Some(notification) = Notification::of(row) {
                    follower.show(position);
                    yield notification;
                }
            }
        }
    })
}

/// What a user is told at these positions, in order; `None` while the tables are not as far as the last of them.
async fn pushed(
    kept: &Kept,
    user_id: UserId,
    positions: &[i64],
) -> Result<Option<Vec<NotificationRow>>, sqlx::Error> {
    let sql = format!(
        "SELECT reached, told.* FROM (SELECT CASE count(*) WHEN 2 THEN min(position) END AS reached
                                     FROM projection.checkpoints WHERE name IN ($3, $4)) c
         LEFT JOIN (SELECT {COLUMNS} FROM projection.notifications
                    WHERE user_id = $1 AND position = ANY ($2) AND real_time) told ON true
         ORDER BY told.position"
    );
    let mut connection = kept.take().await?;
    let rows = sqlx::query(&sql)
        .bind(user_id.0)
        .bind(positions)
        .bind(NOTIFICATIONS)
        // What it is about is read as well.
        .bind(READ_MODEL)
        .fetch_all(&mut *connection)
        .await?;
    kept.give_back(connection);
    let reached: Option<i64> = rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get("reached")?;
    if reached < positions.last().copied() {
        return Ok(None);
    }
    let is_told = |row: &&PgRow| row.try_get::<Option<i64>, _>("position").ok().flatten().is_some();
    rows.iter().filter(is_told).map(NotificationRow::from_row).collect::<Result<_, _>>().map(Some)
}
