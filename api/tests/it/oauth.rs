//! Sign-in at GitHub and Google: signing up, logging in, linking and unlinking.

use orion_store::testing::{TestDatabase, database};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::browser::{Browser, location};
use crate::client::{Client, http};
use crate::log::Records;
use crate::people::id_at;
use crate::provider::{Person, Provider, ada, bob};
use crate::server::{Server, Settings};

/// A server that knows a provider.
pub struct Stage {
    /// The provider.
    pub provider: Provider,
    /// Dropped before the database.
    pub server: Server,
    /// What is in the database.
    pub records: Records,
    _database: TestDatabase,
}

impl Stage {
    /// Starts all.
    pub async fn new() -> Self {
        Self::with(|settings| settings).await
    }

    /// The same with other settings.
    pub async fn with(settings: impl FnOnce(Settings) -> Settings) -> Self {
        let (database, provider) = (database().await, Provider::start().await);
        let server = Server::with(settings(provider.known_to(Settings::on(&database.url)))).await;
        let records = Records::of(&database.url).await;
        Self { provider, server, records, _database: database }
    }

    /// Signs in somebody who is signed in at the provider.
    pub async fn signed_in(&self, provider: &str, person: Person) -> (Client, String) {
        self.provider.is_used_by(person);
        let page = Browser::new().sign_in(&self.server, provider).await.done();
        let token = page["accessToken"].as_str().unwrap();
        (self.server.anonymous().with_token(token), id_at(&page, "/user/id"))
    }

    /// Links an identity to who is signed in; gives the link's id.
    pub async fn linked(&self, client: &Client, provider: &str) -> String {
        let mut browser = Browser::new();
        let url = browser.link(client, provider).await;
        let path = browser.at_provider(&url).await;
        id_at(&browser.back(&self.server, &path).await.done(), "/oauthAccountId")
    }

    /// How many events of a type there are.
    pub async fn events(&self, event_type: &str) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = $1")
            .bind(event_type)
            .fetch_one(&self.records.pool)
            .await
            .unwrap()
    }
}

/// The identities of who is signed in: id and provider.
pub async fn identities(client: &Client) -> Vec<(String, String)> {
    let query = "{ me { oauthAccounts { nodes { id provider } } } }";
    let me = client.query(query, json!({})).await;
    let nodes = me["me"]["oauthAccounts"]["nodes"].as_array().unwrap().clone();
    nodes.iter().map(|node| (id_at(node, "/id"), id_at(node, "/provider"))).collect()
}

async fn unlink(client: &Client, id: &str) -> crate::client::Payload {
    client.mutate("unlinkOAuthAccount", json!({ "oauthAccountId": id }), "user { id }").await
}

#[tokio::test]
async fn a_new_identity_signs_up_and_a_known_one_logs_in() {
    let stage = Stage::new().await;
    for (provider, person) in [("github", ada()), ("google", bob())] {
        stage.provider.is_used_by(person.clone());
        let before = stage.records.head().await;
        let page = Browser::new().sign_in(&stage.server, provider).await.done();
        let (email, name) = (person.email.unwrap(), person.name);
        let user = json!({ "id": page["user"]["id"], "email": email, "name": name,
            "role": "VIEWER", "emailVerified": true });
        assert_eq!(page["user"], user);
        let types: Vec<String> = sqlx::query_scalar(
            "SELECT event_type FROM events WHERE position > $1 ORDER BY position",
        )
        .bind(before)
        .fetch_all(&stage.records.pool)
        .await
        .unwrap();
        let expected =
            ["user.registered", "user.oauth_account_linked", "session.started", "user.logged_in"];
        assert_eq!(types, expected);

        let client = stage.server.anonymous().with_token(page["accessToken"].as_str().unwrap());
        let query =
            "{ me { email oauthAccounts { nodes { provider providerUserId providerEmail } } } }";
        let me = client.query(query, json!({})).await;
        let identity = &me["me"]["oauthAccounts"]["nodes"][0];
        assert_eq!(identity["providerUserId"], person.id.to_string());
        assert_eq!(identity["providerEmail"], email);
        let refresh = json!({ "refreshToken": page["refreshToken"] });
        client.mutate("refreshSession", refresh, "user { id }").await.done();

        // Whatever they call themselves now: the id at the provider says who it is.
        let renamed = Person { email: None, verified: false, name: "x", ..person };
        let (_, id) = stage.signed_in(provider, renamed).await;
        assert_eq!(page["user"]["id"], id);
    }
    assert_eq!(stage.events("user.registered").await, 1 + 1 + 2, "system, admin, two people");
    stage.records.assert_projected().await;
}

