//! The log stream by stream instead of position by position, for those who fold all of it: whoever has
//! read a stream to its end is done with its rows and need not keep them.

use sqlx::{PgConnection, PgPool};

use crate::error::StoreError;
use crate::page::PageSize;
use crate::record::{Position, RecordedEvent};

/// How many events are looked at for each range, to find ranges of about one size.
const SAMPLES_PER_RANGE: i64 = 8;

/// Those of an event without its metadata, which no fold looks at.
const FOLDED_COLUMNS: &str = "position, aggregate_type, aggregate_id, sequence, event_type, \
     event_version, payload::text AS payload, '{}' AS metadata, recorded_at";

/// Streams that are neighbours in PostgreSQL's order of aggregate type and id, up to a position of the log.
#[derive(Clone, Debug)]
pub struct StreamRange {
    /// The last stream before the range; empty texts where the range is the first.
    after: (String, String),
    /// The last stream of the range.
    last: (String, String),
    until: Position,
}

/// Reads the events of a range, without their metadata: stream after stream, each in the order of its sequence.
#[derive(Debug)]
pub struct StreamReader {
    range: StreamRange,
    /// Aggregate type, id and sequence of the event that was read last.
    read: (String, String, i64),
    size: PageSize,
}

/// Cuts the streams of the log up to `until` into ranges of about as many events each: about `count`,
/// and none for an empty log.
pub async fn ranges(
    pool: &PgPool,
    until: Position,
    count: i64,
) -> Result<Vec<StreamRange>, StoreError> {
    let every = (until.0 / (count.max(1) * SAMPLES_PER_RANGE)).max(1);
    // Sorted by PostgreSQL, whose order of texts need not be Rust's.
    let ends: Vec<(String, String)> = sqlx::query_as(
        "WITH samples AS (
             SELECT aggregate_type, aggregate_id,
                    row_number() OVER (ORDER BY aggregate_type, aggregate_id) AS place
             FROM events
             WHERE position = ANY (ARRAY(SELECT generate_series($2::bigint, $1::bigint, $2::bigint)))
         ), newest AS (
             SELECT aggregate_type, aggregate_id FROM events
             ORDER BY aggregate_type DESC, aggregate_id DESC LIMIT 1
         )
         SELECT aggregate_type, aggregate_id FROM samples WHERE place % $3 = 0
         UNION SELECT aggregate_type, aggregate_id FROM newest
         ORDER BY aggregate_type, aggregate_id",
    )
    .bind(until.0)
    .bind(every)
    .bind(SAMPLES_PER_RANGE)
    .fetch_all(pool)
    .await
    .map_err(StoreError::database("sampling the streams"))?;
    let mut after = (String::new(), String::new());
    let range = |last: (String, String)| {
        let after = std::mem::replace(&mut after, last.clone());
        StreamRange { after, last, until }
    };
    Ok(ends.into_iter().map(range).collect())
}

impl StreamReader {
    /// At the beginning of a range.
    pub fn new(range: StreamRange) -> Self {
        let (noun, id) = range.after.clone();
        Self { range, read: (noun, id, i64::MAX), size: PageSize::first() }
    }

    /// The next events: some thousands, or fewer where they are large; none at the end of the range.
    pub async fn next(
        &mut self,
        connection: &mut PgConnection,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        let (noun, id, sequence) = self.read.clone();
        let sql = format!(
            "SELECT {FOLDED_COLUMNS} FROM events
             WHERE (aggregate_type, aggregate_id, sequence) > ($1, $2, $3)
               AND (aggregate_type, aggregate_id) <= ($4, $5) AND position <= $6
             ORDER BY aggregate_type, aggregate_id, sequence LIMIT $7"
        );
        let rows = sqlx::query_as(&sql)
            .bind(noun)
            .bind(id)
            .bind(sequence)
            .bind(&self.range.last.0)
            .bind(&self.range.last.1)
            .bind(self.range.until.0)
            .bind(self.size.limit())
            .fetch(connection);
        let read = &mut self.read;
        self.size.fill(rows, "reading streams", |row| row.place_in_stream(read)).await
    }
}
