//! Erasure and the change of keys, with the real program.

use orion_store::testing::{TestDatabase, database};
use serde_json::{Value, json};

use crate::client::Client;
use crate::log::Records;
use crate::people::id_at;
use crate::server::{ADMIN_PASSWORD, DataDir, Ended, Server, Settings};

/// 32 times the byte 9, and 32 times the byte 7, which is the key of tests.
const NEW_KEY: &str = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=";
const OLD_KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

/// What is personal of Ada here.
const CLEAR: [&str; 8] = [
    "ada@example.org",
    "Ada Lovelace",
    "countess_of_numbers",
    "Augusta",
    "Byron",
    "https://ada.example/me.png",
    "poetical science",
    "https://ada.example/hook",
];

/// Gives an editor a face, preferences and a social account; gives the account's id.
async fn describe(ada: &Client) -> String {
    let profile = json!({ "name": "Ada Lovelace", "username": "countess_of_numbers",
        "firstName": "Augusta", "lastName": "Byron", "avatarUrl": "https://ada.example/me.png",
        "bio": "poetical science", "timezone": "Europe/London" });
    ada.mutate("updateProfile", profile, "").await.done();
    let settings = json!({ "settings": { "notification_preferences": { "webhook_url": "https://ada.example/hook" } } });
    ada.mutate("updateSettings", settings, "").await.done();
    let account = json!({ "platform": "youtube", "displayName": "Ada Lovelace on air",
        "credentials": "a credential of youtube" });
    let connected =
        ada.mutate("connectSocialAccount", account, "socialAccount { id }").await.done();
    id_at(&connected, "/socialAccount/id")
}

/// Every row of the read side, as one text.
async fn tables(records: &Records) -> String {
    let mut all = String::new();
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables
         WHERE table_schema IN ('orion', 'orion_internal') OR table_schema LIKE 'orion%'",
    )
    .fetch_all(&records.pool)
    .await
    .unwrap();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let rows = format!("SELECT coalesce(string_agg(t::text, ' '), '') FROM {name} t");
        let rows: String = sqlx::query_scalar(&rows).fetch_one(&records.pool).await.unwrap();
        all.push_str(&rows);
    }
    all
}

/// A row of the read side.
async fn row(records: &Records, table: &str, column: &str, id: &str) -> Value {
    let sql = format!("SELECT to_jsonb(t) FROM orion.{table} t WHERE {column} = $1::uuid");
    sqlx::query_scalar(&sql).bind(id).fetch_one(&records.pool).await.unwrap()
}

