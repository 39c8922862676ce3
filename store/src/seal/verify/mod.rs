//! Verifying the whole log against its seals: what was changed, removed or forged, by position.

mod fault;
mod piece;
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
use super::merkle::Hash;
use super::seals;
use super::tiles::TILE_HASHES;
use super::walk::{Damage, Walk};
use crate::error::StoreError;
use crate::record::Position;
use crate::vault::Vault;

/// How many events are read at a time.
const PIECE: i64 = 2_000;

/// For how long an event may be unsealed, in microseconds: a server seals within a second.
const UNSEALED_MAX_US: i64 = 60_000_000;

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
        let (name, head, now): (String, i64, i64) = sqlx::query_as(
            "SELECT pg_export_snapshot(), (SELECT coalesce(max(position), 0) FROM events),
                 (extract(epoch FROM now()) * 1000000)::bigint",
        )
        .fetch_one(&mut *snapshot)
        .await
        .map_err(failed())?;
        let sealed = seals::newest_signed(&mut snapshot, &self.keys).await?;
        let reader = Reader {
            pool: pool.clone(),
            snapshot: name.into(),
            keys: self.keys.clone().into(),
            vault: self.vault.clone(),
        };
        let ends = ends(&mut snapshot).await?;
        let mut check = Check::new(self, sealed);
        let mut pieces = pieces(&reader, &ends);
        while let Some((until, piece)) = pieces.try_next().await? {
            check.piece(&mut snapshot, piece).await?;
            progress(until, Position(head));
        }
        check.end(&mut snapshot, Position(head), now).await?;
        sequences(&mut snapshot, &mut check.faults).await?;
        if let Some(from) = uncovered(&mut snapshot).await? {
            check.faults.push(Fault::Uncovered { from });
        }
        let Check { faults, seals, unsealed, .. } = check;
        let (faults, untold) = faults.in_order();
        Ok(Verdict {
            head: Position(head),
            sealed,
            unsealed: unsealed.count,
            seals,
            faults,
            untold,
        })
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

/// Events that are newer than the newest seal.
#[derive(Default)]
struct Unsealed {
    count: u64,
    /// The position and time of the first one.
    first: Option<(Position, i64)>,
}

/// Puts the pieces together.
struct Check<'a> {
    keys: &'a [LogPublicKey],
    kept: Option<Checkpoint>,
    /// The newest seal that a known key has signed.
    sealed: Option<Checkpoint>,
    /// Up to here somebody has signed.
    signed: u64,
    faults: Faults,
    trees: Trees,
    stored: Walk,
    unsealed: Unsealed,
    /// How many seals there were so far.
    seals: u64,
    /// When the event before was recorded.
    time: i64,
}

impl<'a> Check<'a> {
    fn new(verification: &'a Verification, sealed: Option<Checkpoint>) -> Self {
        let size = |signed: Option<Checkpoint>| signed.map_or(0, |signed| signed.size);
        let signed = size(sealed).max(size(verification.kept));
        Self {
            keys: &verification.keys,
            kept: verification.kept,
            sealed,
            signed,
            faults: Faults::default(),
            trees: Trees::default(),
            stored: Walk::new(size(sealed), signed),
            unsealed: Unsealed::default(),
            seals: 0,
            time: i64::MIN,
        }
    }

    /// Goes through the events of the next piece.
    async fn piece(
        &mut self,
        snapshot: &mut PgConnection,
        Piece { rows, faults, mut seals }: Piece,
    ) -> Result<(), StoreError> {
        self.faults.extend(faults);
        for row in rows {
            if row.position > self.sealed_position() {
                self.unsealed.count += 1;
                self.unsealed.first.get_or_insert((row.position, row.time));
            }
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
                    self.leaf(snapshot, None, &mut seals).await?;
                }
                self.trees.skip_to(to.0.cast_unsigned());
            }
            if row.time < self.time {
                self.faults.push(Fault::Time { position: row.position });
            }
            self.time = row.time;
            self.leaf(snapshot, Some(row.leaf), &mut seals).await?;
        }
        Ok(())
    }

    /// Up to here the events are sealed.
    fn sealed_position(&self) -> Position {
        self.sealed.map_or(Position::START, |sealed| Position(sealed.size.cast_signed()))
    }

    /// Adds the next leaf, which is that of an event or of one that is missing.
    async fn leaf(
        &mut self,
        snapshot: &mut PgConnection,
        event: Option<Hash>,
        seals: &mut VecDeque<Opened>,
    ) -> Result<(), StoreError> {
        let stored = self.stored.pass(snapshot, event).await?;
        self.faults.extend(self.stored.found().map(damaged));
        self.trees.push(event, stored);
        self.compare(seals);
        Ok(())
    }

    /// Compares the tree of this size with what was signed for it.
    fn compare(&mut self, seals: &mut VecDeque<Opened>) {
        let size = self.trees.size();
        if let Some(kept) = self.kept.filter(|kept| kept.size == size) {
            self.trees.compare(&kept, true, &mut self.faults);
        }
        while let Some(seal) = seals.pop_front_if(|(sealed, _)| sealed.0 <= size.cast_signed()) {
            self.seals += 1;
            match seal {
                (_, Ok(signed)) if signed.size == size => {
                    self.trees.compare(&signed, false, &mut self.faults);
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
        now: i64,
    ) -> Result<(), StoreError> {
        self.trees.end(&mut self.faults);
        self.faults.extend(self.stored.end().map(damaged));
        if let (Some(_), Some((from, time))) = (self.sealed, self.unsealed.first)
            && time < now.saturating_sub(UNSEALED_MAX_US)
        {
            self.faults.push(Fault::Unsealed { from, count: self.unsealed.count });
        }
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
        for (signed, is_kept) in [(self.sealed, false), (self.kept, true)] {
            let size = signed.map_or(Position::START, |signed| Position(signed.size.cast_signed()));
            if size > head {
                self.faults.push(Fault::CutOff { head, sealed: size, is_kept });
            }
        }
        Ok(())
    }
}

fn damaged(Damage { level, from, to }: Damage) -> Fault {
    Fault::Tree { level, from, to }
}

/// The first event whose leaf is beyond the newest row of `seals`. Leaves and their seal are written in one
/// transaction, and an import writes neither: so there was a seal. A hash has 32 bytes.
async fn uncovered(snapshot: &mut PgConnection) -> Result<Option<Position>, StoreError> {
    let leaf: Option<i64> = sqlx::query_scalar(
        "SELECT CASE WHEN index = size / $1 THEN size ELSE index * $1 END
         FROM (SELECT coalesce(max(size), 0) AS size FROM seals) newest, seal_tiles
         WHERE level = 0 AND index >= size / $1 AND index < $2 / $1
           AND octet_length(hashes) / 32 > CASE WHEN index = size / $1 THEN size % $1 ELSE 0 END
         ORDER BY index LIMIT 1",
    )
    .bind(TILE_HASHES.cast_signed())
    .bind(i64::MAX)
    .fetch_optional(snapshot)
    .await
    .map_err(StoreError::database("looking for hashes without a checkpoint"))?;
    Ok(leaf.map(|leaf| Position(leaf + 1)))
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
