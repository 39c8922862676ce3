//! A unit of work: what one command loads, decides and wants to write.

use std::pin::Pin;

use cqrs_es::event_sink::EventSink;
use orion_domain::values::Ciphertext;
use orion_store::{Commit, EventStore, Keys, Loaded, SNAPSHOT_EVERY, StoreError};
use uuid::Uuid;

use crate::actor::{Actor, Envelope};
use crate::error::{CommandError, Refusal};
use crate::governed::Governed;
use crate::policy::{Action, may_touch};

/// One thing that can be asked of Orion. It may run several times until its commit fits.
pub trait UseCase: Send + Sync {
    /// What it is to the policy.
    fn action(&self) -> Action;

    /// Loads what it needs and decides; events gather in the unit.
    fn decide(&self, unit: &mut Unit<'_>) -> impl Future<Output = Result<(), CommandError>> + Send;

    /// The input field that a refusal is about which is about nothing closer.
    fn subject(&self) -> Option<&'static str> {
        None
    }

    /// The aggregate that many may want to change at once; they take turns.
    fn contended(&self) -> Option<Uuid> {
        None
    }

    /// The ids that it makes, as a JSON object, so that a repeat can answer with them.
    fn ids(&self) -> serde_json::Value {
        serde_json::json!({})
    }
}

/// The plain use case: one command on one aggregate.
#[derive(Clone, Debug)]
pub struct Single<A: Governed> {
    /// The aggregate.
    pub id: Uuid,
    /// The command.
    pub command: A::Command,
    /// The ids that the command makes.
    pub ids: serde_json::Value,
}

impl<A: Governed> Single<A> {
    /// A command that makes no id.
    pub fn new(id: impl Into<Uuid>, command: A::Command) -> Self {
        Self { id: id.into(), command, ids: serde_json::json!({}) }
    }

    /// A command whose answer names ids that it makes.
    #[must_use]
    pub fn with_ids(self, ids: serde_json::Value) -> Self {
        Self { ids, ..self }
    }
}

impl<A: Governed> UseCase for Single<A> {
    fn action(&self) -> Action {
        A::action(&self.command)
    }

    async fn decide(&self, unit: &mut Unit<'_>) -> Result<(), CommandError> {
        A::check_references(unit, &self.command).await?;
        let mut loaded = unit.load_to_command::<A>(self.id, &self.command).await?;
        unit.handle(&mut loaded, self.command.clone()).await
    }

    fn subject(&self) -> Option<&'static str> {
        Some(A::ID_FIELD)
    }

    fn contended(&self) -> Option<Uuid> {
        Some(self.id)
    }

    fn ids(&self) -> serde_json::Value {
        self.ids.clone()
    }
}

/// What a use case works with.
pub struct Unit<'a> {
    store: &'a EventStore,
    envelope: &'a Envelope,
    attempt: usize,
    commit: Commit,
    snapshots: Vec<Snapshot>,
    verdict: Option<Refusal>,
}

/// Writes a snapshot when the commit has succeeded.
pub(crate) type Snapshot =
    Box<dyn FnOnce(EventStore) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

impl<'a> Unit<'a> {
    /// `attempt` counts from 1 how often the use case is decided.
    pub(crate) fn new(
        store: &'a EventStore,
        envelope: &'a Envelope,
        command_id: Uuid,
        attempt: usize,
    ) -> Self {
        let commit = Commit::new(envelope.metadata(command_id));
        Self { store, envelope, attempt, commit, snapshots: Vec::new(), verdict: None }
    }

    /// Who acts.
    pub fn actor(&self) -> &Actor {
        &self.envelope.actor
    }

    /// The keys that all servers share.
    pub fn keys(&self) -> &Keys {
        self.store.log().keys()
    }

    /// The log's event store.
    pub fn store(&self) -> &EventStore {
        self.store
    }

    /// An aggregate as it is, to look at; an empty one where there is none.
    pub async fn load<A: Governed>(&self, id: Uuid) -> Result<Loaded<A>, StoreError> {
        self.store.load(id).await
    }

