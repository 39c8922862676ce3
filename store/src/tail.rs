//! The tail: one reader per process that follows the log and feeds everyone who waits for events.
//!
//! What this process appends it is handed at once, a NOTIFY from another process wakes it soon, and a slow poll
//! always: the wake-ups may get lost, the positions may not. The newest events stay in memory, so that
//! many followers cost one read.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use metrics::counter;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{PgConnection, Postgres};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::clock;
use crate::connect::ACQUIRE_FOR;
use crate::error::StoreError;
use crate::kept::Kept;
use crate::log::{head, read};
use crate::outdated::Outdated;
use crate::record::{Position, RecordedEvent};
use crate::within::within;

/// The channel that `append_events` notifies.
const CHANNEL: &str = "orion_log";

/// How often the log is looked at when nobody says that it has grown.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// How long a NOTIFY waits for the answer to the append that it tells of, when that was this process's own.
const ECHO_WAITS: Duration = Duration::from_millis(2);

/// How often the clocks are compared.
const COMPARE_CLOCKS_EVERY: Duration = Duration::from_secs(30);

/// How long one read may take.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// How many of the newest events stay in memory.
const RECENT_MAX: usize = 8_192;

/// How many bytes of payloads stay in memory.
const RECENT_BYTES_MAX: usize = 64 << 20;

/// How many events one read brings.
const READ_MAX: i64 = 250;

/// Follows the log. Cheap to clone; all clones share one reader.
#[derive(Clone, Debug)]
pub struct Tail {
    /// Those who are further behind than what is in memory may be many.
    kept: Kept,
    head: watch::Receiver<Position>,
    recent: Arc<RwLock<Recent>>,
    /// Without the reader that owns it there is no tail any more.
    growing: Weak<Growing>,
    wake: Arc<Notify>,
    /// The reader's connection was lost, and with it maybe the listener's.
    lost: Arc<Notify>,
    outdated: Outdated,
    /// Who reads by this clone, in the figures.
    reader: &'static str,
}

/// The newest events of the log, without a gap.
#[derive(Debug, Default)]
struct Recent {
    events: VecDeque<Arc<RecordedEvent>>,
    bytes: usize,
}

impl Recent {
    fn push(&mut self, event: RecordedEvent) {
        self.bytes += event.payload.len();
        self.events.push_back(Arc::new(event));
        while self.events.len() > RECENT_MAX || self.bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.payload.len();
        }
    }
}

/// The end at which the tail grows, which its reader owns.
#[derive(Debug)]
struct Growing {
    head: watch::Sender<Position>,
    recent: Arc<RwLock<Recent>>,
    /// When the newest answer of the database was asked for that had all of the log.
    as_of: RwLock<Instant>,
}

impl Growing {
    /// Takes events that follow a position; those that are all, as the log was at a time. False when others are missing
    /// before them.
    fn extend(
        &self,
        after: Position,
        events: Vec<RecordedEvent>,
        all_as_of: Option<Instant>,
    ) -> bool {
        let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
        let before = *self.head.borrow();
        if before < after {
            return false;
        }
        let mut head = before;
        for event in events {
            // Both the writer and the reader may bring one.
            if event.position > head {
                head = event.position;
                recent.push(event);
            }
        }
        if let Some(as_of) = all_as_of {
            *self.as_of.write().unwrap_or_else(PoisonError::into_inner) = as_of;
        }
        if head > before {
            self.head.send_replace(head);
        }
        true
    }
}

impl Tail {
    /// Starts to follow the log from its present head until `stop`.
    pub async fn start(kept: Kept, stop: CancellationToken) -> Result<Self, StoreError> {
        let start = head(kept.pool()).await?;
        let doing = "comparing the clocks";
        let mut connection = kept.pool().acquire().await.map_err(StoreError::database(doing))?;
        clock::compare(&mut connection).await.map_err(StoreError::database(doing))?;
        drop(connection);
        let (sender, head) = watch::channel(start);
        let recent: Arc<RwLock<Recent>> = Arc::default();
        let as_of = RwLock::new(Instant::now());
        let growing = Arc::new(Growing { head: sender, recent: recent.clone(), as_of });
        let tail = Self {
            kept,
            head,
            recent,
            growing: Arc::downgrade(&growing),
            wake: Arc::default(),
            lost: Arc::default(),
            outdated: Outdated::default(),
            reader: "other",
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(tail.clone().listen()));
        tokio::spawn(stop.run_until_cancelled_owned(tail.clone().follow(growing)));
        Ok(tail)
    }

    /// Hands over what this process has appended after a position, by a call that began then.
    pub(crate) fn appended(&self, after: Position, events: Vec<RecordedEvent>, began: Instant) {
        let growing = self.growing.upgrade();
        if !growing.is_some_and(|growing| growing.extend(after, events, Some(began))) {
            self.wake();
        }
    }

    /// Tells the reader that the log has grown.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// The same tail for a reader of this name, which the figures show; one of a few names.
    #[must_use]
    pub fn read_by(&self, reader: &'static str) -> Self {
        Self { reader, ..self.clone() }
    }

    /// How long ago the database was asked at least how far the log is, and this tail knew all of the answer.
    pub fn age(&self) -> Option<Duration> {
        let growing = self.growing.upgrade()?;
        let as_of = *growing.as_of.read().unwrap_or_else(PoisonError::into_inner);
        Some(as_of.elapsed())
    }

