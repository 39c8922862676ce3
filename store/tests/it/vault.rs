//! The vault: what is personal is ciphertext in the tables, opens only in its place, and is gone with its
//! key.

use std::error::Error;

use orion_domain::values::{Ciphertext, Json, Personal, Score, Source, Topic};
use orion_domain::{Trend, TrendEvent, User, UserEvent};
use orion_store::{AppendError, Commit, EventStore, Metadata, Position, StoreError};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::fixtures::World;
use crate::people::{
    CLEAR, commit_of, described, fold, prefers, read, registered, stored, try_write, write,
};

const EMAIL: &str = "ada@example.org";

fn store_of(world: &World) -> EventStore {
    EventStore::new(world.log.clone())
}

async fn texts(world: &World, sql: &str) -> Vec<String> {
    sqlx::query_scalar(sql).fetch_all(&world.owner).await.unwrap()
}

/// All that an error says, and all that its causes say.
fn chain(error: &dyn Error) -> String {
    let below = error.source().map(chain).unwrap_or_default();
    format!("{error}: {below} {error:?}")
}

#[tokio::test]
async fn what_is_personal_is_ciphertext_in_the_log_and_comes_back() {
    let world = World::new().await;
    let (store, id) = (store_of(&world), Uuid::now_v7());
    let settings = json!({ "webhook_url": "https://ada.example/numbers" });
    let events = [registered(EMAIL), described(), prefers(settings)];
    write(&store, id, &events[..1]).await;
    write(&store, id, &events[1..]).await;

    let everything = texts(
        &world,
        "SELECT events::text FROM events UNION ALL SELECT claims::text FROM claims
         UNION ALL SELECT data_keys::text FROM data_keys",
    )
    .await
    .join("\n");
    for clear in CLEAR {
        assert!(!everything.contains(clear), "{clear} in {everything}");
    }
    let payload: Value = serde_json::from_str(&stored(&store, id).await[0].payload).unwrap();
    let fields = payload.as_object().unwrap();
    for (field, value) in fields {
        let is_open = ["role", "email_verified", "via"].contains(&field.as_str());
        assert_ne!(is_open, value["$sealed"].is_string(), "{field}");
    }
    assert_eq!((&payload["role"], &payload["email_verified"]), (&json!("editor"), &json!(true)));

    assert_eq!(read(&store, id).await.unwrap(), events);
    // A server that has sealed nothing of it reads the same.
    let other = EventStore::new(world.another_log().await);
    assert_eq!(read(&other, id).await.unwrap(), events);
    assert_eq!(other.load::<User>(id).await.unwrap().aggregate, fold(&events));
}

#[tokio::test]
async fn equal_values_do_not_look_alike() {
    let world = World::new().await;
    let store = store_of(&world);
    for n in 0..3 {
        write(&store, Uuid::now_v7(), &[registered(&format!("ada{n}@example.org"))]).await;
    }
    let sealed = texts(&world, "SELECT DISTINCT payload #>> '{name,$sealed}' FROM events").await;
    assert_eq!(sealed.len(), 3);
    let keys = texts(&world, "SELECT DISTINCT wrapped FROM data_keys").await;
    assert_eq!(keys.len(), 3);
}

/// Two users, whose events the owner may change.
struct Forgery {
    world: World,
    store: EventStore,
    ada: Uuid,
    bob: Uuid,
}

impl Forgery {
    async fn new() -> Self {
        let world = World::new().await;
        let store = store_of(&world);
        let (ada, bob) = (Uuid::now_v7(), Uuid::now_v7());
        let changed =
            UserEvent::PasswordChanged { password_hash: Personal::new("$2b$04$hash".to_owned()) };
        write(&store, ada, &[registered(EMAIL), changed]).await;
        write(&store, bob, &[registered("bob@example.org")]).await;
        sqlx::query("ALTER TABLE events DISABLE TRIGGER events_refuse_change")
            .execute(&world.owner)
            .await
            .unwrap();
        Self { world, store, ada, bob }
    }

    async fn payload(&self, position: i64) -> Value {
        let payload: String =
            sqlx::query_scalar("SELECT payload::text FROM events WHERE position = $1")
                .bind(position)
                .fetch_one(&self.world.owner)
                .await
                .unwrap();
        serde_json::from_str(&payload).unwrap()
    }

    async fn put(&self, position: i64, payload: &Value) {
        sqlx::query("UPDATE events SET payload = $2 WHERE position = $1")
            .bind(position)
            .bind(payload)
            .execute(&self.world.owner)
            .await
            .unwrap();
    }

