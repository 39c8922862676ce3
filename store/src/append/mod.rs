//! Group commit: the commits that wait while one batch is written go into the next.

mod room;
mod statement;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use metrics::{counter, histogram};
use orion_domain::ClaimChange;
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use tokio::sync::{mpsc, oneshot};
use tracing::{Instrument as _, Span, debug, debug_span, warn};
use uuid::Uuid;

use self::room::Room;
use self::statement::{Outcomes, append_once, written};
use crate::commit::{AppendError, Appended, Commit};
use crate::error::{blames_a_value, is_disk_full};
use crate::record::{Position, RecordedEvent};
use crate::tail::Tail;
use crate::within::within;

/// The most commits in one batch: enough to hide the commit's latency, few enough to keep it short.
const BATCH_MAX: usize = 256;

/// The most commits that wait; beyond it an append is refused at once.
const QUEUE_MAX: usize = 4096;

/// How long a batch is tried again while PostgreSQL cannot be reached.
const RETRY_FOR: Duration = Duration::from_secs(5);

/// How long PostgreSQL may take for one batch, the wait for other servers' batches included.
const BATCH_WITHIN: Duration = Duration::from_secs(5);

/// How long a commit may wait for its batch; then it is refused, and surely not written.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// How long to wait between two of those tries.
const RETRY_EVERY: Duration = Duration::from_millis(100);

/// Hands commits to the task that writes them.
#[derive(Clone, Debug)]
pub(crate) struct Appender {
    queue: mpsc::Sender<Waiting>,
    room: Room,
}

#[derive(Debug)]
struct Waiting {
    commit: Commit,
    since: Instant,
    /// What the caller is doing.
    span: Span,
    reply: oneshot::Sender<Result<Appended, AppendError>>,
}

impl Appender {
    /// Starts the writing task; it ends when the last appender is dropped. What it has written, it hands to the tail.
    pub fn start(pool: PgPool, claims_key: String, tail: Tail) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let room = Room::default();
        let writer = Writer { pool, connection: None, claims_key, tail, room: room.clone() };
        tokio::spawn(writer.run(waiting));
        Self { queue, room }
    }

    /// True from an append that PostgreSQL's full disk has refused until the log grows beyond this head.
    pub fn lacks_room(&self, head: Position) -> bool {
        self.room.is_missing(head)
    }

    pub async fn append(&self, commit: Commit) -> Result<Appended, AppendError> {
        let (reply, answer) = oneshot::channel();
        let since = Instant::now();
        let waiting = Waiting { commit, since, span: Span::current(), reply };
        let result = match self.queue.try_send(waiting) {
            Ok(()) => answer.await.unwrap_or(Err(AppendError::Unavailable(None))),
            Err(mpsc::error::TrySendError::Full(_)) => {
                counter!("orion_overloaded_total", "of" => "appends").increment(1);
                Err(AppendError::Overloaded)
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(AppendError::Unavailable(None)),
        };
        histogram!("orion_append_duration_seconds").record(since.elapsed());
        counter!("orion_appends_total", "outcome" => outcome(&result)).increment(1);
        result
    }
}

