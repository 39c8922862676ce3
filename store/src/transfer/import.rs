//! Reading a log from a file, into a database that has none.

use std::mem::take;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};
use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool, Postgres};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

use super::batch::{Batch, write_receipts};
use super::keys::import_keys;
use super::line::{self, Begin, End, Line};
use crate::claims::write_claims;
use crate::error::StoreError;
use crate::keys::{KeysError, MasterKeys, load_key};
use crate::locks;
use crate::record::Position;
use crate::seal::{Checkpoint, CheckpointError, Frontier, LogPublicKey, StoredEvent};
use crate::vault::{ERASURES, Vault};

/// The nouns that have unique or personal values.
const CLAIMANTS: [&str; 5] = ["user", "session", "social_account", "provider", "service_token"];

/// The longest line: far above what the server takes for one command.
const LINE_MAX: u64 = 64 << 20;

/// What was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The last event.
    pub head: Position,
    /// The root of the tree of all events, in base64.
    pub root: String,
    /// How many of them a signed checkpoint covered; `None` where no key was known to verify one.
    pub signed: Option<u64>,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The database could not be written.
    #[error(transparent)]
    Database(#[from] StoreError),
    /// The file could not be read.
    #[error("reading the file")]
    Read(#[source] std::io::Error),
    /// The keys' file could not be read.
    #[error("reading the keys")]
    ReadKeys(#[source] std::io::Error),
    /// The database's own keys do not open.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Imports come before the first start.
    #[error("the log has events already; a log is imported only into an empty database")]
    NotEmpty,
    /// A server would go on with keys and answers of its own.
    #[error("a server runs on this database; a log is imported before the first start")]
    Served,
    /// A line is not what was exported.
    #[error("position {position}: {what}")]
    Line {
        /// The position that was expected there.
        position: Position,
        /// What is wrong.
        what: &'static str,
    },
    /// The end is missing.
    #[error("the file was cut short after position {0}")]
    Cut(Position),
    /// Events were left out or added.
    #[error("the file's end tells of {told} events, and there are {found}")]
    Size {
        /// How many there should be.
        told: i64,
        /// The last one.
        found: Position,
    },
    /// The end was written anew after events were left out.
    #[error("{signed} events were signed, and the file ends after {head}")]
    Unfinished {
        /// How many the checkpoint covers.
        signed: u64,
        /// The last one.
        head: Position,
    },
    /// Something stands after the end.
    #[error("the file goes on after its end")]
    Beyond,
    /// The events are others than those that were exported.
    #[error("the events up to position {0} are not those that the file's end tells of")]
    Root(Position),
    /// What no event covers was changed: receipts, reactors, the checkpoint.
    #[error("the file was altered beside its events")]
    Altered,
    /// A signature was asked for.
    #[error("the file has no checkpoint that could be verified")]
    NotSigned,
    /// The checkpoint was signed by somebody else.
    #[error("the file's checkpoint: {0}")]
    Checkpoint(CheckpointError),
    /// The events are others than those that were signed.
    #[error("the events up to position {0} are not those that were signed")]
    Signed(u64),
    /// A line of the keys is not what was exported.
    #[error("line {line} of the keys is no key")]
    Key {
        /// From 1.
        line: u64,
    },
    /// Another master key has wrapped it.
    #[error("line {line} of the keys does not open: another master key has wrapped it")]
    ForeignKey {
        /// From 1.
        line: u64,
    },
}

/// What an import needs beside the events.
#[derive(Debug)]
pub struct Importer<K> {
    /// What wraps the keys.
    pub masters: MasterKeys,
    /// The keys, as they were exported; `None`: the log has no personal values.
    pub keys: Option<K>,
    /// Who may have signed the checkpoint; none: it is not verified.
    pub log_keys: Vec<LogPublicKey>,
    /// Refuses a file without a checkpoint.
    pub must_be_signed: bool,
}

/// Imports a log whole, or nothing of it: events with their positions, times and hashes, keys, receipts,
/// claims. Reactors stand at the head, so that nothing that was done is done again. Memory does not grow
/// with the log.
///
/// The login of `pool` must own the tables.
pub async fn import<K: AsyncBufRead + Unpin + Send>(
    pool: &PgPool,
    input: &mut (impl AsyncBufRead + Unpin + Send),
    importer: Importer<K>,
) -> Result<Imported, ImportError> {
    let failed = || StoreError::database("importing the log");
    let Importer { masters, keys, log_keys, must_be_signed } = importer;
    let mut owner = PoolConnection::<Postgres>::detach(pool.acquire().await.map_err(failed())?);
    owner.execute("SET ROLE NONE").await.map_err(failed())?;
    let mut transaction = owner.begin().await.map_err(failed())?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(locks::APPEND)
        .execute(&mut *transaction)
        .await
        .map_err(failed())?;
    let is_empty: bool = sqlx::query_scalar(
        "SELECT NOT EXISTS (SELECT FROM events) AND NOT EXISTS (SELECT FROM data_keys)",
    )
    .fetch_one(&mut *transaction)
    .await
    .map_err(failed())?;
    if !is_empty {
        return Err(ImportError::NotEmpty);
    }
    keep_servers_out(&mut transaction).await?;
    if let Some(mut keys) = keys {
        import_keys(&mut transaction, &masters, &mut keys).await?;
    }
    let mut lines = Lines {
        input,
        line: Vec::new(),
        hash: Sha256::new(),
        before: Sha256::new(),
        position: Position::START,
    };
    let begin = lines.begin().await?;
    let mut tree = Tree::new(&begin, &log_keys)?;
    if must_be_signed && tree.signed.is_none() {
        return Err(ImportError::NotSigned);
    }
    let mut batch = Batch::default();
    let end = loop {
        match lines.next().await? {
            Next::Event { event, receipts } => {
                tree.push(&event)?;
                batch.take(*event, receipts);
            }
            Next::Receipts(receipts) => {
                write_receipts(&mut transaction, vec![0], vec![receipts]).await?;
            }
            Next::End(end) => break end,
        }
        if batch.is_full() {
            take(&mut batch).write(&mut transaction).await?;
        }
    };
    batch.write(&mut transaction).await?;
    let imported = tree.end(&end)?;
    set_reactors(&mut transaction, &begin, imported.head).await?;
    destroy_erased(&mut transaction).await?;
    let key = load_key(&mut transaction, &masters, "claims").await?;
    let vault = Vault::of(pool.clone(), masters);
    write_claims(&mut transaction, &vault, &CLAIMANTS, &key).await?;
    transaction.commit().await.map_err(failed())?;
    owner.execute("ANALYZE events").await.map_err(failed())?;
    owner.close().await.map_err(failed())?;
    Ok(imported)
}

/// No projector may lead before the import has ended, and none leads now: every server that runs has one or
/// waits for one that has.
async fn keep_servers_out(transaction: &mut PgConnection) -> Result<(), ImportError> {
    let is_alone: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)")
        .bind(locks::READ_MODEL)
        .fetch_one(transaction)
        .await
        .map_err(StoreError::database("looking for servers"))?;
    if is_alone { Ok(()) } else { Err(ImportError::Served) }
}

/// The lines of the file, each in its place.
struct Lines<'a, R> {
    input: &'a mut R,
    line: Vec<u8>,
    /// The hash of all lines so far, and of those before this one.
    hash: Sha256,
    before: Sha256,
    /// The last event that was read.
    position: Position,
}

