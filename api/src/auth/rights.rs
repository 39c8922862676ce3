//! The rights of those who stay: whoever holds a socket or a subscription open.
//!
//! One reader follows the log and takes the rights away that an event ends. It works in position
//! order and says how far it is, so that whoever is about to show an event can first make sure that
//! nothing before it has ended the rights to see it, whichever server wrote it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use orion_commands::Actor;
use orion_domain::values::Role;
use orion_store::{Position, RecordedEvent, Tail};
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use super::{AuthError, in_log};
use crate::graphql::context::App;

/// How many events are looked at together.
const BATCH_MAX: usize = 250;

/// How long to wait when the log cannot be read.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Everyone who stays.
#[derive(Debug)]
pub struct Rights {
    guests: Mutex<Guests>,
    /// What every event up to here has ended is gone.
    seen: watch::Sender<Position>,
    /// The newest event by which somebody was forgotten.
    forgotten: watch::Sender<Position>,
}

#[derive(Debug, Default)]
struct Guests {
    all: HashMap<u64, Listed>,
    /// By the streams whose events may end their rights: most events end those of nobody who is here.
    by_stream: HashMap<Uuid, HashSet<u64>>,
    last_id: u64,
}

#[derive(Debug)]
struct Listed {
    guest: Weak<Guest>,
    streams: Vec<Uuid>,
}

impl Guests {
    /// From now on they are those of a guest, and no others.
    fn list(&mut self, id: u64, streams: Vec<Uuid>) {
        let Some(listed) = self.all.get_mut(&id) else { return };
        let before = std::mem::replace(&mut listed.streams, streams.clone());
        for stream in before {
            self.strike(stream, id);
        }
        for stream in streams {
            self.by_stream.entry(stream).or_default().insert(id);
        }
    }

    fn strike(&mut self, stream: Uuid, id: u64) {
        if let Entry::Occupied(mut guests) = self.by_stream.entry(stream) {
            guests.get_mut().remove(&id);
            if guests.get().is_empty() {
                guests.remove();
            }
        }
    }

    fn remove(&mut self, id: u64) {
        self.list(id, Vec::new());
        self.all.remove(&id);
    }

    fn of(&self, stream: Uuid) -> Vec<Arc<Guest>> {
        let ids = self.by_stream.get(&stream).into_iter().flatten();
        ids.filter_map(|id| self.all.get(id)?.guest.upgrade()).collect()
    }
}

/// The streams whose events may end the rights of somebody.
pub(super) fn streams(actor: Actor) -> Vec<Uuid> {
    match actor {
        Actor::User { id, session_id, .. } => vec![id.0, session_id.0],
        Actor::Service { id, .. } => vec![id.0],
        Actor::Anonymous | Actor::System => Vec::new(),
    }
}

/// The rights of one who stays. Cheap to clone; all clones have the same.
#[derive(Clone, Debug)]
pub struct Standing(Arc<Guest>);

#[derive(Debug)]
struct Guest {
    id: u64,
    rights: Arc<Rights>,
    /// `None` when the rights have ended.
    actor: watch::Sender<Option<Actor>>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.rights.lock().remove(self.id);
    }
}

