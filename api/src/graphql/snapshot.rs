//! One state of the tables for everything that one operation reads.

use std::any::TypeId;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, OnceLock, PoisonError};

use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextExecute, NextPrepareRequest,
};
use async_graphql::parser::types::OperationType;
use async_graphql::{Request, Response, ServerResult, Value, async_trait};
use metrics::counter;
use orion_projections::{NOTIFICATIONS, READ_MODEL};
use orion_store::{Begun as Transaction, Kept, Position, is_overload};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Decode, Execute as _, Postgres, QueryBuilder, Row as _, Type};
use tokio::sync::{Mutex, OnceCell};
use tracing::debug;

use super::context::{App, Caller, read_position};
use super::limits::Assessed;
use super::loader_in;
use crate::reads::{Extent, Reads, Replica};

/// PostgreSQL's code for a statement that took too long, which it would elsewhere, too.
const TOO_LONG: &str = "57014";

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";

/// A mark in the data of a request: it shows what was done, so that it must not be refused.
#[derive(Clone, Copy, Debug)]
pub struct OfDone;

/// The state of the tables that an operation sees: taken when it reads its first row, given back at
/// its end or when nobody waits for the answer any more.
///
/// It is one connection of the pool of queries. Who has it must not wait for another of that pool, or
/// all could wait for each other: everything that an operation reads there, it reads here. The log has
/// a pool of its own.
///
/// It is the primary's, unless a query has chosen the replica before it read anything. What fails on the
/// replica before anything was shown from there is read from the primary instead.
#[derive(Debug)]
pub struct Snapshot {
    reads: Reads,
    replica: OnceCell<Option<Replica>>,
    /// The replica has failed, and the primary is read.
    is_turned: AtomicBool,
    /// It must not be refused: what it shows was done, or was promised.
    is_patient: AtomicBool,
    open: Mutex<Open>,
    position: SyncMutex<Option<Position>>,
    /// What it has to show.
    promised: SyncMutex<Extent>,
}

/// Tables that are behind what they have shown before: a crash of PostgreSQL has taken the rest until it is projected again.
#[derive(Debug, thiserror::Error)]
#[error("the tables are at {found:?} and have shown {promised:?}")]
pub struct Behind {
    found: Extent,
    promised: Extent,
}

/// What goes on in a snapshot.
#[derive(Debug, Default)]
struct Open {
    transaction: Option<Transaction>,
    /// Something of it was shown.
    is_shown: bool,
}

/// One run of a statement.
type Run<'q> = Query<'q, Postgres, PgArguments>;

/// A statement that can be run again elsewhere.
struct Repeatable<'q> {
    sql: &'q str,
    arguments: PgArguments,
}

impl<'q> Repeatable<'q> {
    fn of(sql: &'q mut QueryBuilder<'_, Postgres>) -> Result<Self, sqlx::Error> {
        let arguments = sql.build().take_arguments().map_err(sqlx::Error::Encode)?;
        Ok(Self { sql: sql.sql(), arguments: arguments.unwrap_or_default() })
    }

    /// The statement, which may be run once more.
    fn first(&self) -> Run<'q> {
        sqlx::query_with(self.sql, self.arguments.clone())
    }

    /// The statement for the last time.
    fn last(self) -> Run<'q> {
        sqlx::query_with(self.sql, self.arguments)
    }
}

impl Snapshot {
    /// One that is yet to be taken.
    pub fn new(reads: Reads) -> Arc<Self> {
        Arc::new(Self {
            reads,
            replica: OnceCell::new(),
            is_turned: AtomicBool::new(false),
            is_patient: AtomicBool::new(false),
            open: Mutex::default(),
            position: SyncMutex::default(),
            promised: SyncMutex::default(),
        })
    }

    /// Shows at least this, or nothing: the server believes that the tables are as far.
    pub fn promise(&self, shown: Extent) {
        let mut promised = self.promised();
        *promised = promised.with(shown);
    }

    /// From now on it waits for a connection as long as the pool does, however many wait for one. A query is
    /// refused then, which costs nobody anything; a mutation that was done is not to look as if it were not,
    /// and a subscription is not to end.
    pub fn be_patient(&self) {
        self.is_patient.store(true, Ordering::Relaxed);
    }

    /// The primary's connections.
    fn primary(&self) -> Kept {
        let primary = self.reads.primary();
        if self.is_patient.load(Ordering::Relaxed) { primary.patient() } else { primary.clone() }
    }

    /// Lets a query read the replica, if that shows all this now or in a moment. The first field decides
    /// for all.
    pub async fn may_be_of_replica(&self, needed: Extent) {
        self.replica.get_or_init(|| self.reads.replica_with(needed)).await;
    }

    /// Decides that the primary is read, unless the replica was chosen already.
    pub async fn is_of_primary(&self) {
        self.replica.get_or_init(async || None).await;
    }

