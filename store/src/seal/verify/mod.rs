//! Verifying the whole log against its seals: what was changed, removed or forged, by position.

mod fault;
mod piece;
mod seals;
mod tree;

use std::collections::VecDeque;
use std::num::NonZeroUsize;

use futures::{StreamExt as _, TryStreamExt as _};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio_util::task::AbortOnDropHandle;

use self::fault::Faults;
pub use self::fault::{Fault, Verdict};
use self::piece::{Opened, Piece, Reader};
use self::tree::Trees;
use super::checkpoint::{Checkpoint, LogPublicKey};
use crate::error::StoreError;
use crate::record::Position;
use crate::vault::Vault;

/// How many events are read at a time.
const PIECE: i64 = 2_000;

/// What a log is verified with.
#[derive(Clone, Debug)]
pub struct Verification {
    /// Whoever has signed its checkpoints.
    pub keys: Vec<LogPublicKey>,
    /// A checkpoint that was kept elsewhere, and whose signature was checked.
    pub kept: Option<Checkpoint>,
    /// Opens personal values; without it, events that have some are not decoded.
    pub vault: Option<Vault>,
}

impl Verification {
    /// Recomputes the tree from the events and compares it with every seal, and with the checkpoint that was
    /// kept elsewhere; looks at positions, times, streams and payloads on the way.
    ///
    /// Reads everything at one snapshot, in pieces, as many at a time as there are cores and connections. `progress`
    /// is called after each piece with its last position and the head.
    pub async fn run(
        &self,
        pool: &PgPool,
        mut progress: impl FnMut(Position, Position),
    ) -> Result<Verdict, StoreError> {
        let failed = || StoreError::database("verifying the log");
        let mut connection = pool.acquire().await.map_err(failed())?;
        let mut snapshot = connection.begin().await.map_err(failed())?;
        sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            .execute(&mut *snapshot)
            .await
            .map_err(failed())?;
        let (name, head): (String, i64) = sqlx::query_as(
            "SELECT pg_export_snapshot(), (SELECT coalesce(max(position), 0) FROM events)",
        )
        .fetch_one(&mut *snapshot)
        .await
        .map_err(failed())?;
        let sealed = seals::newest(&mut snapshot, &self.keys).await?;
        let signed = [sealed, self.kept].into_iter().flatten().map(|signed| signed.size).max();
        let reader = Reader {
            pool: pool.clone(),
            snapshot: name.into(),
            keys: self.keys.clone().into(),
            vault: self.vault.clone(),
            signed: signed.unwrap_or(0),
        };
        let ends = ends(&mut snapshot).await?;
        let mut check = Check {
            keys: &self.keys,
            kept: self.kept,
            signed: reader.signed,
            faults: Faults::default(),
            trees: Trees::default(),
            seals: 0,
            time: i64::MIN,
        };
        let mut pieces = pieces(&reader, &ends);
        while let Some((until, piece)) = pieces.try_next().await? {
            check.piece(piece);
            progress(until, Position(head));
        }
        check.end(&mut snapshot, Position(head), sealed).await?;
        sequences(&mut snapshot, &mut check.faults).await?;
        let Check { faults, seals, .. } = check;
        let (faults, untold) = faults.in_order();
        Ok(Verdict { head: Position(head), sealed, seals, faults, untold })
    }
}

/// The last positions of the pieces that the log is read in.
async fn ends(snapshot: &mut PgConnection) -> Result<Vec<Position>, StoreError> {
    // By the rows that there are: positions may be anything, if somebody has been here.
    let ends: Vec<i64> = sqlx::query_scalar(
        "SELECT position FROM (SELECT position, row_number() OVER (ORDER BY position) AS number,
                                      lead(position) OVER (ORDER BY position) IS NULL AS is_last FROM events) numbered
         WHERE number % $1 = 0 OR is_last ORDER BY position",
    )
    .bind(PIECE)
    .fetch_all(snapshot)
    .await
    .map_err(StoreError::database("dividing the log"))?;
    Ok(ends.into_iter().map(Position).collect())
}

