//! `projection.streams`: how far each stream is in the read model.

use orion_domain::{
    AggregateRoot, Content, Event, Provider, Publish, ServiceToken, Session, SocialAccount, Trend,
    User,
};
use orion_store::Fact;
use uuid::Uuid;

use crate::table::{Table, row};

row! {
    /// One stream.
    StreamRow in "projection.streams" {
        /// The aggregate's id.
        id: Uuid,
        /// The noun, such as `content`.
        aggregate_type: String,
        /// The sequence of its newest event.
        version: i64,
    }
}

impl Table for StreamRow {
    const NAME: &'static str = Self::TABLE;
    const COLUMNS: &'static [&'static str] = Self::COLUMNS;

    fn id(&self) -> Uuid {
        self.id
    }

    fn keys(fact: &Fact) -> Vec<Uuid> {
        vec![fact.aggregate_id]
    }

    fn fold(_: Option<Self>, _: Uuid, fact: &Fact) -> Option<Self> {
        Some(Self {
            id: fact.aggregate_id,
            aggregate_type: aggregate_type(&fact.event).to_owned(),
            version: fact.sequence,
        })
    }
}

fn aggregate_type(event: &Event) -> &'static str {
    match event {
        Event::User(_) => type_of::<User>(),
        Event::Session(_) => type_of::<Session>(),
        Event::Trend(_) => type_of::<Trend>(),
        Event::Content(_) => type_of::<Content>(),
        Event::Publish(_) => type_of::<Publish>(),
        Event::SocialAccount(_) => type_of::<SocialAccount>(),
        Event::Provider(_) => type_of::<Provider>(),
        Event::ServiceToken(_) => type_of::<ServiceToken>(),
    }
}

fn type_of<A: AggregateRoot>() -> &'static str {
    A::TYPE
}