/// What comes next.
enum Next {
    Event { event: Box<StoredEvent>, receipts: Option<String> },
    Receipts(String),
    End(End),
}

impl<R: AsyncBufRead + Unpin> Lines<'_, R> {
    fn wrong(&self, what: &'static str) -> ImportError {
        ImportError::Line { position: Position(self.position.0 + 1), what }
    }

    /// Reads a line; false at the end of the file. A last line without its end was cut short.
    async fn read(&mut self) -> Result<bool, ImportError> {
        self.before = self.hash.clone();
        self.line.clear();
        let mut limited = (&mut self.input).take(LINE_MAX);
        limited.read_until(b'\n', &mut self.line).await.map_err(ImportError::Read)?;
        self.hash.update(&self.line);
        match self.line.pop() {
            None => Ok(false),
            Some(b'\n') => Ok(true),
            Some(_) if self.line.len() as u64 + 1 >= LINE_MAX => {
                Err(self.wrong("the line is too long"))
            }
            Some(_) => Err(ImportError::Cut(self.position)),
        }
    }

    async fn begin(&mut self) -> Result<Begin, ImportError> {
        match self.read().await?.then(|| line::parse(&self.line)).flatten() {
            Some(Line::Begin(begin)) => Ok(begin),
            _ => Err(self.wrong("the file does not begin as an export does")),
        }
    }

    async fn next(&mut self) -> Result<Next, ImportError> {
        if !self.read().await? {
            return Err(ImportError::Cut(self.position));
        }
        match line::parse(&self.line) {
            Some(Line::Event { event, leaf, receipts }) => {
                if event.position != self.position.0 + 1 {
                    return Err(self.wrong("another event stands in its place"));
                }
                if BASE64.encode(event.leaf_hash()) != leaf {
                    return Err(self.wrong("the event was altered"));
                }
                self.position = Position(event.position);
                Ok(Next::Event { event: Box::new(event), receipts })
            }
            Some(Line::Receipts(receipts)) => Ok(Next::Receipts(receipts)),
            Some(Line::End(end)) => {
                if end.sha256 != hex::encode(self.before.clone().finalize()) {
                    return Err(ImportError::Altered);
                }
                if self.read().await? { Err(ImportError::Beyond) } else { Ok(Next::End(end)) }
            }
            Some(Line::Begin(_)) | None => Err(self.wrong("the line is no event")),
        }
    }
}