    async fn execute(&self, sql: &str) {
        sqlx::query(sql).execute(&self.world.owner).await.unwrap();
    }

    /// Nobody can read the event at a position; the error says where it is, and nothing of what it is.
    async fn fails(&self, what: &str, user: Uuid, position: i64, place: &str) {
        let forged = self.payload(position).await.to_string();
        let events = self.world.log.read(Position(position - 1), 1).await.unwrap();
        let other = EventStore::new(self.world.another_log().await);
        for store in [&self.store, &other] {
            let by_position = store.log().read_facts(&events).await.expect_err(what);
            let StoreError::Unreadable { position: found, .. } = &by_position else {
                panic!("{what}: {by_position:?}")
            };
            assert_eq!(found.0, position, "{what}");
            let by_stream = store.load::<User>(user).await.expect_err(what);
            for error in [chain(&by_position), chain(&by_stream)] {
                assert!(error.contains(place), "{what}: {error}");
                assert!(error.contains(&user.to_string()), "{what}: {error}");
                let sealed = forged.split('"').filter(|text| text.len() > 40);
                for value in CLEAR.into_iter().chain(sealed) {
                    assert!(!error.contains(value), "{what}: {error}");
                }
            }
        }
    }
}

/// A change of a payload.
type Edit = fn(&mut Value);

#[tokio::test]
async fn a_ciphertext_that_was_changed_does_not_open() {
    let forgery = Forgery::new().await;
    let honest = forgery.payload(1).await;
    let garbage: [(&str, Edit); 13] = [
        ("cut short by a block", |sealed| *sealed = cut(sealed, 4)),
        ("cut within a block", |sealed| *sealed = cut(sealed, 1)),
        ("cut to less than a nonce", |sealed| *sealed = json!(&sealed.as_str().unwrap()[..60])),
        ("without a ciphertext", |sealed| *sealed = json!(&sealed.as_str().unwrap()[..37])),
        ("without its subject", |sealed| *sealed = json!(&sealed.as_str().unwrap()[37..])),
        ("with another first byte", |sealed| *sealed = flipped(sealed, 38)),
        ("with another last byte", |sealed| *sealed = flipped(sealed, 100)),
        ("under a key that is not there", |sealed| *sealed = under(sealed, Uuid::nil())),
        ("no text", |sealed| *sealed = json!(7)),
        ("null", |sealed| *sealed = Value::Null),
        ("empty", |sealed| *sealed = json!("")),
        ("a document", |sealed| *sealed = json!({ "$sealed": sealed.take() })),
        ("no ciphertext", |sealed| *sealed = json!("ada.example.org")),
    ];
    for (what, edit) in garbage {
        let mut payload = honest.clone();
        edit(&mut payload["name"]["$sealed"]);
        forgery.put(1, &payload).await;
        forgery.fails(what, forgery.ada, 1, "name of user.registered").await;
    }
    let mut payload = honest.clone();
    payload["name"]["$sealed"] = under(&honest["name"]["$sealed"], forgery.bob);
    forgery.put(1, &payload).await;
    forgery.fails("under a foreign key", forgery.ada, 1, "name of user.registered").await;

    forgery.put(1, &honest).await;
    assert_eq!(read(&forgery.store, forgery.ada).await.unwrap()[0], registered(EMAIL));
}

fn cut(sealed: &Value, by: usize) -> Value {
    let text = sealed.as_str().unwrap();
    json!(&text[..text.len() - by])
}

fn flipped(sealed: &Value, at: usize) -> Value {
    let text = sealed.as_str().unwrap();
    let other = if &text[at..=at] == "A" { "B" } else { "A" };
    json!(format!("{}{other}{}", &text[..at], &text[at + 1..]))
}

fn under(sealed: &Value, subject: Uuid) -> Value {
    json!(format!("{subject}{}", &sealed.as_str().unwrap()[36..]))
}

