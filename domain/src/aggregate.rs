//! What Orion asks of an aggregate beyond [`cqrs_es::Aggregate`].

use cqrs_es::Aggregate;
use uuid::Uuid;

use crate::values::UserId;

/// A reason why a command was refused, as clients see it.
pub trait Rejection: std::error::Error + Send + Sync + 'static {
    /// The stable code of `UserError.code`, in SCREAMING_SNAKE_CASE.
    fn code(&self) -> &'static str;

    /// The field of the input that the refusal is about, in camelCase.
    fn field(&self) -> Option<&'static str> {
        None
    }
}

/// An aggregate of Orion: decides on commands without side effects.
pub trait AggregateRoot: Aggregate<Services = (), Error: Rejection> {
    /// Every event type of the aggregate with its current version.
    const EVENT_TYPES: &'static [(&'static str, &'static str)];

    /// Changes whenever the serialised state changes its shape; older snapshots are then ignored.
    const SNAPSHOT_SHAPE: i32;

    /// Decides what a command makes happen in this state: nothing, or events in order.
    fn decide(&self, command: Self::Command) -> Result<Vec<Self::Event>, Self::Error>;

    /// True once the stream has its first event.
    fn exists(&self) -> bool;

    /// The user whose aggregate this is, where ownership limits who may see and command it.
    fn owner(&self) -> Option<UserId> {
        None
    }

    /// Whose key seals the personal values in this aggregate's events and snapshots.
    ///
    /// `None` says that it has none: nothing of it is looked at by the vault.
    fn subject(&self, id: Uuid) -> Option<Uuid> {
        let _ = id;
        None
    }

    /// What an event takes or frees of the values that are unique across streams.
    ///
    /// `self` is the state before the event. The answer depends on nothing else, so that the
    /// claims can be computed again from the log.
    fn claims(&self, event: &Self::Event) -> Vec<ClaimChange> {
        let _ = event;
        Vec::new()
    }
}

/// A value that at most one aggregate holds at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What kind of value it is, such as `user.email`.
    pub namespace: &'static str,
    /// The value in its canonical form.
    pub value: String,
    /// Personal values are stored only as an HMAC.
    pub personal: bool,
    /// The refusal's code when somebody else holds the value.
    pub taken_code: &'static str,
    /// The field of the input that the value came from.
    pub field: &'static str,
}

/// A change of what an aggregate holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimChange {
    /// The aggregate wants the value; the append is refused while another holds it.
    Take(Claim),
    /// The aggregate gives the value back.
    Release(Claim),
}
