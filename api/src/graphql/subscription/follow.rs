//! Follows the log for one execution of a subscription, from a position on and as far as it should go.
//!
//! Whose rights it may be shown with is not asked here: who passes the answers on does (`http/watch`).

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use async_graphql::{Context, Result};
use orion_projections::Progress;
use orion_store::{Position as LogPosition, RecordedEvent, Tail};

use crate::graphql::context::{App, ContextExt as _};
use crate::graphql::error::{bad_input, coded, internal};
use crate::graphql::scalars::Position;

/// The most events that one look at the log brings.
const BATCH_MAX: usize = 100;

/// Who follows, in the figures.
const READER: &str = "subscription";

/// One execution of a subscription: where it begins and ends, and how far it is. It is part of the
/// request's data; all clones are the same.
#[derive(Clone, Debug)]
pub struct Run(Arc<Course>);

#[derive(Debug)]
struct Course {
    /// Where it begins; `None` is where the client says.
    after: Option<LogPosition>,
    end: End,
    /// Where it has begun.
    begun: OnceLock<LogPosition>,
    /// The newest event that was shown.
    shown: AtomicI64,
    /// Everything up to here was shown.
    done: OnceLock<LogPosition>,
}

/// How far an execution goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// To the head of the moment in which it begins.
    Head,
    /// To this position.
    At(LogPosition),
    /// As far as the log grows.
    Never,
}

impl Run {
    /// As the client asks, up to the head of that moment.
    pub fn first() -> Self {
        Self::new(None, End::Head)
    }

    /// As the client asks, without an end.
    pub fn alone() -> Self {
        Self::new(None, End::Never)
    }

    /// What lies between two positions, the later one included.
    pub fn between(after: LogPosition, until: LogPosition) -> Self {
        Self::new(Some(after), End::At(until))
    }

    /// What comes after a position, without an end.
    pub fn onward(after: LogPosition) -> Self {
        Self::new(Some(after), End::Never)
    }

    fn new(after: Option<LogPosition>, end: End) -> Self {
        let (begun, done) = (OnceLock::new(), OnceLock::new());
        Self(Arc::new(Course { after, end, begun, shown: AtomicI64::new(0), done }))
    }

    /// False when it goes on with what a client has asked for and paid for before.
    pub fn is_first(&self) -> bool {
        self.0.after.is_none()
    }

    /// True when its answers are for a group of clients.
    pub fn is_shared(&self) -> bool {
        !self.is_first() && self.0.end == End::Never
    }

    /// The newest event that was shown; the one that an answer is about, when it has just come.
    pub fn shown(&self) -> LogPosition {
        LogPosition(self.0.shown.load(Ordering::Relaxed))
    }

    /// The end, once everything up to it was shown.
    pub fn done(&self) -> Option<LogPosition> {
        self.0.done.get().copied()
    }

    /// Where it has begun, if it was accepted.
    pub fn begun(&self) -> Option<LogPosition> {
        self.0.begun.get().copied()
    }
}

/// A run's way along the log.
pub struct Follower {
    app: App,
    tail: Tail,
    run: Run,
    after: LogPosition,
    until: Option<LogPosition>,
}

impl Follower {
    /// Starts where the run says, else after the position that was asked for, else now.
    pub async fn start(ctx: &Context<'_>, after: Option<Position>) -> Result<Self> {
        let run = ctx.data::<Run>().map_err(|error| internal(NoRun(error.message)))?.clone();
        let app = ctx.app().clone();
        let log = app.bus.log();
        let tail = log.tail().read_by(READER);
        let after = match (run.0.after, after) {
            (Some(after), _) => after,
            (None, None) => tail.head(),
            (None, Some(Position(after))) => {
                if after > tail.head() && after > log.head().await.map_err(internal)? {
                    let message = "the position is beyond the end of the log";
                    return Err(coded(message, "POSITION_AHEAD"));
                }
                after
            }
        };
        if run.0.begun.set(after).is_err() {
            return Err(bad_input("a subscription watches one field"));
        }
        run.0.shown.store(after.0, Ordering::Relaxed);
        let until = match run.0.end {
            End::Head => Some(tail.head().max(after)),
            End::At(until) => Some(until),
            End::Never => None,
        };
        Ok(Self { app, tail, run, after, until })
    }

    /// The next events, in order; none at the run's end, or when the server stops.
    pub async fn next(&mut self) -> Result<Vec<Arc<RecordedEvent>>> {
        if let Some(until) = self.until
            && self.after >= until
        {
            let _ = self.run.0.done.set(until);
            return Ok(Vec::new());
        }
        let mut events = self.tail.next(self.after, BATCH_MAX).await.map_err(internal)?;
        if let Some(until) = self.until {
            events.retain(|event| event.position <= until);
        }
        if let Some(newest) = events.last() {
            self.after = newest.position;
        }
        Ok(events)
    }

    /// What follows is the answer about this event.
    pub fn show(&self, position: LogPosition) {
        self.run.0.shown.store(position.0, Ordering::Relaxed);
    }

    /// Waits until the read model has reached an event.
    pub async fn projected(&self, position: LogPosition) -> Result<&App> {
        reach(&self.app.progress, position).await?;
        Ok(&self.app)
    }

    /// Waits until users were told of an event.
    pub async fn notified(&self, position: LogPosition) -> Result<()> {
        reach(&self.app.notified, position).await
    }
}

/// Waits until a projection has reached an event. A stopped one is waited for as long as it takes.
async fn reach(progress: &Progress, position: LogPosition) -> Result<()> {
    let reached = progress.until(|checkpoint| checkpoint.position >= position).await;
    reached.map(drop).ok_or_else(|| coded("the server is stopping", "UNAVAILABLE"))
}

/// A subscription that nobody looks after the rights of.
#[derive(Debug, thiserror::Error)]
#[error("a subscription outside of a run: {0}")]
struct NoRun(String);
