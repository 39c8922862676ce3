//! What the subscriptions of a process make of events, made once for all of them.

use std::any::Any;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_graphql::dataloader::DataLoader;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use lru::LruCache;
use orion_commands::policy::{Reach, reach};
use orion_domain::{DecodeError, Event};
use orion_store::{Position, RecordedEvent};
use uuid::Uuid;

use crate::graphql::context::{App, Caller};
use crate::graphql::loader;
use crate::graphql::reader::{Entity, Found, Reader, RowKey};
use crate::reads::Extent;

/// How many decoded events are kept, and of how many events the rows: those that subscriptions which
/// keep up are at. A row may hold a long script, so there are few; who is further behind works alone.
const KEPT_MAX: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// The rows of one event, as far as some callers reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct RowsKey {
    position: Position,
    table: &'static str,
    reach: Reach,
}

/// Rows of any table, or why they could not be read.
type Rows = Result<Arc<dyn Any + Send + Sync>, Arc<sqlx::Error>>;

/// A look at the rows. Whoever waits for it drives it on: nobody depends on a client that is slow.
type Look = Shared<BoxFuture<'static, Rows>>;

/// What is kept of the newest events.
pub struct SharedWork {
    events: Mutex<LruCache<Position, Arc<Event>>>,
    rows: Mutex<LruCache<RowsKey, Look>>,
}

impl Default for SharedWork {
    fn default() -> Self {
        Self {
            events: Mutex::new(LruCache::new(KEPT_MAX)),
            rows: Mutex::new(LruCache::new(KEPT_MAX)),
        }
    }
}

impl SharedWork {
    /// An event in the domain's terms; of a noun without personal values, which the vault would open.
    pub fn decode(&self, event: &RecordedEvent) -> Result<Arc<Event>, DecodeError> {
        if let Some(known) = lock(&self.events).get(&event.position) {
            return Ok(known.clone());
        }
        let decoded = Event::decode(&event.event_type, &event.event_version, &event.payload)?;
        let decoded = Arc::new(decoded);
        lock(&self.events).put(event.position, decoded.clone());
        Ok(decoded)
    }

    /// The rows of these ids that the caller may see, not older than the event: where the tables are, for a crash of
    /// PostgreSQL has taken them back, it fails. The ids are all that the event changes in the table; callers who
    /// reach equally far see the same.
    ///
    /// # Panics
    /// Never: rows are kept by their table, and so have its type.
    #[expect(clippy::expect_used, reason = "the table is in the key, so the rows are of this type")]
    pub async fn rows<T: Entity>(
        &self,
        app: &App,
        caller: &Caller,
        event: &RecordedEvent,
        ids: Vec<Uuid>,
    ) -> Result<Arc<Vec<Found<T>>>, Arc<sqlx::Error>> {
        let key = RowsKey {
            position: event.position,
            table: T::NAME,
            reach: reach(&caller.actor, T::AREA),
        };
        let look = || read::<T>(app, caller, event.position, ids).boxed().shared();
        let look = lock(&self.rows).get_or_insert(key, look).clone();
        let rows = match look.await {
            Ok(rows) => rows,
            Err(error) => {
                // The next one tries again.
                lock(&self.rows).pop(&key);
                return Err(error);
            }
        };
        Ok(rows.downcast().expect("rows of this table"))
    }
}

fn read<T: Entity>(
    app: &App,
    caller: &Caller,
    position: Position,
    ids: Vec<Uuid>,
) -> impl Future<Output = Rows> + Send + 'static {
    let loader: DataLoader<Reader> = loader(app, caller);
    loader.loader().snapshot.promise(Extent { tables: position, ..Extent::default() });
    async move {
        let keys: Vec<_> = ids.into_iter().map(|id| RowKey::<T>(id, PhantomData)).collect();
        let mut rows = loader.load_many(keys.clone()).await?;
        // What is selected below them is read in another, when the event is answered.
        loader.loader().snapshot.end().await;
        let found: Vec<_> = keys.iter().filter_map(|key| rows.remove(key)).collect();
        Ok(Arc::new(found) as Arc<dyn Any + Send + Sync>)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