#[tokio::test]
async fn a_ciphertext_that_was_moved_does_not_open() {
    let forgery = Forgery::new().await;
    let (ada, bob) = (forgery.ada, forgery.bob);
    let [adas, changed, bobs] =
        [forgery.payload(1).await, forgery.payload(2).await, forgery.payload(3).await];

    let mut payload = adas.clone();
    payload["name"] = adas["email"].clone();
    forgery.put(1, &payload).await;
    forgery.fails("to another field", ada, 1, "name of user.registered").await;

    payload = adas.clone();
    payload["password_hash"] = changed["password_hash"].clone();
    forgery.put(1, &payload).await;
    forgery.fails("to another event", ada, 1, "password_hash of user.registered").await;
    forgery.put(1, &adas).await;

    payload = bobs.clone();
    payload["name"] = adas["name"].clone();
    forgery.put(3, &payload).await;
    forgery.fails("to another stream", bob, 3, "name of user.registered").await;
    forgery.put(3, &adas).await;
    forgery.fails("as a whole", bob, 3, "of user.registered").await;
    forgery.put(3, &bobs).await;

    forgery.execute("UPDATE events SET event_version = '2' WHERE position = 2").await;
    forgery.fails("to another version", ada, 2, "password_hash of user.password_changed").await;
    forgery.execute("UPDATE events SET event_version = '1' WHERE position = 2").await;
    assert_eq!(read(&forgery.store, ada).await.unwrap().len(), 2);
    assert_eq!(read(&forgery.store, bob).await.unwrap(), [registered("bob@example.org")]);
}

#[tokio::test]
async fn what_looks_sealed_or_marked_in_a_persons_own_document_is_left_as_it_is() {
    let world = World::new().await;
    let (store, id, other) = (store_of(&world), Uuid::now_v7(), Uuid::now_v7());
    write(&store, other, &[registered("bob@example.org")]).await;
    let stolen: Value = serde_json::from_str(&stored(&store, other).await[0].payload).unwrap();
    write(&store, other, &[crate::people::erased()]).await;
    let documents = [
        json!({ "$sealed": "x" }),
        json!({ "$personal": 1 }),
        json!({ "$personal": { "$sealed": null } }),
        json!({ "a": [{ "$personal": "x" }, { "$sealed": 7 }], "$sealed": "x" }),
        json!({ "$sealed": format!("{other}.AAAA") }),
        stolen["email"].clone(),
    ];
    let mut events = vec![registered(EMAIL)];
    events.extend(documents.map(prefers));
    write(&store, id, &events).await;
    let reader = EventStore::new(world.another_log().await);
    assert_eq!(read(&reader, id).await.unwrap(), events);
    for version in 2..=events.len() {
        let state = fold(&events[..version]);
        store.save_snapshot(id, i64::try_from(version).unwrap(), &state).await;
        assert_eq!(
            world.count("SELECT last_sequence FROM snapshots").await,
            i64::try_from(version).unwrap()
        );
        assert_eq!(reader.load::<User>(id).await.unwrap().aggregate, fold(&events));
    }

    // Where nothing is personal, nothing is searched.
    let raw = json!({ "$personal": { "$sealed": "x" }, "below": [{ "$sealed": "x" }, { "$personal": 1 }] });
    for raw in [raw, json!({ "$personal": 1 }), json!({ "$sealed": "x" })] {
        let (trend, detected) = (Uuid::now_v7(), detected(raw));
        let mut commit = Commit::new(Metadata::new());
        store
            .add(&mut commit, trend, 0, &Trend::default(), std::slice::from_ref(&detected))
            .await
            .unwrap();
        let appended = store.log().append(commit).await.unwrap();
        let events = reader.log().read(Position(appended.first.0 - 1), 1).await.unwrap();
        let facts = reader.log().read_facts(&events).await.unwrap();
        assert_eq!(facts[0].event, detected.into());
        assert_eq!(reader.load::<Trend>(trend).await.unwrap().version, 1);
    }
}

fn detected(raw_data: Value) -> TrendEvent {
    TrendEvent::Detected {
        topic: Topic::parse("Orion").unwrap(),
        source: Source::parse("test").unwrap(),
        score: Score::parse(0.5).unwrap(),
        raw_data: Some(Json::parse(raw_data, "rawData").unwrap()),
    }
}