impl Rights {
    /// Nobody is there yet; the log was read up to here.
    pub fn new(head: Position) -> Arc<Self> {
        let (seen, forgotten) = (watch::Sender::new(head), watch::Sender::new(head));
        Arc::new(Self { guests: Mutex::default(), seen, forgotten })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the log until `stop`.
    pub async fn follow(self: Arc<Self>, tail: Tail, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            loop {
                let after = *self.seen.borrow();
                match tail.next(after, BATCH_MAX).await {
                    Ok(events) => {
                        let Some(newest) = events.last() else { break };
                        for event in &events {
                            self.apply(event);
                        }
                        self.seen.send_replace(newest.position);
                    }
                    Err(error) => {
                        warn!(
                            error = &error as &dyn std::error::Error,
                            "rights cannot be followed"
                        );
                        tokio::time::sleep(AGAIN_AFTER).await;
                    }
                }
            }
        })
        .await;
    }

    /// Somebody stays who was just recognised.
    pub async fn admit(self: &Arc<Self>, app: &App, actor: Actor) -> Result<Standing, AuthError> {
        let standing = self.enter(actor);
        let by = in_log(app, actor).await?;
        // Nothing goes on yet with the rights that the tables gave.
        standing.put(|_| Some(by))?;
        Ok(standing)
    }

    /// From now on an event that ends the rights is heeded.
    pub(super) fn enter(self: &Arc<Self>, actor: Actor) -> Standing {
        let mut guests = self.lock();
        guests.last_id += 1;
        let id = guests.last_id;
        let guest =
            Arc::new(Guest { id, rights: self.clone(), actor: watch::Sender::new(Some(actor)) });
        guests.all.insert(id, Listed { guest: Arc::downgrade(&guest), streams: Vec::new() });
        guests.list(id, streams(actor));
        Standing(guest)
    }

    fn apply(&self, event: &RecordedEvent) {
        if matches!(event.event_type.as_str(), "user.erased" | "social_account.erased") {
            self.forgotten.send_replace(event.position);
        }
        let Some(change) = Change::of(event) else { return };
        // The last clone of a guest must not go while the list is locked: it takes itself off it.
        let guests = self.lock().of(event.aggregate_id);
        for guest in guests {
            guest.actor.send_if_modified(|actor| {
                let ends = actor.is_some_and(|actor| change.ends(event.aggregate_id, &actor));
                if ends {
                    *actor = None;
                }
                ends
            });
        }
    }
}

impl Standing {
    /// Who it is, while the rights last.
    pub fn actor(&self) -> Option<Actor> {
        *self.0.actor.borrow()
    }

    /// What every event up to here has ended is gone.
    pub(super) fn seen(&self) -> Position {
        *self.0.rights.seen.borrow()
    }

    /// Waits until the rights have ended.
    pub async fn ended(&self) {
        // The sender lives as long as this.
        let _ = self.0.actor.subscribe().wait_for(Option::is_none).await;
    }

    /// True when no event up to this position has ended the rights.
    pub async fn holds_at(&self, position: Position) -> bool {
        let mut seen = self.0.rights.seen.subscribe();
        let has_seen = seen.wait_for(|seen| *seen >= position).await.is_ok();
        has_seen && self.actor().is_some()
    }

    /// Where in the log somebody was forgotten last: what was read before is not to be shown any more.
    pub fn forgotten(&self) -> watch::Receiver<Position> {
        self.0.rights.forgotten.subscribe()
    }

    /// The same person shows another token, maybe of another session. Rights that are not those of before
    /// have ended: what goes on was begun with them, and the reader of the log may not know yet.
    pub async fn renew(&self, app: &App, actor: Actor) -> Result<(), AuthError> {
        // First of all, so that the end of this session is heeded from now on.
        self.change_session(actor)?;
        self.change_session(in_log(app, actor).await?)
    }

    /// Goes on in another session, with the same rights or none.
    fn change_session(&self, to: Actor) -> Result<(), AuthError> {
        let (id, rights) = (self.0.id, &self.0.rights);
        let both = self.actor().map(streams).into_iter().flatten().chain(streams(to)).collect();
        rights.lock().list(id, both);
        self.put(|before| has_same_rights(before, to).then_some(to))?;
        rights.lock().list(id, streams(to));
        Ok(())
    }

    /// Changes whose rights they are. Rights that have ended do not come back.
    pub(super) fn put(&self, change: impl FnOnce(Actor) -> Option<Actor>) -> Result<(), AuthError> {
        self.0.actor.send_if_modified(|actor| {
            let before = *actor;
            *actor = before.and_then(change);
            *actor != before
        });
        if self.actor().is_some() { Ok(()) } else { Err(AuthError::Invalid) }
    }
}