    /// Whether an event came by, or was met by a reader, that this program does not know.
    pub(crate) fn outdated(&self) -> &Outdated {
        &self.outdated
    }

    /// The newest position that this process has seen.
    pub fn head(&self) -> Position {
        *self.head.borrow()
    }

    /// Waits until there are events after a position, and gives at most `limit` of them, in order.
    ///
    /// Ends with an empty list only when the tail was stopped.
    pub async fn next(
        &self,
        after: Position,
        limit: usize,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        let mut head = self.head.clone();
        if head.wait_for(|head| *head > after).await.is_err() {
            return Ok(Vec::new());
        }
        let reads = |source| counter!("orion_tail_reads_total", "reader" => self.reader, "source" => source);
        if let Some(events) = self.recent_after(after, limit) {
            reads("memory").increment(1);
            return Ok(events);
        }
        reads("database").increment(1);
        let limit = i64::try_from(limit).unwrap_or(READ_MAX).min(READ_MAX);
        let taken = self.kept.take().await;
        let mut connection = taken.map_err(StoreError::database("reading the log"))?;
        let events = read(&mut *connection, after, limit).await?;
        self.kept.give_back(connection);
        Ok(events.into_iter().map(Arc::new).collect())
    }

    /// Waits until there are events after a position; `None` when the tail was stopped.
    pub async fn beyond(&self, after: Position) -> Option<Position> {
        let mut head = self.head.clone();
        let reached = head.wait_for(|head| *head > after).await;
        reached.ok().map(|head| *head)
    }

    /// True when none of these streams has an event after a position, as far as the tail has read.
    pub fn is_quiet(&self, after: Position, streams: &[Uuid]) -> bool {
        if *self.head.borrow() <= after {
            return true;
        }
        let recent = self.recent_after(after, usize::MAX);
        recent
            .is_some_and(|events| events.iter().all(|event| !streams.contains(&event.aggregate_id)))
    }

    /// The events after a position, if the memory still reaches back to it.
    fn recent_after(&self, after: Position, limit: usize) -> Option<Vec<Arc<RecordedEvent>>> {
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        let oldest = recent.events.front()?.position;
        // Positions have no gap, so that the distance is the index.
        let skip = usize::try_from(after.0 + 1 - oldest.0).ok()?;
        Some(recent.events.iter().skip(skip).take(limit).cloned().collect())
    }

    async fn follow(self, growing: Arc<Growing>) {
        loop {
            let error = self.read_on(&growing).await;
            warn!(error = &error as &dyn std::error::Error, "the tail cannot read the log");
            self.lost.notify_one();
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    /// Reads what is new, as often as there is something; ends only with an error.
    async fn read_on(&self, growing: &Growing) -> StoreError {
        // Its own, beside the pool's: the pool tests each connection that it gets back.
        let mut connection = match self.kept.pool().acquire().await {
            Ok(connection) => PoolConnection::<Postgres>::detach(connection),
            Err(error) => return StoreError::database("connecting to read the log")(error),
        };
        // Not since this connection began: it may be to another PostgreSQL than the one before.
        let mut compared: Option<Instant> = None;
        loop {
            if let Err(error) = self.read_new(&mut connection, growing).await {
                return error;
            }
            if compared.is_none_or(|compared| compared.elapsed() > COMPARE_CLOCKS_EVERY) {
                match within(READ_WITHIN, clock::compare(&mut connection)).await {
                    Ok(true) => compared = Some(Instant::now()),
                    // Soon again.
                    Ok(false) => {}
                    Err(error) => return StoreError::database("comparing the clocks")(error),
                }
            }
            let _ = tokio::time::timeout(POLL_EVERY, self.wake.notified()).await;
        }
    }

    async fn read_new(
        &self,
        connection: &mut PgConnection,
        growing: &Growing,
    ) -> Result<(), StoreError> {
        loop {
            let (seen, began) = (self.head(), Instant::now());
            let events = async { Ok(read(&mut *connection, seen, READ_MAX).await) };
            let events = within(READ_WITHIN, events).await;
            let events = events.map_err(StoreError::database("reading the log"))??;
            let is_all = i64::try_from(events.len()).is_ok_and(|read| read < READ_MAX);
            for event in &events {
                self.outdated.look_at(event);
            }
            growing.extend(seen, events, is_all.then_some(began));
            if is_all {
                return Ok(());
            }
        }
    }

    /// Turns notifications of other processes into wake-ups, over lost connections.
    async fn listen(self) {
        loop {
            tokio::select! {
                // One that listens asks nothing, and would not find out by itself that nobody is there.
                () = self.lost.notified() => {}
                listened = self.forward() => {
                    if let Err(error) = listened {
                        info!(%error, "cannot listen for new events");
                    }
                }
            }
            self.wake();
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    async fn forward(&self) -> Result<(), sqlx::Error> {
        // A pool of its own: it would keep a connection of the other for good.
        let own = PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE_FOR);
        let own = own.connect_lazy_with((*self.kept.pool().connect_options()).clone());
        let mut listener = PgListener::connect_with(&own).await?;
        listener.listen(CHANNEL).await?;
        while let Some(notification) = listener.try_recv().await? {
            // Most are the echo of this process's own appends, which it knows by now, or in a moment.
            let Ok(at) = notification.payload().parse().map(Position) else { continue };
            let known = tokio::time::timeout(ECHO_WAITS, self.beyond(Position(at.0 - 1))).await;
            if known.is_err() {
                self.wake();
            }
        }
        Ok(())
    }
}