struct Writer {
    pool: PgPool,
    /// Its own, beside the pool's: kept while it works, for the pool tests each connection that it gets back.
    connection: Option<PgConnection>,
    /// The fingerprint of the key that claims are hashed with.
    claims_key: String,
    tail: Tail,
    room: Room,
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::Receiver<Waiting>) {
        let mut waiting = VecDeque::new();
        loop {
            if waiting.is_empty() {
                match queue.recv().await {
                    Some(next) => waiting.push_back(next),
                    None => return,
                }
            }
            while waiting.len() < BATCH_MAX {
                match queue.try_recv() {
                    Ok(next) => waiting.push_back(next),
                    Err(_) => break,
                }
            }
            let batch = take_batch(&mut waiting);
            let (overdue, batch): (Vec<_>, Vec<_>) =
                batch.into_iter().partition(|waiting| waiting.since.elapsed() > WAIT_MAX);
            for waiting in overdue {
                let _ = waiting.reply.send(Err(AppendError::Unavailable(None)));
            }
            if !batch.is_empty() {
                self.write(batch).await;
            }
        }
    }

    /// Writes a batch and answers everyone in it.
    async fn write(&mut self, batch: Vec<Waiting>) {
        let span = debug_span!(parent: None, "append batch", commits = batch.len());
        for waiting in &batch {
            span.follows_from(&waiting.span);
        }
        let (commits, replies): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|waiting| (waiting.commit, waiting.reply)).unzip();
        debug!(commits = commits.len(), "appending a batch");
        let began = Instant::now();
        let Outcomes { results, follow } = self.append_all(&commits).instrument(span).await;
        histogram!("orion_append_batch_duration_seconds").record(began.elapsed());
        histogram!("orion_append_batch_commits")
            .record(u32::try_from(commits.len()).unwrap_or(u32::MAX));
        match follow {
            Some((head, time)) => {
                self.tail.appended(head, recorded(commits, &results, time), began);
            }
            // Without their time the tail has to read them, like those of other servers.
            None => self.tail.wake(),
        }
        for (reply, result) in replies.into_iter().zip(results) {
            // Whoever asked may be gone; the commit is written all the same.
            let _ = reply.send(result);
        }
    }

    async fn append_all(&mut self, commits: &[Commit]) -> Outcomes {
        let error = match self.append_until_known(commits).await {
            Ok(outcomes) => return outcomes,
            // One value that PostgreSQL refuses fails the whole statement: the others go alone.
            Err(BatchError::Data(_)) if commits.len() > 1 => {
                return self.append_singly(commits).await;
            }
            Err(error) => error,
        };
        let results = match error {
            BatchError::Data(error) => vec![Err(AppendError::Data(error))],
            BatchError::DiskFull(error) => {
                let error = Arc::new(error);
                commits.iter().map(|_| Err(AppendError::DiskFull(error.clone()))).collect()
            }
            BatchError::Unavailable(error) => {
                let error = Arc::new(error);
                let unavailable = || Err(AppendError::Unavailable(Some(error.clone())));
                commits.iter().map(|_| unavailable()).collect()
            }
        };
        Outcomes { results, follow: None }
    }

    async fn append_singly(&mut self, commits: &[Commit]) -> Outcomes {
        let mut results = Vec::with_capacity(commits.len());
        for commit in commits {
            match self.append_until_known(std::slice::from_ref(commit)).await {
                Ok(one) => results.extend(one.results),
                Err(error) => results.push(Err(error.into())),
            }
        }
        Outcomes { results, follow: None }
    }

    /// Tries again while PostgreSQL cannot be reached, for a while. A full disk is not waited for: it stays
    /// full until somebody acts.
    ///
    /// A connection that broke may have committed: then the next try finds its own events.
    async fn append_until_known(&mut self, commits: &[Commit]) -> Result<Outcomes, BatchError> {
        let deadline = Instant::now() + RETRY_FOR;
        let mut in_doubt = false;
        loop {
            let once = within(BATCH_WITHIN, self.append_once(commits)).await;
            if once.as_ref().is_ok_and(|outcomes| outcomes.results.iter().any(Result::is_ok)) {
                self.room.found();
            }
            let error = match once {
                Ok(outcomes) if in_doubt => match self.settle(commits, outcomes.results).await {
                    Ok(results) => return Ok(Outcomes { results, follow: None }),
                    Err(error) => error,
                },
                Ok(outcomes) => return Ok(outcomes),
                Err(error) if blames_a_value(&error) => return Err(BatchError::Data(error)),
                Err(error) if is_disk_full(&error) => {
                    self.room.refused(self.tail.head(), &error);
                    return Err(BatchError::DiskFull(error));
                }
                Err(error) => error,
            };
            if Instant::now() >= deadline {
                return Err(BatchError::Unavailable(error));
            }
            warn!(error = %error, "append failed, trying again");
            in_doubt = true;
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }

    /// One try on the connection that is kept, which is kept only when it succeeds.
    async fn append_once(&mut self, commits: &[Commit]) -> Result<Outcomes, sqlx::Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => PoolConnection::<Postgres>::detach(self.pool.acquire().await?),
        };
        let outcomes = append_once(&mut connection, &self.claims_key, commits).await?;
        self.connection = Some(connection);
        Ok(outcomes)
    }

    /// Finds out which conflicts are only the echo of an earlier try that did commit.
    async fn settle(
        &self,
        commits: &[Commit],
        results: Vec<Result<Appended, AppendError>>,
    ) -> Result<Vec<Result<Appended, AppendError>>, sqlx::Error> {
        let mut settled = Vec::with_capacity(results.len());
        for (commit, result) in commits.iter().zip(results) {
            // A receipt answers for itself, whoever wrote it.
            let found = match &result {
                Err(AppendError::Conflict) => written(&self.pool, commit).await?,
                Ok(_) | Err(_) => None,
            };
            settled.push(found.map_or(result, Ok));
        }
        Ok(settled)
    }
}

