//! Clients who are told the same: each event is executed and written once for all of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_graphql::Response;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use orion_store::Position;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Told;
use crate::graphql::began::Began;
use crate::graphql::subscription::Run;

/// How many answers are kept for those who are about to take them. Who is further behind is refilled
/// from the log.
const KEPT_MAX: usize = 256;

/// How many bytes of them.
const KEPT_BYTES_MAX: usize = 256 << 10;

/// Clients who are told the same. It goes on while somebody holds it.
pub struct Group {
    ring: Arc<Ring>,
    _working: DropGuard,
}

/// The newest answers, for all.
struct Ring {
    kept: Mutex<Kept>,
    /// Changes with what is kept.
    changed: watch::Sender<()>,
}

struct Kept {
    answers: VecDeque<(Position, Arc<Told>)>,
    bytes: usize,
    /// Whatever comes after this position is kept, or will be.
    since: Position,
    /// There will be no more.
    is_over: bool,
    /// The last word, about no event.
    last: Option<Arc<Told>>,
}

/// What there is for a client that has seen everything up to some position.
pub enum Next {
    /// An answer, and the position of its event.
    Told(Position, Arc<Told>),
    /// What is kept begins here only.
    Behind(Position),
    /// Nothing more, after a last word if there is one.
    Over(Option<Arc<Told>>),
}

impl Group {
    /// Begins to answer after a position. Keeps nothing from before somebody was `forgotten`.
    pub fn start(
        after: Position,
        answers: BoxStream<'static, Response>,
        run: Run,
        began: Began,
        forgotten: watch::Receiver<Position>,
    ) -> Self {
        let kept =
            Kept { answers: VecDeque::new(), bytes: 0, since: after, is_over: false, last: None };
        let ring = Arc::new(Ring { kept: Mutex::new(kept), changed: watch::Sender::new(()) });
        let stop = CancellationToken::new();
        let work = work(Worker(ring.clone()), after, answers, (run, began), forgotten);
        tokio::spawn(stop.clone().run_until_cancelled_owned(work));
        Self { ring, _working: stop.drop_guard() }
    }

    /// True when it has no more answers.
    pub fn is_over(&self) -> bool {
        self.ring.lock().is_over
    }

    /// What comes after a position, waited for.
    pub async fn next(&self, after: Position) -> Next {
        let mut changed = self.ring.changed.subscribe();
        loop {
            if let Some(next) = self.ring.lock().next(after) {
                return next;
            }
            // The ring is ours as well, and with it the sender.
            let _ = changed.changed().await;
        }
    }
}

impl Ring {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn next(&self, after: Position) -> Option<Next> {
        if after < self.since {
            return Some(Next::Behind(self.since));
        }
        let seen = self.answers.partition_point(|(position, _)| *position <= after);
        if let Some((position, told)) = self.answers.get(seen) {
            return Some(Next::Told(*position, told.clone()));
        }
        self.is_over.then(|| Next::Over(self.last.clone()))
    }

    fn keep(&mut self, position: Position, told: Arc<Told>) {
        self.bytes += told.json.len();
        self.answers.push_back((position, told));
        // The newest stays, however long it is.
        while self.answers.len() > KEPT_MAX
            || (self.bytes > KEPT_BYTES_MAX && self.answers.len() > 1)
        {
            self.drop_oldest();
        }
    }

    /// Keeps nothing about events before this one. Who has not taken it is refilled from the log.
    fn forget_before(&mut self, position: Position) {
        while self.answers.front().is_some_and(|(oldest, _)| *oldest < position) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((oldest, told)) = self.answers.pop_front() {
            self.bytes -= told.json.len();
            self.since = oldest;
        }
    }
}

/// Fills a ring. When it is dropped, for whatever reason, there is no more to come.
struct Worker(Arc<Ring>);

impl Worker {
    fn keep(&self, position: Position, told: Told) {
        self.0.lock().keep(position, Arc::new(told));
        self.0.changed.send_replace(());
    }

