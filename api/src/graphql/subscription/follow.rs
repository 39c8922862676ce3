//! Follows the log for one subscription: from a position on, at its own pace, while its rights last.

use std::sync::Arc;

use async_graphql::{Context, Error, Result};
use orion_store::{Position as LogPosition, RecordedEvent};

use crate::auth::AuthError;
use crate::auth::rights::Standing;
use crate::graphql::context::{App, Caller, ContextExt as _};
use crate::graphql::error::{coded, internal};
use crate::graphql::scalars::Position;

/// The most events that one look at the log brings.
const BATCH_MAX: usize = 100;

/// One subscription's way along the log.
pub struct Follower {
    app: App,
    caller: Caller,
    standing: Standing,
    after: LogPosition,
}

impl Follower {
    /// Starts after the position that was asked for, or now.
    pub async fn start(ctx: &Context<'_>, after: Option<Position>) -> Result<Self> {
        let (app, caller) = (ctx.app().clone(), ctx.caller().clone());
        let log = app.bus.log();
        let after = match after {
            None => log.tail().head(),
            Some(Position(after)) => {
                if after > log.tail().head() && after > log.head().await.map_err(internal)? {
                    let message = "the position is beyond the end of the log";
                    return Err(coded(message, "POSITION_AHEAD"));
                }
                after
            }
        };
        // A socket has them, for they are the socket's own.
        let standing = match ctx.data_opt::<Standing>() {
            Some(standing) => standing.clone(),
            None => app.rights.admit(&app, caller.actor).await.map_err(unknown)?,
        };
        Ok(Self { app, caller, standing, after })
    }

    /// The next events, in order; none when the server stops.
    pub async fn next(&mut self) -> Result<Vec<Arc<RecordedEvent>>> {
        let events = tokio::select! {
            biased;
            () = self.standing.ended() => return Err(rights_have_ended()),
            events = self.app.bus.log().tail().next(self.after, BATCH_MAX) => events.map_err(internal)?,
        };
        if let Some(newest) = events.last() {
            self.after = newest.position;
        }
        Ok(events)
    }

    /// Who follows, if nothing up to this event has ended the rights to see it.
    pub async fn may_see(&self, event: &RecordedEvent) -> Result<&Caller> {
        if self.standing.holds_at(event.position).await {
            Ok(&self.caller)
        } else {
            Err(rights_have_ended())
        }
    }

    /// Waits until the read model has reached an event. A stopped one is waited for as long as it takes.
    pub async fn projected(&self, event: &RecordedEvent) -> Result<&App> {
        let mut progress = self.app.progress.clone();
        while progress.now().position < event.position {
            if !progress.changed().await {
                return Err(coded("the server is stopping", "UNAVAILABLE"));
            }
        }
        Ok(&self.app)
    }
}

fn rights_have_ended() -> Error {
    coded("the rights to see more have ended", "FORBIDDEN")
}

fn unknown(error: AuthError) -> Error {
    match error {
        AuthError::Invalid => rights_have_ended(),
        AuthError::Database(_) | AuthError::Store(_) => internal(error),
    }
}