#[tokio::test]
async fn the_same_id_at_another_provider_is_somebody_else() {
    let stage = Stage::new().await;
    let (_, at_github) = stage.signed_in("github", ada()).await;
    let bob = Person { id: ada().id, name: " ", ..bob() };
    let (client, at_google) = stage.signed_in("google", bob).await;
    assert_ne!(at_github, at_google);
    // Who has no name there is called as the address begins.
    assert_eq!(client.query("{ me { name } }", json!({})).await["me"]["name"], "bob");
}

#[tokio::test]
async fn an_identity_is_linked_to_who_has_asked_for_it() {
    let stage = Stage::new().await;
    let (client, id) = stage.server.anonymous().register("ada").await;
    stage.provider.is_used_by(Person { email: Some("other@example.org"), ..ada() });
    let mut browser = Browser::new();
    let url = browser.link(&client, "github").await;
    let path = browser.at_provider(&url).await;
    let page = browser.back(&stage.server, &path).await.done();
    // The browser has shown a cookie, and no more than that: it gets no tokens.
    assert_eq!(page["accessToken"], Value::Null);
    assert_eq!(page["refreshToken"], Value::Null);
    assert_eq!(page["user"]["id"], id);
    let link = id_at(&page, "/oauthAccountId");
    assert_eq!(identities(&client).await, [(link.clone(), "GITHUB".to_owned())]);
    let actor: String = sqlx::query_scalar(
        "SELECT metadata ->> 'actor' FROM events WHERE event_type = 'user.oauth_account_linked'",
    )
    .fetch_one(&stage.records.pool)
    .await
    .unwrap();
    assert_eq!(actor, id);

    let (_, signed_in) = stage.signed_in("github", ada()).await;
    assert_eq!(signed_in, id);
    // She has a password, so it may go again, and is free for another then.
    unlink(&client, &link).await.done();
    let (_, another) =
        stage.signed_in("github", Person { email: Some("other@example.org"), ..ada() }).await;
    assert_ne!(another, id);
}

#[tokio::test]
async fn the_last_way_to_sign_in_stays() {
    let stage = Stage::new().await;
    let (client, _) = stage.signed_in("github", ada()).await;
    let github = identities(&client).await[0].0.clone();
    unlink(&client, &github).await.refused("LAST_LOGIN", "oauthAccountId");
    let google = stage.linked(&client, "google").await;
    unlink(&client, &github).await.done();
    unlink(&client, &google).await.refused("LAST_LOGIN", "oauthAccountId");
    let (_, other) = stage.signed_in("google", bob()).await;
    let (bob, bob_id) = stage.signed_in("google", bob()).await;
    assert_eq!(other, bob_id);
    unlink(&bob, &google).await.refused("NOT_FOUND", "oauthAccountId");
}

#[tokio::test]
async fn an_identity_belongs_to_one_user() {
    let stage = Stage::new().await;
    let (ada_client, _) = stage.signed_in("github", ada()).await;
    let (bob_client, _) = stage.server.anonymous().register("bob").await;
    let link = async |client: &Client| {
        let mut browser = Browser::new();
        let url = browser.link(client, "github").await;
        let path = browser.at_provider(&url).await;
        browser.back(&stage.server, &path).await
    };
    stage.provider.is_used_by(ada());
    link(&bob_client).await.refused(409, "OAUTH_ACCOUNT_TAKEN");
    link(&ada_client).await.refused(409, "ALREADY_LINKED");
    assert_eq!(identities(&bob_client).await, []);
    assert_eq!(identities(&ada_client).await.len(), 1);
}