    /// An aggregate that the actor may see; to others it is as empty as if it were not there.
    pub async fn load_visible<A: Governed>(&self, id: Uuid) -> Result<Loaded<A>, StoreError> {
        let loaded = self.load::<A>(id).await?;
        if may_touch(self.actor(), A::AREA, A::owner_of(&loaded)) || !loaded.aggregate.exists() {
            Ok(loaded)
        } else {
            Ok(Loaded::empty(id))
        }
    }

    /// The same, at the version that the sender decided on.
    pub async fn load_to_change<A: Governed>(&self, id: Uuid) -> Result<Loaded<A>, CommandError> {
        let loaded = self.load_visible::<A>(id).await?;
        match self.envelope.expected_version {
            Some(expected) if loaded.aggregate.exists() && loaded.version != expected => {
                let message = format!("the version is {}, not {expected}", loaded.version);
                Err(Refusal::new("VERSION_CONFLICT", message).at("expectedVersion").into())
            }
            Some(_) | None => Ok(loaded),
        }
    }

    /// The same for a command that may begin the aggregate: that is tried without a look. Where it is there
    /// already, the append says so, and the next attempt looks.
    async fn load_to_command<A: Governed>(
        &self,
        id: Uuid,
        command: &A::Command,
    ) -> Result<Loaded<A>, CommandError> {
        let empty = A::default();
        let begins = || empty.decide(command.clone()).is_ok_and(|events| !events.is_empty());
        if self.attempt == 1 && begins() {
            return Ok(Loaded::empty(id));
        }
        self.load_to_change(id).await
    }

    /// Lets the commit fail if an aggregate that was only looked at has changed by then.
    pub fn require_unchanged<A: Governed>(&mut self, loaded: &Loaded<A>) {
        self.commit.require_version::<A>(loaded.id, loaded.version);
    }

    /// Lets an aggregate decide, and gathers its events with what they claim.
    pub async fn handle<A: Governed>(
        &mut self,
        loaded: &mut Loaded<A>,
        command: A::Command,
    ) -> Result<(), CommandError> {
        let mut before = loaded.aggregate.clone();
        let sink = EventSink::default();
        loaded.aggregate.handle(command, &(), &sink).await.map_err(Refusal::from)?;
        let events = sink.collect().await;
        for event in &events {
            for change in before.claims(event) {
                self.commit.claim(loaded.id, self.keys().stored_claim(change));
            }
            before.apply(event.clone());
        }
        self.store
            .add(&mut self.commit, loaded.id, loaded.version, &loaded.aggregate, &events)
            .await?;
        let version = loaded.version + i64::try_from(events.len()).unwrap_or(i64::MAX);
        if version / SNAPSHOT_EVERY > loaded.version / SNAPSHOT_EVERY {
            let (id, aggregate) = (loaded.id, loaded.aggregate.clone());
            self.snapshots.push(Box::new(move |store| {
                Box::pin(async move { store.save_snapshot(id, version, &aggregate).await })
            }));
        }
        loaded.version = version;
        Ok(())
    }

    /// Encrypts a text under a subject's key, for a column that holds ciphertext.
    pub async fn seal_text(
        &mut self,
        subject: Uuid,
        place: &str,
        clear: &str,
    ) -> Result<Ciphertext, StoreError> {
        self.store.seal_text(&mut self.commit, subject, place, clear).await
    }

    /// Destroys a subject's key with this commit, and with it all that is personal.
    pub fn erase(&mut self, subject: Uuid) {
        self.commit.erase(subject);
        self.snapshots.clear();
    }

    /// Refuses the command, but writes its events: the attempt itself is a fact.
    pub fn refuse_after(&mut self, refusal: Refusal) {
        self.verdict = Some(refusal);
    }

    pub(crate) fn into_parts(self) -> (Commit, Vec<Snapshot>, Option<Refusal>) {
        (self.commit, self.snapshots, self.verdict)
    }
}