#[tokio::test]
async fn a_snapshot_is_sealed_and_opens_only_in_its_place() {
    let world = World::new().await;
    let (store, ada, bob) = (store_of(&world), Uuid::now_v7(), Uuid::now_v7());
    write(&store, ada, &[registered(EMAIL), described()]).await;
    write(&store, bob, &[registered("bob@example.org"), prefers(json!({ "a": 1 }))]).await;
    // Another state than the stream's shows that the snapshot was read.
    let different = fold(&[registered("other@example.org"), described()]);
    store.save_snapshot(ada, 2, &different).await;
    let [payload] = &texts(&world, "SELECT payload::text FROM snapshots").await[..] else {
        panic!("one snapshot")
    };
    for clear in CLEAR.into_iter().chain(["other@example.org"]) {
        assert!(!payload.contains(clear), "{clear} in {payload}");
    }
    let reader = EventStore::new(world.another_log().await);
    assert_eq!(reader.load::<User>(ada).await.unwrap().aggregate, different);

    // Under another user it does not open, and the stream is read instead.
    sqlx::query(
        "INSERT INTO snapshots SELECT aggregate_type, $1, last_sequence, current_snapshot, payload FROM snapshots",
    )
    .bind(bob.to_string())
    .execute(&world.owner)
    .await
    .unwrap();
    let bobs = fold(&[registered("bob@example.org"), prefers(json!({ "a": 1 }))]);
    assert_eq!(reader.load::<User>(bob).await.unwrap().aggregate, bobs);
    // Nor does a part of it under another field.
    sqlx::query(
        "UPDATE snapshots SET payload = jsonb_set(payload::jsonb, '{settings}', payload::jsonb -> 'email')
         WHERE aggregate_id = $1",
    )
    .bind(ada.to_string())
    .execute(&world.owner)
    .await
    .unwrap();
    let adas = fold(&[registered(EMAIL), described()]);
    assert_eq!(reader.load::<User>(ada).await.unwrap().aggregate, adas);
}

#[tokio::test]
async fn what_was_not_sealed_is_not_appended() {
    let mut commit = Commit::new(Metadata::new());
    for event in [registered(EMAIL), described(), prefers(json!({}))] {
        let refused = commit.append::<User>(Uuid::now_v7(), 0, &[event]);
        assert!(matches!(refused, Err(StoreError::Unsealed)), "{refused:?}");
    }
    assert!(commit.is_empty());
    commit.append::<User>(Uuid::now_v7(), 0, &[UserEvent::Deactivated {}]).unwrap();
}

#[tokio::test]
async fn a_refused_commit_leaves_no_key() {
    let world = World::new().await;
    let (store, ada) = (store_of(&world), Uuid::now_v7());
    write(&store, ada, &[registered(EMAIL)]).await;
    let keys = async || world.count("SELECT count(*) FROM data_keys").await;
    assert_eq!(keys().await, 1);

    let taken = try_write(&store, Uuid::now_v7(), &[registered(EMAIL)]).await;
    assert!(matches!(taken, Err(AppendError::Taken { .. })), "{taken:?}");
    let bob = [registered("bob@example.org")];
    let commit = commit_of(&store, Uuid::now_v7(), (3, User::default()), &bob).await.unwrap();
    let conflict = store.log().append(commit).await;
    assert!(matches!(conflict, Err(AppendError::Conflict)), "{conflict:?}");
    assert_eq!(keys().await, 1);

    // Nor do those that are refused in one batch with others.
    let other = EventStore::new(world.another_log().await);
    let same = [registered("same@example.org")];
    let many = (0..8).map(|n| {
        let (store, same) = (if n % 2 == 0 { &store } else { &other }, &same);
        async move { try_write(store, Uuid::now_v7(), same).await.is_ok() }
    });
    let written = futures::future::join_all(many).await;
    assert_eq!(written.into_iter().filter(|ok| *ok).count(), 1);
    assert_eq!(keys().await, 2);
    let orphans = "SELECT count(*) FROM data_keys k WHERE NOT EXISTS
                   (SELECT FROM events WHERE aggregate_id = k.subject::text)";
    assert_eq!(world.count(orphans).await, 0);
}

#[tokio::test]
async fn a_text_opens_only_in_its_place() {
    let world = World::new().await;
    let (store, id) = (store_of(&world), Uuid::now_v7());
    let mut commit = Commit::new(Metadata::new());
    let sealed = store.seal_text(&mut commit, id, "here", "hunter2").await.unwrap();
    store.add(&mut commit, id, 0, &fold(&[registered(EMAIL)]), &[registered(EMAIL)]).await.unwrap();
    store.log().append(commit).await.unwrap();
    assert!(
        !sealed.as_str().contains("hunter2") && !format!("{sealed:?}").contains(sealed.as_str())
    );

    let vault = store.log().vault();
    assert_eq!(vault.open_text("here", &sealed).await.unwrap(), "hunter2");
    let text = sealed.as_str();
    let foreign = format!("{}{}", Uuid::now_v7(), &text[36..]);
    let garbage = [&text[..text.len() - 4], &text[..36], "", "hunter2", foreign.as_str()];
    let failed = vault.open_text("there", &sealed).await.unwrap_err();
    assert_eq!(failed.to_string(), "the ciphertext of there does not open");
    for garbage in garbage {
        let failed = vault.open_text("here", &Ciphertext::new(garbage.to_owned())).await;
        let failed = failed.unwrap_err().to_string();
        assert_eq!(failed, "the ciphertext of here does not open", "{garbage}");
    }
}
