//! Streams in which events of an older version lie beside those of today.

use orion_domain::session::Token;
use orion_domain::values::{
    Email, Name, Personal, RefreshTokenId, RegisteredVia, RevocationReason, Role, TokenHash, UserId,
};
use orion_domain::{Event, Session, SessionEvent, User, UserEvent};
use orion_store::testing::append_as_earlier;
use orion_store::{Commit, EventStore, Metadata, Position};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::fixtures::World;
use crate::people::{erased, fold, is_forgotten, named, read, stored, write};

const TOKEN: RefreshTokenId = RefreshTokenId(Uuid::from_u128(7));

/// The fields of version 1, their personal values clear.
fn registered_1(password_hash: Option<&str>) -> Value {
    let mut fields = json!({
        "email": { "$personal": "ada@example.org" }, "name": { "$personal": "Ada Lovelace" },
        "role": "editor", "email_verified": true,
    });
    if let Some(hash) = password_hash {
        fields["password_hash"] = json!({ "$personal": hash });
    }
    fields
}

/// The same as it is read today.
fn registered_today(password_hash: Option<&str>, via: RegisteredVia) -> UserEvent {
    UserEvent::Registered {
        email: Personal::new(Email::parse("ada@example.org").unwrap()),
        password_hash: password_hash.map(|hash| Personal::new(hash.to_owned())),
        name: Personal::new(Name::parse("Ada Lovelace").unwrap()),
        role: Role::Editor,
        email_verified: true,
        via,
    }
}

/// A user whom a server of version 1 has registered.
async fn with_old_user(password_hash: Option<&str>) -> (World, EventStore, Uuid) {
    let (world, id) = (World::new().await, Uuid::now_v7());
    let store = EventStore::new(world.log.clone());
    let event = ("user.registered", "1", registered_1(password_hash));
    append_as_earlier(&store, id, 0, User::default(), &[event]).await;
    (world, store, id)
}

#[tokio::test]
async fn an_old_registration_opens_and_is_lifted() {
    for (hash, via) in
        [(Some("$2b$04$hash"), RegisteredVia::Password), (None, RegisteredVia::Provider)]
    {
        let (world, store, id) = with_old_user(hash).await;
        write(&store, id, &[named("countess")]).await;
        let events = [registered_today(hash, via), named("countess")];

        let rows = stored(&store, id).await;
        assert_eq!(rows[0].event_version, "1", "it is kept as it was written");
        assert!(rows[0].payload.contains("$sealed") && !rows[0].payload.contains("Ada"));
        assert_eq!(read(&store, id).await.unwrap(), events);
        let other = EventStore::new(world.another_log().await);
        let loaded = other.load::<User>(id).await.unwrap();
        assert_eq!((loaded.version, loaded.aggregate), (2, fold(&events)));
        let envelopes =
            cqrs_es::EventStore::<User>::load_events(&store, &id.to_string()).await.unwrap();
        assert!(envelopes.into_iter().map(|envelope| envelope.payload).eq(events));
    }
}

#[tokio::test]
async fn a_snapshot_changes_nothing_of_that() {
    let hash = Some("$2b$04$hash");
    let (_world, store, id) = with_old_user(hash).await;
    let events = [registered_today(hash, RegisteredVia::Password), named("countess")];
    let loaded = store.load::<User>(id).await.unwrap();
    store.save_snapshot(id, 1, &loaded.aggregate).await;
    write(&store, id, &events[1..]).await;
    let loaded = store.load::<User>(id).await.unwrap();
    assert_eq!((loaded.version, loaded.aggregate), (2, fold(&events)));
}

#[tokio::test]
async fn an_old_registration_of_an_erased_person_is_read() {
    for (hash, expected) in
        [(Some("$2b$04$hash"), RegisteredVia::Password), (None, RegisteredVia::Provider)]
    {
        let (_world, store, id) = with_old_user(hash).await;
        write(&store, id, &[erased()]).await;
        let events = read(&store, id).await.unwrap();
        assert!(is_forgotten(&events[0]));
        let UserEvent::Registered { via, .. } = &events[0] else { panic!("{events:?}") };
        assert_eq!(*via, expected);
        assert!(store.load::<User>(id).await.unwrap().aggregate.is_erased());
    }
}

#[tokio::test]
async fn what_was_sealed_for_one_version_does_not_open_in_another() {
    let (world, store, id) = with_old_user(Some("$2b$04$hash")).await;
    for sql in [
        "ALTER TABLE events DISABLE TRIGGER events_refuse_change",
        "UPDATE events SET event_version = '2'",
    ] {
        sqlx::query(sql).execute(&world.owner).await.unwrap();
    }
    assert!(read(&store, id).await.is_err());
    assert!(store.load::<User>(id).await.is_err());
}

fn started() -> SessionEvent {
    let token = Token {
        token_id: TOKEN,
        token_hash: TokenHash::new("5f2c".to_owned()),
        expires_at: "2026-03-01T12:00:00Z".parse().unwrap(),
    };
    SessionEvent::Started { user_id: UserId(Uuid::from_u128(1)), token, ip: None, user_agent: None }
}

#[tokio::test]
async fn sessions_that_ended_in_either_version_have_ended() {
    let world = World::new().await;
    let store = EventStore::new(world.log.clone());
    for (version, reason, expected) in [
        ("1", "logout", RevocationReason::Logout),
        ("1", "the laptop was stolen", RevocationReason::Revoked),
        ("2", "reuse", RevocationReason::Reuse),
    ] {
        let id = Uuid::now_v7();
        let mut commit = Commit::new(Metadata::new());
        commit.append::<Session>(id, 0, &[started()]).unwrap();
        store.log().append(commit).await.unwrap();
        let state = store.load::<Session>(id).await.unwrap().aggregate;
        let fields = json!({ "token_id": TOKEN, "reason": reason });
        append_as_earlier(&store, id, 1, state, &[("session.revoked", version, fields)]).await;

        let loaded = store.load::<Session>(id).await.unwrap();
        assert!(loaded.aggregate.is_revoked(), "{reason}");
        assert_eq!(loaded.version, 2);
        let rows = store.log().stream("session", id, Position(i64::MAX)).await.unwrap();
        assert!(rows[1].payload.contains(reason), "it is kept as it was written");
        let facts = store.log().read_facts(&rows).await.unwrap();
        let revoked = SessionEvent::Revoked { token_id: TOKEN, reason: expected };
        assert!(facts[1].event == Event::Session(revoked), "{reason}: {:?}", facts[1].event);
    }
}

#[tokio::test]
async fn a_version_of_the_future_is_not_read() {
    let world = World::new().await;
    let (store, id) = (EventStore::new(world.log.clone()), Uuid::now_v7());
    append_as_earlier(
        &store,
        id,
        0,
        User::default(),
        &[("user.registered", "3", registered_1(None))],
    )
    .await;
    let error = store.load::<User>(id).await.unwrap_err();
    let mut chain = error.to_string();
    let mut below = std::error::Error::source(&error);
    while let Some(cause) = below {
        chain = format!("{chain}: {cause}");
        below = cause.source();
    }
    assert!(chain.contains("unknown event type user.registered version 3"), "{chain}");
    assert!(read(&store, id).await.is_err());
}
