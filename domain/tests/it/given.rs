//! `given(history).when(command).emits(events)`: the test of a decision in one line.

use std::fmt::Debug;

use cqrs_es::event_sink::EventSink;
use futures::executor::block_on;
use orion_domain::event::unmarked;
use orion_domain::{AggregateRoot, ClaimChange, Rejection};

/// An aggregate whose states and outcomes can be compared.
pub trait Subject:
    AggregateRoot<Command: Clone, Error: PartialEq> + Clone + PartialEq + Debug
{
}

impl<A> Subject for A where
    A: AggregateRoot<Command: Clone, Error: PartialEq> + Clone + PartialEq + Debug
{
}

/// An aggregate with a history.
pub struct Given<A>(A);

/// What a command led to.
pub struct Outcome<A: Subject> {
    before: A,
    decided: Result<Vec<A::Event>, A::Error>,
}

/// The state after a history.
pub fn fold<A: Subject>(history: impl IntoIterator<Item = A::Event>) -> A {
    let mut aggregate = A::default();
    for event in history {
        aggregate.apply(event);
    }
    aggregate
}

/// Begins a test with what happened so far.
pub fn given<A: Subject>(history: impl IntoIterator<Item = A::Event>) -> Given<A> {
    Given(fold(history))
}

impl<A: Subject> Given<A> {
    /// Asks for a decision, of the state and of a snapshot of it, and both ways: by `decide`, and
    /// by `handle`, which the command bus calls.
    #[track_caller]
    pub fn when(self, command: A::Command) -> Outcome<A> {
        let Self(before) = self;
        let decided = before.decide(command.clone());

        let snapshot = unmarked(serde_json::to_value(&before).unwrap());
        let restored: A = serde_json::from_value(snapshot.clone()).unwrap();
        assert!(restored == before, "a snapshot changes the state: {snapshot}");
        let handled = handle(restored, command);
        assert!(
            handled == decided,
            "handle and decide disagree:\n{}\n{}",
            shown::<A>(&handled),
            shown::<A>(&decided)
        );
        Outcome { before, decided }
    }

    /// What an event that comes next takes and frees.
    pub fn claims(&self, event: &A::Event) -> Vec<ClaimChange> {
        self.0.claims(event)
    }
}

impl<A: Subject> Outcome<A> {
    /// The command makes these events happen, in this order, and they can be applied.
    #[track_caller]
    pub fn emits(mut self, expected: impl IntoIterator<Item = A::Event>) {
        let expected = Ok(expected.into_iter().collect());
        assert!(
            self.decided == expected,
            "decided:  {}\nexpected: {}",
            shown::<A>(&self.decided),
            shown::<A>(&expected)
        );
        for event in self.decided.into_iter().flatten() {
            self.before.apply(event);
        }
        assert!(self.before.exists(), "after an event there is an aggregate");
    }

    /// The command is fine and changes nothing.
    #[track_caller]
    pub fn emits_nothing(self) {
        assert!(self.decided == Ok(Vec::new()), "decided: {}", shown::<A>(&self.decided));
    }

    /// The command is refused.
    #[track_caller]
    pub fn rejects(self, expected: A::Error) {
        let expected = Err(expected);
        assert!(
            self.decided == expected,
            "decided:  {}\nexpected: {}",
            shown::<A>(&self.decided),
            shown::<A>(&expected)
        );
    }
}

/// Each refusal has its stable code and names the field that it is about.
#[track_caller]
pub fn codes<E: Rejection>(
    expected: impl IntoIterator<Item = (E, &'static str, Option<&'static str>)>,
) {
    for (error, code, field) in expected {
        assert_eq!((error.code(), error.field()), (code, field), "{error:?}");
    }
}

/// Runs a command as the bus does, and proves that the sink leaves the same state as the log.
#[track_caller]
fn handle<A: Subject>(before: A, command: A::Command) -> Result<Vec<A::Event>, A::Error> {
    let sink = EventSink::default();
    let mut aggregate = before.clone();
    let answer = block_on(aggregate.handle(command, &(), &sink));
    let events = block_on(sink.collect());

    let mut replayed = before;
    for event in events.clone() {
        replayed.apply(event);
    }
    assert_eq!(aggregate, replayed, "the sink and the log lead to different states");
    assert!(answer.is_ok() || events.is_empty(), "a refusal leaves no event");
    answer.map(|()| events)
}

/// Events as JSON: their `Debug` hides personal values, and with them the difference.
fn shown<A: Subject>(decided: &Result<Vec<A::Event>, A::Error>) -> String {
    match decided {
        Ok(events) => serde_json::to_string(events).unwrap(),
        Err(error) => format!("{error:?}"),
    }
}
