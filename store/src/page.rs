//! How much of the log is read at a time: so many events, and so many bytes of them.

use futures::{Stream, TryStreamExt as _};
use sqlx::PgConnection;

use crate::error::StoreError;
use crate::log::{EVENT_COLUMNS, EventRow};
use crate::record::{Position, RecordedEvent};

/// With how many bytes of events a page ends. Decoded they take a few times as many.
const BYTES_MAX: usize = 8 << 20;

/// The most events that are asked for at a time.
const EVENTS_MAX: i64 = 5_000;

/// How many are asked for at first: their sizes are not known, and what does not fit is sent for nothing.
const EVENTS_FIRST: i64 = 500;

/// Reads the log in order, in pages that are bounded by bytes.
#[derive(Debug)]
pub struct LogReader {
    read: Position,
    until: Position,
    size: PageSize,
}

impl LogReader {
    /// For the events after a position, up to another.
    pub fn new(after: Position, until: Position) -> Self {
        Self { read: after, until, size: PageSize::first() }
    }

    /// The newest event that was read.
    pub fn position(&self) -> Position {
        self.read
    }

    /// The next events: some thousands, or fewer where they are large; none at the end.
    pub async fn next(
        &mut self,
        connection: &mut PgConnection,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        let sql = format!(
            "SELECT {EVENT_COLUMNS} FROM events
             WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3"
        );
        let rows = sqlx::query_as(&sql)
            .bind(self.read.0)
            .bind(self.until.0)
            .bind(self.size.limit())
            .fetch(connection);
        let events = self.size.fill(rows, "reading the log", |_| ()).await?;
        self.read = events.last().map_or(self.read, |event| event.position);
        Ok(events)
    }
}

/// How many events to ask for, so that a page is full and little is sent for nothing.
#[derive(Debug)]
pub(crate) struct PageSize(i64);

impl PageSize {
    /// Where nothing is known of the events yet.
    pub fn first() -> Self {
        Self(EVENTS_FIRST)
    }

    /// The limit of the next query.
    pub fn limit(&self) -> i64 {
        self.0
    }

    /// Takes rows until the page is full; `seen` looks at each of them. The rest is never in memory.
    pub async fn fill(
        &mut self,
        mut rows: impl Stream<Item = Result<EventRow, sqlx::Error>> + Unpin,
        doing: &'static str,
        mut seen: impl FnMut(&EventRow),
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        let mut events = Vec::new();
        let mut bytes = 0;
        while bytes < BYTES_MAX {
            let Some(row) = rows.try_next().await.map_err(StoreError::database(doing))? else {
                self.0 = (self.0 * 2).min(EVENTS_MAX);
                return Ok(events);
            };
            bytes += row.bytes();
            seen(&row);
            events.push(row.into_event()?);
        }
        // The next events are about as large.
        self.0 = i64::try_from(events.len()).unwrap_or(EVENTS_MAX);
        Ok(events)
    }
}
