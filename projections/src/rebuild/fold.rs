//! The fold of a whole log: streams are folded in parallel, and their final rows are copied in.
//!
//! A stream is read to its end before the next begins, so that only the rows of a few streams are in
//! memory at a time, however long the log is.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use orion_store::{Fact, Position, StreamRange, StreamReader, Vault};
use sqlx::{PgConnection, PgPool};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::RebuildError;
use crate::facts::{FactsError, read};
use crate::place::{Place, Shape, Tables};
use crate::table::Table;
use crate::tables::Visitor;

/// How many streams are folded at the same time: PostgreSQL needs the other core.
const WORKERS: usize = 2;

/// Into how many ranges the log is cut; the more, the more evenly the workers end.
const RANGES: i64 = 64;

/// From how many bytes on the lines of a table are copied in.
const COPY_FROM: usize = 1 << 20;

/// How many copies may wait for PostgreSQL. Each has the rows of a page at most, and pages are
/// bounded by bytes.
const COPIES_WAITING: usize = 4;

/// What a worker has to say.
enum Output {
    /// Rows of a table, as lines for COPY.
    Lines(Shape, Vec<u8>),
    /// So many more events are folded.
    Folded(u64),
    /// It cannot go on.
    Failed(RebuildError),
}

/// What is folded, and who wants to know how far it is.
pub(super) struct Source<'a> {
    pub pool: &'a PgPool,
    pub vault: &'a Vault,
    /// Is told of so many more events that are folded.
    pub folded: &'a (dyn Fn(u64) + Send + Sync),
}

/// Folds every stream up to `until` and copies the rows into the tables of `place`, through `writer`. Refuses a log
/// that lacks events.
pub(super) async fn fold_into(
    writer: &mut PgConnection,
    place: &Place,
    tables: &Tables,
    source: &Source<'_>,
    until: Position,
) -> Result<(), RebuildError> {
    let ranges = orion_store::ranges(source.pool, until, RANGES).await;
    let mut ranges = ranges.map_err(FactsError::from)?;
    ranges.reverse();
    let ranges = Arc::new(Mutex::new(ranges));
    let (sender, mut outputs) = mpsc::channel(COPIES_WAITING);
    // Dropped on the way out, which ends the workers.
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let worker = Worker {
            pool: source.pool.clone(),
            vault: source.vault.clone(),
            tables: tables.clone(),
            outputs: sender.clone(),
        };
        workers.spawn(worker.run(ranges.clone()));
    }
    drop(sender);
    let mut found = 0;
    while let Some(output) = outputs.recv().await {
        match output {
            Output::Lines(shape, lines) => copy_in(writer, place, shape, &lines)
                .await
                .map_err(|source| RebuildError::Copy { table: shape.name, source })?,
            Output::Folded(events) => {
                found += events;
                (source.folded)(events);
            }
            Output::Failed(error) => return Err(error),
        }
    }
    while let Some(ended) = workers.join_next().await {
        ended.map_err(RebuildError::Worker)?;
    }
    if found != until.0.unsigned_abs() {
        return Err(FactsError::Gap { found, position: until }.into());
    }
    Ok(())
}

async fn copy_in(
    writer: &mut PgConnection,
    place: &Place,
    shape: Shape,
    lines: &[u8],
) -> Result<(), sqlx::Error> {
    let table = place.table(shape.name);
    let statement = format!("COPY {table} ({}) FROM STDIN", shape.columns.join(", "));
    let mut copy = writer.copy_in_raw(&statement).await?;
    copy.send(lines).await?;
    copy.finish().await?;
    Ok(())
}

/// Folds one range after the other.
struct Worker {
    pool: PgPool,
    vault: Vault,
    tables: Tables,
    outputs: mpsc::Sender<Output>,
}

impl Worker {
    async fn run(self, ranges: Arc<Mutex<Vec<StreamRange>>>) {
        if let Err(error) = self.fold_ranges(&ranges).await {
            self.output(Output::Failed(error)).await;
        }
    }

    async fn fold_ranges(&self, ranges: &Mutex<Vec<StreamRange>>) -> Result<(), RebuildError> {
        let connection = StreamReader::connect(&self.pool).await;
        let mut connection = connection.map_err(RebuildError::Connect)?;
        loop {
            let next = ranges.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(range) = next else { return Ok(()) };
            self.fold_range(&mut connection, range).await?;
        }
    }

    async fn fold_range(
        &self,
        connection: &mut PgConnection,
        range: StreamRange,
    ) -> Result<(), RebuildError> {
        let mut reader = StreamReader::new(range);
        let mut fold = Fold::default();
        loop {
            let events = reader.next(connection).await.map_err(FactsError::from)?;
            // Past the cache, which does not hear of erasures by others.
            let ring =
                self.vault.ring_within(connection, &events).await.map_err(FactsError::from)?;
            let count = events.len() as u64;
            // The last stream may go on in the next events; after the end of the range none does.
            fold.open = events.last().map(|event| event.aggregate_id);
            for event in events {
                fold.facts.push(read(&ring, &event)?);
            }
            let Ok(()) = self.tables.visit(&mut fold).await;
            fold.facts.clear();
            for (shape, lines) in &mut fold.lines {
                if lines.len() >= COPY_FROM || (count == 0 && !lines.is_empty()) {
                    self.output(Output::Lines(*shape, std::mem::take(lines))).await;
                }
            }
            if count == 0 {
                return Ok(());
            }
            self.output(Output::Folded(count)).await;
        }
    }

    async fn output(&self, output: Output) {
        // Who hears nothing any more has failed and says so himself.
        let _ = self.outputs.send(output).await;
    }
}

/// Folds facts, and turns the rows of streams that have ended into lines.
#[derive(Default)]
struct Fold {
    facts: Vec<Fact>,
    /// The stream that has not ended yet.
    open: Option<Uuid>,
    /// The rows of that stream by table and key.
    rows: HashMap<TypeId, Box<dyn Any + Send>>,
    lines: Vec<(Shape, Vec<u8>)>,
}

/// A row, and the stream that it is a fold of.
struct Folded<T> {
    stream: Uuid,
    row: T,
}

impl Visitor for Fold {
    type Error = std::convert::Infallible;

    async fn visit<T: Table>(&mut self) -> Result<(), Self::Error> {
        let mut rows: HashMap<Uuid, Folded<T>> = self
            .rows
            .remove(&TypeId::of::<T>())
            .and_then(|rows| rows.downcast().ok())
            .map(|rows| *rows)
            .unwrap_or_default();
        for fact in &self.facts {
            for key in T::keys(fact) {
                let row = rows.remove(&key).map(|folded| folded.row);
                if let Some(row) = T::fold(row, key, fact) {
                    rows.insert(key, Folded { stream: fact.aggregate_id, row });
                }
            }
        }
        let lines = lines_of::<T>(&mut self.lines);
        rows.retain(|_, folded| {
            let is_open = self.open == Some(folded.stream);
            if !is_open {
                folded.row.copy(lines);
            }
            is_open
        });
        self.rows.insert(TypeId::of::<T>(), Box::new(rows));
        Ok(())
    }
}

fn lines_of<T: Table>(lines: &mut Vec<(Shape, Vec<u8>)>) -> &mut Vec<u8> {
    let place = lines.iter().position(|(shape, _)| shape.name == T::NAME).unwrap_or_else(|| {
        lines.push((Shape { name: T::NAME, columns: T::COLUMNS }, Vec::new()));
        lines.len() - 1
    });
    &mut lines[place].1
}
