//! One state of the tables for everything that one operation reads.

use std::any::TypeId;
use std::sync::{Arc, Mutex as SyncMutex, OnceLock, PoisonError};

use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextExecute, NextPrepareRequest,
};
use async_graphql::parser::types::OperationType;
use async_graphql::{Name, Request, Response, ServerResult, Value, async_trait};
use orion_projections::READ_MODEL;
use orion_store::Position;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Postgres, QueryBuilder, Transaction};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::context::{App, Caller, read_position};
use super::loader_in;

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";

/// Gives out snapshots, at most as many at a time as half of the connections: who has one may still
/// need a second for a moment, to read the log.
#[derive(Clone, Debug)]
pub struct Snapshots {
    pool: PgPool,
    permits: Arc<Semaphore>,
}

impl Snapshots {
    /// From the connections of a pool.
    pub fn new(pool: PgPool) -> Self {
        let connections = usize::try_from(pool.options().get_max_connections()).unwrap_or(2);
        let permits = Arc::new(Semaphore::new((connections / 2).max(1)));
        Self { pool, permits }
    }
}

/// The state of the tables that an operation sees: taken when it reads its first row, given back at
/// its end or when nobody waits for the answer any more.
#[derive(Debug)]
pub struct Snapshot {
    from: Snapshots,
    open: Mutex<Option<Open>>,
    position: SyncMutex<Option<Position>>,
}

#[derive(Debug)]
struct Open {
    transaction: Transaction<'static, Postgres>,
    _permit: OwnedSemaphorePermit,
}

impl Snapshot {
    /// One that is yet to be taken.
    pub fn new(from: Snapshots) -> Arc<Self> {
        Arc::new(Self { from, open: Mutex::default(), position: SyncMutex::default() })
    }

    /// Reads in the snapshot; what else wants to read waits.
    pub async fn rows(
        &self,
        sql: &mut QueryBuilder<'_, Postgres>,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        let mut open = self.open.lock().await;
        let mut now = match open.take() {
            Some(now) => now,
            None => self.take().await?,
        };
        // Whoever fails here, or is not waited for, leaves none behind: PostgreSQL refuses whatever
        // else is asked in a transaction in which something has failed.
        let rows = sql.build().fetch_all(&mut *now.transaction).await?;
        *open = Some(now);
        Ok(rows)
    }

    async fn take(&self) -> Result<Open, sqlx::Error> {
        // A connection is not waited for longer than anywhere else, the permit included.
        let patience = self.from.pool.options().get_acquire_timeout();
        let taken = tokio::time::timeout(patience, async {
            let permit = self.from.permits.clone().acquire_owned().await;
            let permit = permit.map_err(|_| sqlx::Error::PoolClosed)?;
            Ok::<_, sqlx::Error>((permit, self.from.pool.begin_with(BEGIN).await?))
        });
        let (permit, mut transaction) = taken.await.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        let position: Option<i64> =
            sqlx::query_scalar("SELECT position FROM projection.checkpoints WHERE name = $1")
                .bind(READ_MODEL)
                .fetch_optional(&mut *transaction)
                .await?;
        // After a failed read the answer is as old as its oldest part.
        self.known().get_or_insert(Position(position.unwrap_or_default()));
        Ok(Open { transaction, _permit: permit })
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
    pub fn taken_at(&self) -> Option<Position> {
        *self.known()
    }

    /// Gives it back. Who reads on sees a new one.
    pub async fn end(&self) {
        // Dropping the transaction rolls it back before anybody else gets its connection.
        *self.open.lock().await = None;
        *self.known() = None;
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
    kind: OperationType,
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
            let snapshot = Snapshot::new(app.snapshots.clone());
            request.data.insert(loader_in(&snapshot, caller.actor));
            let kind = kind_of(&mut request);
            self.0.get_or_init(|| Began { snapshot, kind, position: read_position(app) });
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
        let Some(Began { snapshot, kind, position }) = self.0.get() else { return response };
        let taken_at = snapshot.taken_at();
        snapshot.end().await;
        let position = match kind {
            OperationType::Subscription => return response,
            // What has read no row is not older than when it began.
            OperationType::Query => taken_at.unwrap_or(*position),
            // What a mutation has done is in the position after it.
            OperationType::Mutation => {
                taken_at.unwrap_or_else(|| read_position(ctx.data_unchecked()))
            }
        };
        response.extension("position", Value::from(position.to_string()))
    }
}

/// What the operation that is meant is; what does not parse is refused before it matters.
fn kind_of(request: &mut Request) -> OperationType {
    let wanted = request.operation_name.clone();
    let Ok(document) = request.parsed_query() else { return OperationType::Query };
    let mut operations = document.operations.iter();
    let meant = operations
        .find(|(name, _)| wanted.is_none() || name.map(Name::as_str) == wanted.as_deref());
    meant.map_or(OperationType::Query, |(_, operation)| operation.node.ty)
}