    /// The replica, while it is read.
    async fn replica(&self) -> Option<&Replica> {
        // What another field has yet to choose is waited for.
        let replica = self.replica.get_or_init(async || None).await;
        replica.as_ref().filter(|_| !self.is_turned.load(Ordering::Relaxed))
    }

    /// Reads in the snapshot; what else wants to read waits.
    pub async fn rows(
        &self,
        sql: &mut QueryBuilder<'_, Postgres>,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        let statement = Repeatable::of(sql)?;
        let mut open = self.open.lock().await;
        if let Some(replica) = self.replica().await {
            let is_shown = open.is_shown;
            if is_shown && open.transaction.is_none() {
                return Err(no_other_state());
            }
            let rows = self.rows_from(replica.pool(), &mut open, statement.first());
            match unless_lost(replica, rows).await {
                Err(error) if !is_shown && turns(&error) => self.turn(replica, &error),
                rows => return rows,
            }
        }
        self.rows_from(&self.primary(), &mut open, statement.last()).await
    }

    async fn rows_from(
        &self,
        pool: &Kept,
        open: &mut Open,
        statement: Run<'_>,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        let mut transaction = match open.transaction.take() {
            Some(transaction) => transaction,
            None => self.take(pool).await?,
        };
        // Whoever fails here, or is not waited for, leaves none behind: PostgreSQL refuses whatever
        // else is asked in a transaction in which something has failed.
        let rows = statement.fetch_all(&mut *transaction).await?;
        open.transaction = Some(transaction);
        open.is_shown = true;
        Ok(rows)
    }

    /// Reads what is all that the operation reads, one row: one statement is a snapshot by itself. Its
    /// first column is the position that the documented tables have, and it reads no others.
    pub async fn only(&self, sql: &mut QueryBuilder<'_, Postgres>) -> Result<PgRow, sqlx::Error> {
        let statement = Repeatable::of(sql)?;
        if let Some(replica) = self.replica().await {
            match unless_lost(replica, self.only_from(replica.pool(), statement.first())).await {
                Err(error) if turns(&error) => self.turn(replica, &error),
                row => return row,
            }
        }
        self.only_from(&self.primary(), statement.last()).await
    }

    async fn only_from(&self, pool: &Kept, statement: Run<'_>) -> Result<PgRow, sqlx::Error> {
        let mut connection = pool.take().await?;
        let row = statement.fetch_one(&mut *connection).await?;
        pool.give_back(connection);
        let position: Option<i64> = row.try_get(0)?;
        let tables = Position(position.unwrap_or_default());
        let notifications = self.promised().notifications;
        self.found(Extent { tables, notifications })?;
        Ok(row)
    }

    /// Notes how far the tables are that are read; those that are behind what was promised are not.
    fn found(&self, found: Extent) -> Result<(), sqlx::Error> {
        let promised = *self.promised();
        if !found.covers(promised) {
            return Err(sqlx::Error::Decode(Box::new(Behind { found, promised })));
        }
        // After a failed read the answer is as old as its oldest part.
        self.known().get_or_insert(found.tables);
        Ok(())
    }

    /// Reads from the primary what has failed on the replica: it is away, or had to end the statement to
    /// go on with what the primary has removed.
    fn turn(&self, replica: &Replica, error: &sqlx::Error) {
        debug!(%error, "reading from the replica has failed");
        // A crowd is no reason to think that it is away.
        if !is_overload(error) {
            replica.doubt();
        }
        self.is_turned.store(true, Ordering::Relaxed);
        *self.known() = None;
    }

    /// Reads the only value of a statement that always has one.
    pub async fn value<V>(&self, sql: &mut QueryBuilder<'_, Postgres>) -> Result<V, sqlx::Error>
    where
        V: for<'r> Decode<'r, Postgres> + Type<Postgres>,
    {
        self.rows(sql).await?.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)
    }

    async fn take(&self, pool: &Kept) -> Result<Transaction, sqlx::Error> {
        let mut transaction = pool.begin(BEGIN).await?;
        let (tables, notifications): (Option<i64>, Option<i64>) = sqlx::query_as(
            "SELECT max(position) FILTER (WHERE name = $1), max(position) FILTER (WHERE name = $2)
             FROM projection.checkpoints",
        )
        .bind(READ_MODEL)
        .bind(NOTIFICATIONS)
        .fetch_one(&mut *transaction)
        .await?;
        let position = |position: Option<i64>| Position(position.unwrap_or_default());
        self.found(Extent { tables: position(tables), notifications: position(notifications) })?;
        Ok(transaction)
    }

    /// The position that the tables have in it.
    pub async fn position(&self) -> Result<Position, sqlx::Error> {
        let mut open = self.open.lock().await;
        if open.transaction.is_none() {
            open.transaction = Some(self.take_anywhere(open.is_shown).await?);
            open.is_shown = true;
        }
        Ok(self.taken_at().unwrap_or(Position::START))
    }

    async fn take_anywhere(&self, is_shown: bool) -> Result<Transaction, sqlx::Error> {
        if let Some(replica) = self.replica().await {
            if is_shown {
                return Err(no_other_state());
            }
            match unless_lost(replica, self.take(replica.pool())).await {
                Err(error) if turns(&error) => self.turn(replica, &error),
                transaction => return transaction,
            }
        }
        self.take(&self.primary()).await
    }

    /// The position that the tables have in it, if it was taken.
    fn taken_at(&self) -> Option<Position> {
        *self.known()
    }

    /// Gives it back. Who reads on sees a new one.
    pub async fn end(&self) {
        // Dropping the transaction rolls it back before anybody else gets its connection.
        *self.open.lock().await = Open::default();
        *self.known() = None;
    }

    /// Gives it back for good. A statement that nobody waits for any more does so when it ends.
    fn let_go(&self) -> Option<Position> {
        if let Ok(mut open) = self.open.try_lock() {
            open.transaction = None;
        }
        self.taken_at()
    }

    /// Counts the query whose rows were read in it, where there is a choice.
    fn count(&self) {
        if self.reads.replica().is_none() || self.taken_at().is_none() {
            return;
        }
        let is_of_replica = matches!(self.replica.get(), Some(Some(_)));
        let is_turned = self.is_turned.load(Ordering::Relaxed);
        let from = if is_of_replica && !is_turned { "replica" } else { "primary" };
        counter!("orion_reads_total", "from" => from).increment(1);
    }

    fn promised(&self) -> std::sync::MutexGuard<'_, Extent> {
        self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<Position>> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads from the replica, unless it does not answer any more before that.
