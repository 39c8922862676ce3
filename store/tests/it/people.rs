//! Users as the command bus writes them: personal values sealed, unique values claimed.

use cqrs_es::Aggregate as _;
use orion_domain::user::ProfileChange;
use orion_domain::values::{
    AvatarUrl, Bio, Email, FirstName, Json, Name, Patch, Personal, RegisteredVia, Role, Username,
};
use orion_domain::{AggregateRoot as _, Event, User, UserEvent};
use orion_store::{Commit, EventStore, Metadata, Position, RecordedEvent, StoreError};
use serde_json::Value;
use uuid::Uuid;

use crate::fixtures::Outcome;

/// What is personal of the user of these tests, and must be found nowhere.
pub const CLEAR: [&str; 6] = [
    "ada@example.org",
    "$2b$04$hash",
    "Ada Lovelace",
    "countess",
    "https://ada.example",
    "numbers",
];

pub fn registered(email: &str) -> UserEvent {
    UserEvent::Registered {
        email: Personal::new(Email::parse(email).unwrap()),
        password_hash: Some(Personal::new("$2b$04$hash".to_owned())),
        name: Personal::new(Name::parse("Ada Lovelace").unwrap()),
        role: Role::Editor,
        email_verified: true,
        via: RegisteredVia::Password,
    }
}

pub fn named(username: &str) -> UserEvent {
    let username = Username::parse(username).unwrap();
    let username = Patch::Set(Personal::new(username));
    UserEvent::ProfileUpdated { change: ProfileChange { username, ..ProfileChange::default() } }
}

/// Everything that can be said of a person.
pub fn described() -> UserEvent {
    UserEvent::ProfileUpdated {
        change: ProfileChange {
            name: Some(Personal::new(Name::parse("Ada Lovelace").unwrap())),
            username: Patch::Set(Personal::new(Username::parse("countess").unwrap())),
            first_name: Patch::Set(Personal::new(FirstName::parse("Ada Lovelace").unwrap())),
            last_name: Patch::Clear,
            avatar_url: Patch::Set(Personal::new(AvatarUrl::parse("https://ada.example").unwrap())),
            bio: Patch::Set(Personal::new(Bio::parse("numbers").unwrap())),
            timezone: None,
        },
    }
}

pub fn prefers(settings: Value) -> UserEvent {
    let settings = Json::parse_object(settings, "settings").unwrap();
    UserEvent::SettingsUpdated { settings: Personal::new(settings) }
}

pub fn erased() -> UserEvent {
    UserEvent::Erased { oauth_account_ids: Vec::new() }
}

pub fn fold(events: &[UserEvent]) -> User {
    let mut user = User::default();
    for event in events {
        user.apply(event.clone());
    }
    user
}

/// A commit of events for a user who is at `version`; `before` has led there.
pub async fn commit_of(
    store: &EventStore,
    id: Uuid,
    (version, before): (i64, User),
    events: &[UserEvent],
) -> Result<Commit, StoreError> {
    let (mut user, mut commit) = (before, Commit::new(Metadata::new()));
    for event in events {
        for change in user.claims(event) {
            commit.claim(id, store.log().keys().stored_claim(change));
        }
        user.apply(event.clone());
    }
    store.add(&mut commit, id, version, &user, events).await?;
    if user.is_erased() {
        commit.erase(id);
    }
    Ok(commit)
}

/// Writes events for a user.
pub async fn try_write(store: &EventStore, id: Uuid, events: &[UserEvent]) -> Outcome {
    let loaded = store.load::<User>(id).await.unwrap();
    let commit = commit_of(store, id, (loaded.version, loaded.aggregate), events).await.unwrap();
    store.log().append(commit).await
}

/// Writes events for a user, which must succeed.
pub async fn write(store: &EventStore, id: Uuid, events: &[UserEvent]) {
    try_write(store, id, events).await.unwrap();
}

/// The events of one user, as the log keeps them.
pub async fn stored(store: &EventStore, id: Uuid) -> Vec<RecordedEvent> {
    store.log().stream("user", id, Position(i64::MAX)).await.unwrap()
}

/// The events of one user, as a server reads them.
pub async fn read(store: &EventStore, id: Uuid) -> Result<Vec<UserEvent>, StoreError> {
    let facts = store.log().read_facts(&stored(store, id).await).await?;
    let user_event = |event| {
        let Event::User(event) = event else { panic!("no event of a user: {event:?}") };
        event
    };
    Ok(facts.into_iter().map(|fact| user_event(fact.event)).collect())
}

/// True when a server sees nothing of what this registration said of the person.
pub fn is_forgotten(event: &UserEvent) -> bool {
    let UserEvent::Registered { email, password_hash, name, .. } = event else {
        panic!("no registration: {event:?}")
    };
    let hash = password_hash.as_ref().and_then(Personal::expose);
    email.expose().is_none() && hash.is_none() && name.expose().is_none()
}