#[tokio::test]
async fn an_erased_user_is_gone_from_every_server_at_once() {
    let database = database().await;
    // Any 32 bytes will do: tokens of the one are good at the other.
    let settings = Settings::on(&database.url).with("ORION_TOKEN_KEY", NEW_KEY);
    let first = Server::with(settings.clone()).await;
    let second = Server::with(settings).await;
    let records = Records::of(&database.url).await;
    let (admin, ada) = (first.admin().await, first.editor("ada").await);
    let account = describe(&ada).await;
    let me = ada.at(second.url()).query("{ me { id email } }", json!({})).await;
    let ada_id = id_at(&me, "/me/id");
    assert_eq!(me["me"]["email"], "ada@example.org");
    let login = json!({ "email": "ada@example.org", "password": ADMIN_PASSWORD });
    let signed_in = second.anonymous().mutate("login", login, "refreshToken").await.done();
    let before = tables(&records).await;
    for clear in CLEAR {
        assert!(before.contains(clear), "{clear} is not there to be forgotten");
    }

    let selection = "user { id email name username isActive }";
    let erased = admin.mutate("eraseUser", json!({ "userId": ada_id }), selection).await.done();
    let placeholder = format!("erased-{ada_id}@erased.invalid");
    assert_eq!(
        erased["user"],
        json!({ "id": ada_id, "email": placeholder, "name": "Erased user", "username": null,
                "isActive": false })
    );
    for server in [&first, &second] {
        ada.at(server.url()).ask("{ me { id } }", json!({})).await.fails("UNAUTHENTICATED");
        let token = json!({ "refreshToken": signed_in["refreshToken"] });
        let refreshed = server.anonymous().mutate("refreshSession", token, "").await;
        assert!(refreshed.code().is_some(), "{refreshed:?}");
        let login = json!({ "email": "ada@example.org", "password": ADMIN_PASSWORD });
        server.anonymous().mutate("login", login, "").await.refused("INVALID_CREDENTIALS", None);
    }
    let again = admin.mutate("eraseUser", json!({ "userId": ada_id }), "").await;
    again.refused("USER_ERASED", "userId");

    records.reacted("erase_belongings").await;
    records.assert_projected().await;
    let after = tables(&records).await;
    for clear in CLEAR {
        assert!(!after.contains(clear), "{clear} is still there");
    }
    let user = row(&records, "users", "id", &ada_id).await;
    let mut expected = json!({ "id": ada_id, "email": placeholder, "password_hash": null,
        "name": "Erased user", "avatar_url": null, "bio": null, "timezone": "UTC", "role": "editor",
        "email_verified": false, "is_active": false, "first_name": null, "last_name": null,
        "username": null });
    for time in ["last_login_at", "created_at", "updated_at"] {
        expected[time] = user[time].clone();
    }
    assert_eq!(user, expected);
    let account = row(&records, "social_accounts", "id", &account).await;
    assert_eq!(account["display_name"], "Erased account");
    assert_eq!((&account["credentials"], &account["is_active"]), (&json!(""), &json!(false)));
    let tokens = "SELECT count(*) FROM orion.refresh_tokens WHERE user_id = $1::uuid";
    let tokens: i64 =
        sqlx::query_scalar(tokens).bind(&ada_id).fetch_one(&records.pool).await.unwrap();
    assert_eq!(tokens, 0);

    // The address and the name are somebody else's now, on the other server.
    let (new, new_id) = second.anonymous().register("ada").await;
    assert_ne!(new_id, ada_id);
    let name = json!({ "username": "countess_of_numbers" });
    new.mutate("updateProfile", name, "user { username }").await.done();
    records.assert_projected().await;
    records.assert_in_order().await;
}

#[tokio::test]
async fn one_forgets_oneself_and_a_restart_changes_nothing() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let records = Records::of(&database.url).await;
    let (ada, ada_id) = server.anonymous().register("ada").await;
    let (eve, _) = server.anonymous().register("eve").await;
    eve.mutate("eraseUser", json!({ "userId": ada_id }), "").await.refused("NOT_FOUND", "userId");
    let admin = server.admin().await;
    let me = admin.query("{ me { id } }", json!({})).await;
    let own = admin.mutate("eraseUser", json!({ "userId": me["me"]["id"] }), "").await;
    own.refused("OWN_ACCOUNT", "userId");
    let anonymous = crate::client::mutation("eraseUser", "");
    let input = json!({ "input": { "userId": ada_id } });
    server.anonymous().ask(&anonymous, input).await.fails("UNAUTHENTICATED");

    ada.mutate("eraseUser", json!({ "userId": ada_id }), "").await.done();
    ada.ask("{ me { id } }", json!({})).await.fails("UNAUTHENTICATED");
    records.reacted("erase_belongings").await;
    records.assert_projected().await;
    let before = row(&records, "users", "id", &ada_id).await;
    let server = server.terminate().await.1.start_again().await;
    ada.at(server.url()).ask("{ me { id } }", json!({})).await.fails("UNAUTHENTICATED");
    assert_eq!(row(&records, "users", "id", &ada_id).await, before);
    records.assert_projected().await;
}

async fn run(database: &TestDatabase, command: &'static str, key: &str, old: &str) -> Ended {
    let settings = Settings::on(&database.url).with("ORION_MASTER_KEY", key);
    let settings =
        if old.is_empty() { settings } else { settings.with("ORION_MASTER_KEY_OLD", old) };
    settings.doing(command).run_to_end(&DataDir::fresh()).await
}

/// It did what it was to do, and said so in one line.
#[track_caller]
fn said(ended: &Ended, line: &str) {
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(ended.stdout.trim_end(), line, "{ended:?}");
    assert_eq!(ended.stdout.lines().count(), 1, "{ended:?}");
}

