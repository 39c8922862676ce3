//! Time travel: a row as it was, folded from its stream.

use async_graphql::{Context, OneofObject, Result};
use chrono::{DateTime, Utc};
use orion_store::Position as LogPosition;
use uuid::Uuid;

use super::context::ContextExt as _;
use super::error::{coded, internal};
use super::reader::{Entity, Found};
use super::scalars::Position;

/// A moment of the log: exactly one of the two.
#[derive(OneofObject)]
pub enum AsOf {
    /// Right after this event.
    Position(Position),
    /// At this time: after all events that were recorded by then.
    At(DateTime<Utc>),
}

/// An aggregate's row as it was at a moment; `None` before its first event. Who may not see it now
/// may not see it then.
pub async fn row_as_of<T: Entity>(
    ctx: &Context<'_>,
    aggregate_type: &str,
    id: Uuid,
    as_of: AsOf,
) -> Result<Option<Found<T>>> {
    if ctx.load::<T>(id).await?.is_none() {
        return Ok(None);
    }
    let until = moment(ctx, as_of).await?;
    let events = ctx.app().bus.log().stream(aggregate_type, id, until).await.map_err(internal)?;
    let (mut row, mut version) = (None, None);
    for fact in ctx.app().bus.log().read_facts(&events).await.map_err(internal)? {
        version = Some(fact.sequence);
        if T::keys(&fact).contains(&id) {
            row = T::fold(row, id, &fact);
        }
    }
    Ok(row.map(|row| Found::alone(row, version)))
}

async fn moment(ctx: &Context<'_>, as_of: AsOf) -> Result<LogPosition> {
    let log = ctx.app().bus.log();
    match as_of {
        AsOf::At(time) => log.position_at(time).await.map_err(internal),
        AsOf::Position(Position(position)) if position > log.head().await.map_err(internal)? => {
            Err(coded("the position is beyond the end of the log", "POSITION_AHEAD"))
        }
        AsOf::Position(Position(position)) => Ok(position),
    }
}
