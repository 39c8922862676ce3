//! Events as servers of earlier versions have written them.

use std::future::{Future, ready};

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use orion_domain::AggregateRoot;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::or_panic;
use crate::commit::Commit;
use crate::event_store::EventStore;
use crate::record::Metadata;

/// Type, version and fields of an event; personal values are marked, `{"$personal": …}`.
pub type EarlierEvent<'e> = (&'e str, &'e str, Value);

/// Appends events in the versions that are told to a stream that is at `version`, personal values
/// sealed for these versions. `state` is where the aggregate stands before or after them; claims are not taken.
///
/// # Panics
/// When they are not appended.
pub async fn append_as_earlier<A: AggregateRoot>(
    store: &EventStore,
    id: Uuid,
    version: i64,
    state: A,
    events: &[EarlierEvent<'_>],
) {
    let events: Vec<_> = events
        .iter()
        .map(|(event_type, event_version, data)| Written {
            event_type: (*event_type).to_owned(),
            event_version: (*event_version).to_owned(),
            data: data.clone(),
        })
        .collect();
    let mut commit = Commit::new(Metadata::from([("actor".to_owned(), "test".to_owned())]));
    let added = store.add(&mut commit, id, version, &Earlier(state), &events).await;
    or_panic("sealing events", added);
    or_panic("appending events", store.log().append(commit).await);
}

/// An event in whatever version; the log stores `data`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Written {
    event_type: String,
    event_version: String,
    data: Value,
}

impl DomainEvent for Written {
    fn event_type(&self) -> String {
        self.event_type.clone()
    }

    fn event_version(&self) -> String {
        self.event_version.clone()
    }
}

/// An aggregate as an earlier server knew it: of the same name and the same subject, with other events.
#[derive(Default, Serialize, Deserialize)]
#[serde(transparent, bound = "")]
struct Earlier<A: AggregateRoot>(A);

impl<A: AggregateRoot> Aggregate for Earlier<A> {
    const TYPE: &'static str = A::TYPE;
    type Command = ();
    type Event = Written;
    type Error = A::Error;
    type Services = ();

    fn handle(
        &mut self,
        (): (),
        (): &(),
        _: &EventSink<Self>,
    ) -> impl Future<Output = Result<(), A::Error>> + Send {
        ready(Ok(()))
    }

    fn apply(&mut self, _: Written) {}
}

impl<A: AggregateRoot> AggregateRoot for Earlier<A> {
    const EVENT_TYPES: &'static [(&'static str, &'static str)] = A::EVENT_TYPES;
    const SNAPSHOT_SHAPE: i32 = A::SNAPSHOT_SHAPE;

    fn decide(&self, (): ()) -> Result<Vec<Written>, A::Error> {
        Ok(Vec::new())
    }

    fn exists(&self) -> bool {
        self.0.exists()
    }

    fn subject(&self, id: Uuid) -> Option<Uuid> {
        self.0.subject(id)
    }
}