/// It was refused, in one line that shows no key.
#[track_caller]
fn refused(ended: &Ended, with: &str) {
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(ended.stderr.starts_with("orion: ") && ended.stderr.contains(with), "{ended:?}");
    assert!(ended.stdout.is_empty(), "{ended:?}");
    for key in [NEW_KEY, OLD_KEY] {
        assert!(!ended.stderr.contains(key), "{ended:?}");
    }
}

#[tokio::test]
async fn the_master_key_is_replaced_by_a_command() {
    let database = database().await;
    let records = Records::of(&database.url).await;
    let server = Server::start(&database.url).await;
    server.anonymous().register("ada").await;
    let keys = "SELECT (SELECT count(*) FROM data_keys) + (SELECT count(*) FROM server_keys)";
    let keys: i64 = sqlx::query_scalar(keys).fetch_one(&records.pool).await.unwrap();
    let events = "SELECT md5(string_agg(events::text, ' ' ORDER BY position)) FROM events";
    let before: String = sqlx::query_scalar(events).fetch_one(&records.pool).await.unwrap();

    for (key, old) in [(NEW_KEY, ""), (NEW_KEY, NEW_KEY)] {
        let foreign = run(&database, "rewrap-keys", key, old).await;
        refused(&foreign, "the database was begun with another master key");
    }
    refused(&run(&database, "rewrap-keys", "short", "").await, "ORION_MASTER_KEY");
    let line = |count: i64| format!("{count} keys were wrapped by the present master key");
    said(&run(&database, "rewrap-keys", NEW_KEY, OLD_KEY).await, &line(keys));
    said(&run(&database, "rewrap-keys", NEW_KEY, OLD_KEY).await, &line(0));
    said(&run(&database, "rewrap-keys", NEW_KEY, "").await, &line(0));
    let after: String = sqlx::query_scalar(events).fetch_one(&records.pool).await.unwrap();
    assert_eq!(before, after);
    drop(server);

    let old = Settings::on(&database.url).run_to_end(&DataDir::fresh()).await;
    refused(&old, "ORION_MASTER_KEY: the database was begun with another master key");
    let settings = Settings::on(&database.url).with("ORION_MASTER_KEY", NEW_KEY);
    let server = Server::with(settings).await;
    let ada = server.anonymous().sign_in("ada@example.org", ADMIN_PASSWORD).await;
    ada.query("{ me { email name } }", json!({})).await;
}

#[tokio::test]
async fn the_claims_key_is_replaced_by_a_command() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let (_, gone) = server.anonymous().register("gone").await;
    server.anonymous().register("ada").await;
    server.admin().await.mutate("eraseUser", json!({ "userId": gone }), "").await.done();

    let foreign = run(&database, "rotate-claims-key", NEW_KEY, "").await;
    refused(&foreign, "the database was begun with another master key");
    // The admin's, Orion's own and Ada's.
    let rotated = run(&database, "rotate-claims-key", OLD_KEY, "").await;
    said(&rotated, "3 claims were hashed with a new key; restart the servers");

    // A server that was started before neither finds nor takes an address.
    let eve = json!({ "email": "eve@example.org", "password": ADMIN_PASSWORD, "name": "Eve" });
    let register = crate::client::mutation("register", "");
    let refused = server.anonymous().ask(&register, json!({ "input": eve })).await;
    assert!(refused.code().is_some(), "{refused:?}");
    let server = server.terminate().await.1.start_again().await;
    server.anonymous().sign_in("ada@example.org", ADMIN_PASSWORD).await;
    let ada = json!({ "email": "Ada@Example.org", "password": ADMIN_PASSWORD, "name": "Ada" });
    server.anonymous().mutate("register", ada, "").await.refused("EMAIL_TAKEN", "email");
    for name in ["eve", "gone"] {
        server.anonymous().register(name).await;
    }
    Records::of(&database.url).await.assert_projected().await;
}

#[tokio::test]
async fn a_command_without_its_database_is_refused_in_one_line() {
    for command in ["rewrap-keys", "rotate-claims-key"] {
        let settings = Settings::on("postgres://orion:hunter2@127.0.0.1:1/none").doing(command);
        let ended = settings.run_to_end(&DataDir::fresh()).await;
        refused(&ended, "");
        assert!(!ended.stderr.contains("hunter2"), "{ended:?}");
    }
}
