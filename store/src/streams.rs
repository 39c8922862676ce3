//! The log stream by stream instead of position by position, for those who fold all of it: whoever has
//! read a stream to its end is done with its rows and need not keep them.

use sqlx::{Executor as _, PgConnection, PgPool};

use crate::connect::connect_alone;
use crate::error::StoreError;
use crate::page::PageSize;
use crate::record::{Position, RecordedEvent};

/// How many events are looked at for each range, to find ranges of about one size.
const SAMPLES_PER_RANGE: i64 = 8;

/// Those of an event without its metadata, which no fold looks at.
const FOLDED_COLUMNS: &str = "position, aggregate_type, aggregate_id, sequence, event_type, \
     event_version, payload::text AS payload, '{}' AS metadata, recorded_at";

/// Streams of one noun that are neighbours in PostgreSQL's order of ids, up to a position of the log.
#[derive(Clone, Debug)]
pub struct StreamRange {
    noun: String,
    /// The last stream before the range; empty where the range is the noun's first.
    after: String,
    /// The last stream of the range.
    last: String,
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

/// Cuts the streams of the log up to `until` into ranges of about as many events each: about `count`, and at
/// least one for each noun; none for an empty log.
pub async fn ranges(
    pool: &PgPool,
    until: Position,
    count: i64,
) -> Result<Vec<StreamRange>, StoreError> {
    let every = (until.0 / (count.max(1) * SAMPLES_PER_RANGE)).max(1);
    // Sorted by PostgreSQL, whose order of texts need not be Rust's. The nouns go from one to the next by the index.
    let ends: Vec<(String, String)> = sqlx::query_as(
        "WITH RECURSIVE nouns AS (
             (SELECT aggregate_type AS noun FROM events ORDER BY aggregate_type LIMIT 1)
             UNION ALL
             SELECT (SELECT aggregate_type FROM events WHERE aggregate_type > noun
                     ORDER BY aggregate_type LIMIT 1)
             FROM nouns WHERE noun IS NOT NULL
         ), samples AS (
             SELECT aggregate_type AS noun, aggregate_id AS id,
                    row_number() OVER (PARTITION BY aggregate_type ORDER BY aggregate_id) AS place
             FROM events
             WHERE position = ANY (ARRAY(SELECT generate_series($2::bigint, $1::bigint, $2::bigint)))
         )
         SELECT noun, id FROM samples WHERE place % $3 = 0
         UNION SELECT noun, (SELECT max(aggregate_id) FROM events WHERE aggregate_type = noun)
               FROM nouns WHERE noun IS NOT NULL
         ORDER BY noun, id",
    )
    .bind(until.0)
    .bind(every)
    .bind(SAMPLES_PER_RANGE)
    .fetch_all(pool)
    .await
    .map_err(StoreError::database("sampling the streams"))?;
    let mut before = (String::new(), String::new());
    let range = |(noun, last): (String, String)| {
        let (of, id) = std::mem::replace(&mut before, (noun.clone(), last.clone()));
        let after = if of == noun { id } else { String::new() };
        StreamRange { noun, after, last, until }
    };
    Ok(ends.into_iter().map(range).collect())
}

impl StreamReader {
    /// At the beginning of a range.
    pub fn new(range: StreamRange) -> Self {
        let read = (range.noun.clone(), range.after.clone(), i64::MAX);
        Self { range, read, size: PageSize::first() }
    }

    /// A connection to read ranges by: its plans go along the index, and sort nothing, however large a range is.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached.
    pub async fn connect(pool: &PgPool) -> Result<PgConnection, sqlx::Error> {
        let mut connection = connect_alone(pool).await?;
        connection.execute("SET enable_bitmapscan = off; SET enable_sort = off").await?;
        Ok(connection)
    }

    /// The next events: some thousands, or fewer where they are large; none at the end of the range.
    pub async fn next(
        &mut self,
        connection: &mut PgConnection,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        let (noun, id, sequence) = self.read.clone();
        // The rest of the stream, then those after it. Not as one comparison of rows: PostgreSQL does not end a scan at
        // the second column of one, and went on from each range through all that the noun has. Each part has an order and
        // a limit of its own, or all of the range would be read for each page.
        let sql = format!(
            "SELECT * FROM (
                 (SELECT {FOLDED_COLUMNS} FROM events
                  WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence > $3 AND position <= $5
                  ORDER BY aggregate_id, sequence LIMIT $6)
                 UNION ALL
                 (SELECT {FOLDED_COLUMNS} FROM events
                  WHERE aggregate_type = $1 AND aggregate_id > $2 AND aggregate_id <= $4 AND position <= $5
                  ORDER BY aggregate_id, sequence LIMIT $6)
             ) streams ORDER BY aggregate_id, sequence LIMIT $6"
        );
        let rows = sqlx::query_as(&sql)
            .bind(noun)
            .bind(id)
            .bind(sequence)
            .bind(&self.range.last)
            .bind(self.range.until.0)
            .bind(self.size.limit())
            .fetch(connection);
        let read = &mut self.read;
        self.size.fill(rows, "reading streams", |row| row.place_in_stream(read)).await
    }
}