/// True of the same user or machine with the same role or scopes, in whichever session.
fn has_same_rights(one: Actor, other: Actor) -> bool {
    match (one, other) {
        (Actor::User { id, role, .. }, Actor::User { id: other, role: others, .. }) => {
            (id, role) == (other, others)
        }
        _ => one == other,
    }
}

/// What an event does to rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// The session or the service token of that id is over.
    Ends,
    /// The user of that id is kept out.
    KeepsOut,
    /// The user of that id has this role, if it could be read.
    Role(Option<Role>),
}

impl Change {
    /// By the name alone, and not decoded: what cannot be read must not stand in anybody's way.
    fn of(event: &RecordedEvent) -> Option<Self> {
        #[derive(Deserialize)]
        struct Changed {
            role: Role,
        }
        match event.event_type.as_str() {
            "session.revoked"
            | "session.reuse_detected"
            | "session.removed"
            | "service_token.revoked" => Some(Self::Ends),
            "user.deactivated" | "user.erased" => Some(Self::KeepsOut),
            "user.role_changed" => {
                let changed: Option<Changed> = serde_json::from_str(&event.payload).ok();
                Some(Self::Role(changed.map(|changed| changed.role)))
            }
            _ => None,
        }
    }

    /// True when the actor's rights end, or are not what they were.
    fn ends(self, aggregate_id: Uuid, actor: &Actor) -> bool {
        match (self, actor) {
            (Self::Ends, Actor::User { session_id, .. }) => session_id.0 == aggregate_id,
            (Self::Ends, Actor::Service { id, .. }) => id.0 == aggregate_id,
            (Self::KeepsOut, Actor::User { id, .. }) => id.0 == aggregate_id,
            (Self::Role(now), Actor::User { id, role, .. }) => {
                id.0 == aggregate_id && now != Some(*role)
            }
            (Self::KeepsOut | Self::Role(_), Actor::Service { .. })
            | (_, Actor::Anonymous | Actor::System) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::Utc;
    use orion_domain::values::{Scope, Scopes, ServiceTokenId, SessionId, UserId};
    use orion_domain::{ServiceTokenEvent, SessionEvent, UserEvent};

    const USER: Uuid = Uuid::from_u128(1);
    const SESSION: Uuid = Uuid::from_u128(2);
    const TOKEN: Uuid = Uuid::from_u128(3);
    const OTHER: Uuid = Uuid::from_u128(4);

    fn event(event_type: &str, aggregate_id: Uuid, payload: &str) -> RecordedEvent {
        RecordedEvent {
            position: Position(1),
            aggregate_type: String::new(),
            aggregate_id,
            sequence: 1,
            event_type: event_type.to_owned(),
            event_version: "1".to_owned(),
            payload: payload.to_owned(),
            metadata: std::collections::BTreeMap::new(),
            recorded_at: Utc::now(),
        }
    }

    fn ends(event: &RecordedEvent, actor: &Actor) -> bool {
        Change::of(event).is_some_and(|change| change.ends(event.aggregate_id, actor))
    }

    fn user(role: Role, session: Uuid) -> Actor {
        Actor::User { id: UserId(USER), role, session_id: SessionId(session) }
    }

    #[test]
    fn another_token_brings_another_session_but_no_other_rights() {
        let rights = Rights::new(Position(0));
        let standing = rights.enter(user(Role::Editor, SESSION));
        standing.change_session(user(Role::Editor, OTHER)).unwrap();
        assert_eq!(standing.actor(), Some(user(Role::Editor, OTHER)));
        // The old session's end is nothing to it any more; the new one's is.
        rights.apply(&event("session.revoked", SESSION, "{}"));
        assert!(standing.actor().is_some());
        rights.apply(&event("session.revoked", OTHER, "{}"));
        assert_eq!(standing.actor(), None);
        assert!(standing.change_session(user(Role::Editor, SESSION)).is_err());
        assert_eq!(standing.actor(), None, "what has ended does not come back");
    }

    #[test]
    fn an_event_concerns_those_whom_it_is_about_and_nobody_else() {
        let rights = Rights::new(Position(0));
        let others: Vec<_> =
            (100..200).map(|n| rights.enter(user(Role::Editor, Uuid::from_u128(n)))).collect();
        let standing = rights.enter(user(Role::Editor, SESSION));
        let concerned = |stream| rights.lock().of(stream).len();
        assert_eq!((concerned(USER), concerned(SESSION), concerned(OTHER)), (101, 1, 0));
        standing.change_session(user(Role::Editor, OTHER)).unwrap();
        assert_eq!((concerned(USER), concerned(SESSION), concerned(OTHER)), (101, 0, 1));
        drop((others, standing));
        let guests = rights.lock();
        assert!(guests.all.is_empty() && guests.by_stream.is_empty(), "{guests:?}");
    }

    #[test]
    fn those_who_stay_hear_that_somebody_was_forgotten() {
        let rights = Rights::new(Position(0));
        let mut forgotten = rights.enter(user(Role::Editor, SESSION)).forgotten();
        for (event_type, is_told) in [
            ("user.erased", true),
            ("social_account.erased", true),
            ("user.deactivated", false),
            ("social_account.disconnected", false),
        ] {
            rights.apply(&event(event_type, OTHER, "{}"));
            assert_eq!(forgotten.has_changed().unwrap(), is_told, "{event_type}");
            assert_eq!(*forgotten.borrow_and_update(), Position(1));
        }
    }

    /// The reader of the log may not have seen yet what the token tells.
    #[test]
    fn another_role_or_scope_ends_what_goes_on() {
        let machine = |scope| {
            let scopes = Scopes::parse(&[scope]).unwrap();
            Actor::Service { id: ServiceTokenId(TOKEN), scopes }
        };
        for (before, now) in [
            (user(Role::Admin, SESSION), user(Role::Viewer, SESSION)),
            (user(Role::Viewer, SESSION), user(Role::Admin, OTHER)),
            (machine(Scope::Trends), machine(Scope::Pipeline)),
        ] {
            let standing = Rights::new(Position(0)).enter(before);
            assert!(standing.change_session(now).is_err(), "{now:?}");
            assert_eq!(standing.actor(), None, "{now:?}");
        }
    }

    #[test]
    fn events_end_the_rights_of_those_whom_they_are_about() {
        let editor = user(Role::Editor, SESSION);
        let scopes = Scopes::parse(&[Scope::Trends]).unwrap();
        let machine = Actor::Service { id: ServiceTokenId(TOKEN), scopes };
        #[rustfmt::skip] // One event a line: its payload, whose it is, and whether it ends the rights of the two.
        let table = [
            ("session.revoked", "{}", SESSION, [true, false]),
            ("session.reuse_detected", "{}", SESSION, [true, false]),
            ("session.removed", "{}", SESSION, [true, false]),
            ("session.rotated", "{}", SESSION, [false, false]),
            ("user.deactivated", "{}", USER, [true, false]),
            ("user.erased", "{}", USER, [true, false]),
            ("user.role_changed", r#"{"role":"viewer"}"#, USER, [true, false]),
            ("user.role_changed", r#"{"role":"admin"}"#, USER, [true, false]),
            ("user.role_changed", r#"{"role":"editor"}"#, USER, [false, false]),
            ("user.role_changed", "{}", USER, [true, false]),
            ("user.profile_updated", "{}", USER, [false, false]),
            ("service_token.revoked", "{}", TOKEN, [false, true]),
        ];
        for (event_type, payload, aggregate_id, expected) in table {
            let known = [UserEvent::TYPES, SessionEvent::TYPES, ServiceTokenEvent::TYPES].concat();
            assert!(known.iter().any(|(known, _)| *known == event_type), "{event_type}");
            let own = event(event_type, aggregate_id, payload);
            assert_eq!([editor, machine].map(|actor| ends(&own, &actor)), expected, "{event_type}");
            let others = event(event_type, OTHER, payload);
            assert!(![editor, machine, Actor::Anonymous].iter().any(|actor| ends(&others, actor)));
        }
    }
}
