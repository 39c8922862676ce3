//! One state of the tables for everything that one operation reads.

use std::any::TypeId;
use std::sync::{Arc, Mutex as SyncMutex, OnceLock, PoisonError};

use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextExecute, NextPrepareRequest,
};
use async_graphql::parser::types::OperationType;
use async_graphql::{Request, Response, ServerResult, Value, async_trait};
use orion_projections::READ_MODEL;
use orion_store::{Kept, Position};
use sqlx::postgres::PgRow;
use sqlx::{Decode, Postgres, QueryBuilder, Row as _, Transaction, Type};
use tokio::sync::Mutex;

use super::context::{App, Caller, read_position};
use super::limits::Assessed;
use super::loader_in;

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";

/// The state of the tables that an operation sees: taken when it reads its first row, given back at
/// its end or when nobody waits for the answer any more.
///
/// It is one connection of the pool of queries. Who has it must not wait for another of that pool, or
/// all could wait for each other: everything that an operation reads there, it reads here. The log has
/// a pool of its own.
#[derive(Debug)]
pub struct Snapshot {
    pool: Kept,
    open: Mutex<Option<Transaction<'static, Postgres>>>,
    position: SyncMutex<Option<Position>>,
}

impl Snapshot {
    /// One that is yet to be taken.
    pub fn new(pool: Kept) -> Arc<Self> {
        Arc::new(Self { pool, open: Mutex::default(), position: SyncMutex::default() })
    }

    /// Reads in the snapshot; what else wants to read waits.
    pub async fn rows(
        &self,
        sql: &mut QueryBuilder<'_, Postgres>,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        let mut open = self.open.lock().await;
        let mut transaction = match open.take() {
            Some(transaction) => transaction,
            None => self.take().await?,
        };
        // Whoever fails here, or is not waited for, leaves none behind: PostgreSQL refuses whatever
        // else is asked in a transaction in which something has failed.
        let rows = sql.build().fetch_all(&mut *transaction).await?;
        *open = Some(transaction);
        Ok(rows)
    }

    /// Reads what is all that the operation reads, at most one row: one statement is a snapshot by itself. Its
    /// first column is the position that the tables have.
    pub async fn only(
        &self,
        sql: &mut QueryBuilder<'_, Postgres>,
    ) -> Result<Option<PgRow>, sqlx::Error> {
        let mut connection = self.pool.take().await?;
        let row = sql.build().fetch_optional(&mut *connection).await?;
        self.pool.give_back(connection);
        if let Some(row) = &row {
            let position: Option<i64> = row.try_get(0)?;
            self.known().get_or_insert(Position(position.unwrap_or_default()));
        }
        Ok(row)
    }

    /// Reads the only value of a statement that always has one.
    pub async fn value<V>(&self, sql: &mut QueryBuilder<'_, Postgres>) -> Result<V, sqlx::Error>
    where
        V: for<'r> Decode<'r, Postgres> + Type<Postgres>,
    {
        self.rows(sql).await?.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)
    }

    async fn take(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        let mut transaction = self.pool.pool().begin_with(BEGIN).await?;
        let position: Option<i64> =
            sqlx::query_scalar("SELECT position FROM projection.checkpoints WHERE name = $1")
                .bind(READ_MODEL)
                .fetch_optional(&mut *transaction)
                .await?;
        // After a failed read the answer is as old as its oldest part.
        self.known().get_or_insert(Position(position.unwrap_or_default()));
        Ok(transaction)
    }

    /// The position that the tables have in it.
    pub async fn position(&self) -> Result<Position, sqlx::Error> {
        let mut open = self.open.lock().await;
        if open.is_none() {
            *open = Some(self.take().await?);
        }
        Ok(self.taken_at().unwrap_or(Position::START))
    }

    /// The position that the tables have in it, if it was taken.
    fn taken_at(&self) -> Option<Position> {
        *self.known()
    }

    /// Gives it back. Who reads on sees a new one.
    pub async fn end(&self) {
        // Dropping the transaction rolls it back before anybody else gets its connection.
        *self.open.lock().await = None;
        *self.known() = None;
    }

    /// Gives it back for good. A statement that nobody waits for any more does so when it ends.
    fn let_go(&self) -> Option<Position> {
        if let Ok(mut open) = self.open.try_lock() {
            *open = None;
        }
        self.taken_at()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<Position>> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
            let snapshot = Snapshot::new(app.pool.clone());
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
        let response = next.run(ctx, operation_name).await;
        let Some(Began { snapshot, position }) = self.0.get() else { return response };
        let kind = ctx.data_opt::<Assessed>().map(|assessed| assessed.kind);
        let position = match kind {
            Some(OperationType::Subscription) => {
                // The next event is read as the tables are then.
                snapshot.end().await;
                return response;
            }
            // What has read no row is not older than when it began.
            Some(OperationType::Query) | None => snapshot.let_go().unwrap_or(*position),
            // What a mutation has done is in the position after it.
            Some(OperationType::Mutation) => {
                snapshot.let_go().unwrap_or_else(|| read_position(ctx.data_unchecked()))
            }
        };
        response.extension("position", Value::from(position.to_string()))
    }
}