/// The tree of what was read, against what was signed.
struct Tree {
    frontier: Frontier,
    signed: Option<Checkpoint>,
}

impl Tree {
    fn new(begin: &Begin, keys: &[LogPublicKey]) -> Result<Self, ImportError> {
        let note = begin.checkpoint.as_ref().filter(|_| !keys.is_empty());
        let signed = note.map(|note| Checkpoint::open(note, keys)).transpose();
        Ok(Self { frontier: Frontier::default(), signed: signed.map_err(ImportError::Checkpoint)? })
    }

    fn push(&mut self, event: &StoredEvent) -> Result<(), ImportError> {
        self.frontier.push(event.leaf_hash());
        match self.signed {
            Some(signed)
                if signed.size == self.frontier.size() && signed.root != self.frontier.root() =>
            {
                Err(ImportError::Signed(signed.size))
            }
            _ => Ok(()),
        }
    }

    fn end(self, end: &End) -> Result<Imported, ImportError> {
        let head = Position(i64::try_from(self.frontier.size()).unwrap_or(i64::MAX));
        let root = BASE64.encode(self.frontier.root());
        if end.size != head.0 {
            return Err(ImportError::Size { told: end.size, found: head });
        }
        if end.root != root {
            return Err(ImportError::Root(head));
        }
        match self.signed {
            Some(Checkpoint { size: signed, .. }) if signed > self.frontier.size() => {
                Err(ImportError::Unfinished { signed, head })
            }
            signed => Ok(Imported { head, root, signed: signed.map(|signed| signed.size) }),
        }
    }
}

/// Reactors have done what is to be done about these events.
async fn set_reactors(
    transaction: &mut PgConnection,
    begin: &Begin,
    head: Position,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO reactor_checkpoints (name, position) SELECT name, $2 FROM unnest($1::text[]) AS r (name)",
    )
    .bind(&begin.reactors)
    .bind(head.0)
    .execute(transaction)
    .await
    .map_err(StoreError::database("setting the reactors"))?;
    Ok(())
}

/// Whose key was destroyed must stay without one.
async fn destroy_erased(transaction: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query(
        "SELECT destroy_data_key(aggregate_id::uuid) FROM events
         WHERE event_type = ANY ($1)",
    )
    .bind(&ERASURES[..])
    .execute(transaction)
    .await
    .map_err(StoreError::database("destroying the keys of the erased"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_events_as_were_told_of_and_signed() {
        let end = |signed: Option<u64>, told| {
            let frontier = Frontier::default();
            let root = frontier.root();
            let signed = signed.map(|size| Checkpoint { size, root });
            let end = End { size: told, root: BASE64.encode(root), sha256: String::new() };
            Tree { frontier, signed }.end(&end)
        };
        assert!(matches!(end(Some(0), 0), Ok(Imported { signed: Some(0), .. })));
        let found = Position::START;
        assert!(matches!(end(None, 1), Err(ImportError::Size { told: 1, found: f }) if f == found));
        let unfinished = end(Some(1), 0);
        assert!(matches!(
            unfinished,
            Err(ImportError::Unfinished { signed: 1, head: Position(0) })
        ));
    }
}