async fn unless_lost<T>(
    replica: &Replica,
    read: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    tokio::select! {
        biased;
        read = read => read,
        () = replica.lost() => Err(sqlx::Error::Io(ErrorKind::NotConnected.into())),
    }
}

/// What is left of an operation fails after a failure on the replica: the state that was shown is gone.
fn no_other_state() -> sqlx::Error {
    sqlx::Error::Protocol("the state of the replica that was shown has ended".to_owned())
}

/// True when the primary may do better.
fn turns(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.as_deref() != Some(TOO_LONG)
}

/// Gives each operation a snapshot of its own, and says in `extensions.position` what it showed.
///
/// A subscription takes a new one for each of its events.
pub struct SnapshotPerOperation;

#[derive(Default)]
struct OfOperation(OnceLock<Began>);

/// An operation that began.
struct Began {
    snapshot: Arc<Snapshot>,
    /// The position of the tables then.
    position: Position,
}

impl ExtensionFactory for SnapshotPerOperation {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(OfOperation::default())
    }
}

#[async_trait::async_trait]
impl Extension for OfOperation {
    async fn prepare_request(
        &self,
        ctx: &ExtensionContext<'_>,
        mut request: Request,
        next: NextPrepareRequest<'_>,
    ) -> ServerResult<Request> {
        let app: &App = ctx.data_unchecked();
        // A request of its own carries its caller, one on a socket has the caller of the socket.
        let own = request.data.get(&TypeId::of::<Caller>());
        let caller = own.and_then(|own| own.downcast_ref()).or_else(|| ctx.data_opt::<Caller>());
        if let Some(caller) = caller.cloned() {
            let is_of_done = request.data.contains_key(&TypeId::of::<OfDone>());
            let reads = if is_of_done { app.reads.patient() } else { app.reads.clone() };
            let snapshot = Snapshot::new(reads);
            request.data.insert(loader_in(&snapshot, caller.actor));
            self.0.get_or_init(|| Began { snapshot, position: read_position(app) });
        }
        next.run(ctx, request).await
    }

    async fn execute(
        &self,
        ctx: &ExtensionContext<'_>,
        operation_name: Option<&str>,
        next: NextExecute<'_>,
    ) -> Response {
        let kind = ctx.data_opt::<Assessed>().map(|assessed| assessed.kind);
        let Some(Began { snapshot, position }) = self.0.get() else {
            return next.run(ctx, operation_name).await;
        };
        match kind {
            Some(OperationType::Mutation | OperationType::Subscription) => snapshot.be_patient(),
            Some(OperationType::Query) | None => {}
        }
        let response = next.run(ctx, operation_name).await;
        let position = match kind {
            Some(OperationType::Subscription) => {
                // The next event is read as the tables are then.
                snapshot.end().await;
                return response;
            }
            // What has read no row is not older than when it began.
            Some(OperationType::Query) | None => {
                snapshot.count();
                snapshot.let_go().unwrap_or(*position)
            }
            // What a mutation has done is in the position after it.
            Some(OperationType::Mutation) => {
                snapshot.let_go().unwrap_or_else(|| read_position(ctx.data_unchecked()))
            }
        };
        response.extension("position", Value::from(position.to_string()))
    }
}