/// The events that were written, as the database has them.
fn recorded(
    commits: Vec<Commit>,
    results: &[Result<Appended, AppendError>],
    recorded_at: DateTime<Utc>,
) -> Vec<RecordedEvent> {
    let written = commits.into_iter().zip(results).filter_map(|(commit, result)| {
        let first = result.as_ref().ok()?.first;
        Some((commit, first))
    });
    let events = written.flat_map(|(Commit { events, metadata, .. }, first)| {
        events.into_iter().zip(first.0..).map(move |(event, position)| {
            RecordedEvent::written(Position(position), event, metadata.clone(), recorded_at)
        })
    });
    events.collect()
}

/// What became of a commit, in one word for the figures.
fn outcome(result: &Result<Appended, AppendError>) -> &'static str {
    match result {
        Ok(_) => "written",
        Err(AppendError::Conflict) => "conflict",
        Err(AppendError::Taken { .. }) => "taken",
        Err(AppendError::Repeated(_)) => "repeated",
        Err(AppendError::Overloaded) => "overloaded",
        Err(AppendError::Data(_)) => "data",
        Err(AppendError::DiskFull(_) | AppendError::Unavailable(_)) => "unavailable",
    }
}

enum BatchError {
    Data(sqlx::Error),
    DiskFull(sqlx::Error),
    Unavailable(sqlx::Error),
}

impl From<BatchError> for AppendError {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Data(error) => Self::Data(error),
            BatchError::DiskFull(error) => Self::DiskFull(Arc::new(error)),
            BatchError::Unavailable(error) => Self::Unavailable(Some(Arc::new(error))),
        }
    }
}

/// Takes the longest batch in order of arrival in which no two commits touch the same thing.
///
/// A commit that shares a stream, claim or receipt with one before it waits for the next batch,
/// so that the checks of `append_events` need to look only at what is already in the tables.
fn take_batch(waiting: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let mut touched = HashSet::new();
    let mut batch = Vec::new();
    let mut later = VecDeque::new();
    for next in waiting.drain(..) {
        let things = things_of(&next.commit);
        // What a deferred commit touches stays in order too.
        let is_free = things.iter().all(|thing| !touched.contains(thing));
        touched.extend(things);
        if is_free && batch.len() < BATCH_MAX {
            batch.push(next);
        } else {
            later.push_back(next);
        }
    }
    *waiting = later;
    batch
}

#[derive(PartialEq, Eq, Hash)]
enum Thing {
    Stream(&'static str, Uuid),
    Claim(&'static str, String),
    Command(String, Uuid),
}

fn things_of(commit: &Commit) -> Vec<Thing> {
    let streams =
        commit.streams.iter().map(|(id, _)| Thing::Stream(id.aggregate_type, id.aggregate_id));
    let claims = commit.claims.iter().map(|claim| match &claim.change {
        ClaimChange::Take(claim) | ClaimChange::Release(claim) => {
            Thing::Claim(claim.namespace, claim.value.clone())
        }
    });
    let command =
        commit.receipt.iter().map(|(key, _)| Thing::Command(key.actor.clone(), key.command_id));
    streams.chain(claims).chain(command).collect()
}