/// Reads the pieces, some at the same time, and gives them in order.
fn pieces(
    reader: &Reader,
    ends: &[Position],
) -> impl futures::Stream<Item = Result<(Position, Piece), StoreError>> + Unpin {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    // One connection is ours.
    let connections = reader.pool.options().get_max_connections().saturating_sub(1).max(1);
    let at_once = cores.min(usize::try_from(connections).unwrap_or(usize::MAX));
    let starts = std::iter::once(Position(i64::MIN)).chain(ends.iter().copied());
    let ranges: Vec<_> = starts.zip(ends.iter().copied()).collect();
    let reader = reader.clone();
    let read = move |(after, until)| {
        let piece = AbortOnDropHandle::new(tokio::spawn(reader.clone().read(after, until)));
        async move {
            match piece.await {
                Ok(piece) => Ok((until, piece?)),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
    };
    futures::stream::iter(ranges).map(read).buffered(at_once).boxed()
}

/// Puts the pieces together.
struct Check<'a> {
    keys: &'a [LogPublicKey],
    kept: Option<Checkpoint>,
    /// Up to here somebody has signed.
    signed: u64,
    faults: Faults,
    trees: Trees,
    /// How many seals there were so far.
    seals: u64,
    /// When the event before was recorded.
    time: i64,
}

impl Check<'_> {
    /// Goes through the events of the next piece.
    fn piece(&mut self, Piece { rows, stored, faults, mut seals }: Piece) {
        self.faults.extend(faults);
        for row in rows {
            let next = Position(self.trees.size().cast_signed() + 1);
            if row.position < next {
                self.faults.push(Fault::Extra { position: row.position });
                continue;
            }
            if row.position > next {
                let to = Position(row.position.0 - 1);
                self.faults.push(Fault::Missing { from: next, to });
                // What the stored tree knows of the missing ones lets the rest be checked all the same.
                let known = to.0.cast_unsigned().min(self.signed);
                while self.trees.size() < known {
                    let index = self.trees.size();
                    self.trees.push(None, stored.leaf(index));
                    self.compare(&mut seals);
                }
                self.trees.skip_to(to.0.cast_unsigned());
            }
            if row.time < self.time {
                self.faults.push(Fault::Time { position: row.position });
            }
            self.time = row.time;
            let index = self.trees.size();
            let known = if index < self.signed { stored.leaf(index) } else { None };
            self.trees.push(Some(row.leaf), known);
            self.compare(&mut seals);
        }
    }

    /// Compares the tree of this size with what was signed for it.
    fn compare(&mut self, seals: &mut VecDeque<Opened>) {
        let size = self.trees.size();
        if let Some(kept) = self.kept.filter(|kept| kept.size == size) {
            self.faults.extend(self.trees.compare(&kept, true));
        }
        while let Some(seal) = seals.pop_front_if(|(sealed, _)| sealed.0 <= size.cast_signed()) {
            self.seals += 1;
            match seal {
                (_, Ok(signed)) if signed.size == size => {
                    self.faults.extend(self.trees.compare(&signed, false));
                }
                // Of a size that was skipped, for its events are missing.
                (_, Ok(_)) => {}
                (size, Err(reason)) => self.faults.push(Fault::Checkpoint { size, reason }),
            }
        }
    }

    /// What is left when the events are through: seals of events that are not there.
    async fn end(
        &mut self,
        snapshot: &mut PgConnection,
        head: Position,
        sealed: Option<Checkpoint>,
    ) -> Result<(), StoreError> {
        self.faults.extend(self.trees.end());
        let mut after = head;
        loop {
            let seals =
                seals::between(snapshot, after, Position(i64::MAX), seals::READ_MAX).await?;
            let Some(last) = seals.last() else { break };
            after = Position(last.size);
            for seal in seals {
                self.seals += 1;
                if let Err(reason) = seal.open(self.keys) {
                    self.faults.push(Fault::Checkpoint { size: Position(seal.size), reason });
                }
            }
        }
        for (signed, is_kept) in [(sealed, false), (self.kept, true)] {
            let size = signed.map_or(Position::START, |signed| Position(signed.size.cast_signed()));
            if size > head {
                self.faults.push(Fault::CutOff { head, sealed: size, is_kept });
            }
        }
        Ok(())
    }
}

/// Each stream counts from 1 without a gap, in the order of positions.
async fn sequences(snapshot: &mut PgConnection, faults: &mut Faults) -> Result<(), StoreError> {
    let rows: Vec<(i64, i64, i64, i64)> = sqlx::query_as(
        "SELECT position, sequence, expected, count(*) OVER () FROM (
             SELECT position, sequence, 1 + lag(sequence, 1, 0::bigint) OVER (
                 PARTITION BY aggregate_type, aggregate_id ORDER BY position) AS expected
             FROM events) numbered
         WHERE sequence <> expected ORDER BY position LIMIT $1",
    )
    .bind(i64::try_from(Faults::MAX).unwrap_or(i64::MAX))
    .fetch_all(snapshot)
    .await
    .map_err(StoreError::database("numbering the streams"))?;
    let all = rows.first().map_or(0, |(.., all)| all.unsigned_abs());
    faults.count(all.saturating_sub(rows.len() as u64));
    for (position, found, expected, _) in rows {
        faults.push(Fault::Sequence { position: Position(position), expected, found });
    }
    Ok(())
}
