//! A log that grows event by event, and what is projected of it.

use std::collections::HashMap;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use orion_domain::{
    AggregateRoot, Content, Event, Provider, Publish, ServiceToken, Session, SocialAccount, Trend,
    User,
};
use orion_projections::{Progress, Projector};
use orion_store::testing::{TestDatabase, database, log};
use orion_store::{Commit, EventStore, Metadata, connect};
use serde_json::Value;
use sqlx::PgPool;
use tokio::task::block_in_place;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::golden::event;

/// What takes longer does not come.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A log and its tables.
pub struct World {
    pub store: EventStore,
    /// Under the login that owns the tables.
    pub owner: PgPool,
    versions: HashMap<Uuid, i64>,
    _stop: DropGuard,
    _database: TestDatabase,
}

impl World {
    pub async fn new() -> Self {
        let database = database().await;
        let stop = CancellationToken::new();
        let pool = connect(&database.url, 8).await.unwrap();
        let store = EventStore::new(log(pool, stop.clone()).await);
        let owner = PgPool::connect(&database.url).await.unwrap();
        let versions = HashMap::new();
        Self { store, owner, versions, _stop: stop.drop_guard(), _database: database }
    }

    /// Appends an event; gives its position. Who is erased loses the key with it.
    pub async fn happens(&mut self, stream: Uuid, event_type: &str, payload: Value) -> i64 {
        let erases = event_type == "user.erased";
        match event(event_type, &payload) {
            Event::User(event) => self.append::<User>(stream, event, erases).await,
            Event::Session(event) => self.append::<Session>(stream, event, erases).await,
            Event::Trend(event) => self.append::<Trend>(stream, event, erases).await,
            Event::Content(event) => self.append::<Content>(stream, event, erases).await,
            Event::Publish(event) => self.append::<Publish>(stream, event, erases).await,
            Event::SocialAccount(event) => {
                self.append::<SocialAccount>(stream, event, erases).await
            }
            Event::Provider(event) => self.append::<Provider>(stream, event, erases).await,
            Event::ServiceToken(event) => self.append::<ServiceToken>(stream, event, erases).await,
        }
    }

    async fn append<A: AggregateRoot>(
        &mut self,
        stream: Uuid,
        event: A::Event,
        erases: bool,
    ) -> i64 {
        let version = self.versions.entry(stream).or_default();
        let mut commit = Commit::new(Metadata::new());
        if erases {
            commit.erase(stream);
        }
        self.store.add(&mut commit, stream, *version, &A::default(), &[event]).await.unwrap();
        *version += 1;
        self.store.log().append(commit).await.unwrap().last.0
    }

    /// Projects all that there is.
    pub async fn run(&self, (projector, progress): (Projector, Progress)) {
        let stop = CancellationToken::new();
        let running = tokio::spawn(projector.run(stop.clone()));
        let reached = progress.reached(self.store.log().head().await.unwrap(), PATIENCE).await;
        stop.cancel();
        running.await.unwrap();
        assert!(reached, "{:?}", progress.now());
    }

    /// Projects the documented tables.
    pub async fn project_tables(&self) {
        let log = self.store.log();
        self.run(Projector::new(log.clone())).await;
    }

    pub async fn execute(&self, sql: &str) {
        sqlx::raw_sql(sql)
            .execute(&self.owner)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// Who is told of a fold and makes it wait, until [`Paused`] is dropped. Needs a runtime of several threads.
pub fn pausing() -> (impl Fn(u64) + Send + Sync + 'static, Paused) {
    let (folding, is_folding) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = Mutex::new(may_go_on);
    let listener = move |_| {
        let _ = folding.send(());
        // Nothing is ever sent.
        let _ = block_in_place(|| may_go_on.lock().unwrap().recv());
    };
    (listener, Paused { is_folding, _go_on: go_on })
}

pub struct Paused {
    is_folding: mpsc::Receiver<()>,
    _go_on: mpsc::Sender<()>,
}

impl Paused {
    /// Waits until the first events are folded.
    pub fn begun(&self) {
        block_in_place(|| self.is_folding.recv_timeout(PATIENCE)).expect("it folds");
    }
}