    fn forget_before(&self, position: Position) {
        self.0.lock().forget_before(position);
        self.0.changed.send_replace(());
    }

    fn end(&self, last: Option<Told>) {
        let mut kept = self.0.lock();
        // What was said last, stays.
        if !kept.is_over {
            (kept.is_over, kept.last) = (true, last.map(Arc::new));
        }
        drop(kept);
        self.0.changed.send_replace(());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end(None);
    }
}

async fn work(
    worker: Worker,
    after: Position,
    mut answers: BoxStream<'static, Response>,
    (run, began): (Run, Began),
    mut forgotten: watch::Receiver<Position>,
) {
    let mut seen = after;
    loop {
        let next = tokio::select! {
            biased;
            Ok(()) = forgotten.changed() => {
                let forgotten = *forgotten.borrow_and_update();
                worker.forget_before(forgotten);
                continue;
            }
            next = answers.next() => next,
        };
        let Some(response) = next else { break };
        let (position, told) = (run.shown(), Told::of(response, began.has()));
        if position <= seen || told.is_void {
            // It is about no event, or shows nothing of it: they come back with the position before it.
            return worker.end(Some(told));
        }
        worker.keep(position, told);
        // It may have been read before; what is about later events was not.
        let forgotten = *forgotten.borrow();
        if position < forgotten {
            worker.forget_before(forgotten);
        }
        seen = position;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(since: i64) -> Kept {
        Kept {
            answers: VecDeque::new(),
            bytes: 0,
            since: Position(since),
            is_over: false,
            last: None,
        }
    }

    fn told(bytes: usize) -> Arc<Told> {
        Arc::new(Told {
            json: "x".repeat(bytes),
            code: "OK".to_owned(),
            is_void: false,
            is_refusal: false,
        })
    }

    fn position(next: Option<Next>) -> Option<i64> {
        match next? {
            Next::Told(position, _) => Some(position.0),
            Next::Behind(since) => Some(-since.0),
            Next::Over(_) => None,
        }
    }

    #[test]
    fn each_takes_what_comes_after_its_position() {
        let mut kept = kept(10);
        kept.keep(Position(12), told(1));
        kept.keep(Position(15), told(1));
        let after = |after| position(kept.next(Position(after)));
        assert_eq!(
            [9, 10, 11, 12, 14].map(after),
            [Some(-10), Some(12), Some(12), Some(15), Some(15)]
        );
        assert!(kept.next(Position(15)).is_none());
    }

    #[test]
    fn nothing_is_kept_from_before_somebody_was_forgotten() {
        let mut kept = kept(10);
        for position in [12, 15, 18] {
            kept.keep(Position(position), told(5));
        }
        kept.forget_before(Position(16));
        let after = |kept: &Kept, after| position(kept.next(Position(after)));
        assert_eq!(kept.bytes, 5);
        assert_eq!([10, 12, 14, 15].map(|at| after(&kept, at)), [-15, -15, -15, 18].map(Some));
        kept.forget_before(Position(30));
        assert_eq!((kept.bytes, kept.answers.len()), (0, 0));
        assert_eq!(after(&kept, 15), Some(-18));
        assert_eq!(after(&kept, 18), None, "who has taken it, waits for the next");
    }

    #[test]
    fn no_more_is_kept_than_so_much() {
        let mut many = kept(0);
        for position in 1..=300 {
            many.keep(Position(position), told(1));
        }
        assert_eq!((many.answers.len(), many.since), (KEPT_MAX, Position(44)));
        assert_eq!(position(many.next(Position(43))), Some(-44));
        assert_eq!(position(many.next(Position(44))), Some(45));
        let mut long = kept(0);
        for position in 1..=3 {
            long.keep(Position(position), told(KEPT_BYTES_MAX + 1));
            assert_eq!(long.answers.len(), 1, "the newest is kept");
        }
        assert_eq!((long.bytes, long.since), (KEPT_BYTES_MAX + 1, Position(2)));
    }
}