#[tokio::test]
async fn of_two_at_once_one_signs_up_and_both_are_in() {
    let stage = Stage::new().await;
    let arrive = async || {
        let mut browser = Browser::new();
        let url = browser.start(&stage.server, "github").await;
        let path = browser.at_provider(&url).await;
        (browser, path)
    };
    let mut waiting = Vec::new();
    for _ in 0..8 {
        waiting.push(arrive().await);
    }
    let all = waiting.iter_mut().map(|(browser, path)| browser.back(&stage.server, path));
    let pages = futures::future::join_all(all).await;
    let ids: Vec<Value> = pages.into_iter().map(|page| page.done()["user"]["id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(stage.events("user.oauth_account_linked").await, 1);
    assert_eq!(stage.events("session.started").await, 8);
    stage.records.assert_projected().await;
}

#[tokio::test]
async fn the_provider_s_tokens_are_kept_as_ciphertext_and_no_secret_is_logged() {
    let stage = Stage::new().await;
    let page = Browser::new().sign_in(&stage.server, "github").await.done();
    let tokens = stage.provider.tokens();
    let (kept, payload): (String, String) = sqlx::query_as(
        "SELECT a.access_token, e.payload::text FROM orion.oauth_accounts a, events e
         WHERE e.event_type = 'user.oauth_account_linked'",
    )
    .fetch_one(&stage.records.pool)
    .await
    .unwrap();
    let said = stage.server.stderr() + &stage.server.stdout();
    for secret in &tokens {
        assert!(!kept.contains(secret) && !payload.contains(secret));
        assert!(!said.contains(secret), "{said}");
    }
    for secret in ["accessToken", "refreshToken"] {
        assert!(!said.contains(page[secret].as_str().unwrap()), "{said}");
    }
}

#[tokio::test]
async fn the_browser_carries_no_secret_and_the_cookie_is_for_the_dance_only() {
    let stage = Stage::new().await;
    let url = format!("{}/auth/github/start", stage.server.url());
    let answer = Browser::new().go(&url).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    let (name, rest) = cookie.split_once('=').unwrap();
    let (value, attributes) = rest.split_once("; ").unwrap();
    assert_eq!(name, "orion-oauth");
    assert_eq!(attributes, "Max-Age=600; Path=/auth; HttpOnly; SameSite=Lax");
    let sent = location(&answer);
    let query: std::collections::BTreeMap<_, _> =
        reqwest::Url::parse(&sent).unwrap().query_pairs().into_owned().collect();
    assert_eq!(query["code_challenge_method"], "S256");
    assert_eq!(query["redirect_uri"], "http://127.0.0.1:8000/auth/github/callback");
    assert!(!sent.contains("secret"), "{sent}");
    assert!(!value.contains(&query["state"]));
    // Nowhere else does the cookie count.
    let me = format!("{}/api/v1/auth/me", stage.server.url());
    let me = http().get(me).header("cookie", format!("{name}={value}")).send().await.unwrap();
    assert_eq!(me.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn behind_https_the_cookie_is_secure_and_of_this_host_only() {
    let stage =
        Stage::with(|settings| settings.with("ORION_PUBLIC_URL", "https://orion.example")).await;
    let url = format!("{}/auth/google/start", stage.server.url());
    let answer = Browser::new().go(&url).await;
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.starts_with("__Host-orion-oauth="), "{cookie}");
    assert!(cookie.ends_with("; Max-Age=600; Path=/; Secure; HttpOnly; SameSite=Lax"), "{cookie}");
    assert!(location(&answer).contains("https%3A%2F%2Forion.example%2Fauth%2Fgoogle%2Fcallback"));
    let page = Browser::new().sign_in(&stage.server, "google").await;
    assert!(page.headers.contains("__Host-orion-oauth=; Max-Age=0; Path=/; Secure"), "{page:?}");
    page.done();
}
