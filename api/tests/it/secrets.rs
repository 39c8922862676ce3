//! A walk through everything, and then a search for what was secret or personal in it: in the log, in
//! what is kept beside it, in the log lines, the figures and the errors.
//!
//! What was said in clear may be in these places only: the tables `orion.*` show what is personal in
//! its documented columns, and no secret but `orion.providers.config`; the answers of `register`, `login`, `refreshSession` and
//! `issueServiceToken` have the tokens that they issue; what a person may see of itself is in the
//! answers to the queries for it; the mail has the address and the link.

use orion_store::testing::database;
use serde_json::{Value, json};

use crate::client::{http, mutation};
use crate::eventually::eventually;
use crate::log::Records;
use crate::people::id_at;
use crate::server::{ADMIN_PASSWORD, Server, Settings};
use crate::smtp_sink::Sink;

const EMAIL: &str = "countess@lovelace.example";
const PASSWORD: &str = "poetical science 1843";
const NEW_PASSWORD: &str = "analytical engine 1837";
const WRONG_PASSWORD: &str = "difference engine 1822";
const ADDRESS: &str = "203.0.113.77";

/// Values of a person; the tables may show them.
const PERSONAL: [(&str, &str); 11] = [
    ("e-mail", EMAIL),
    ("name", "Augusta Ada Kinglace"),
    ("first name", "Augustina"),
    ("last name", "Kinglovelace"),
    ("username", "countess_of_code"),
    ("bio", "weaves algebraical patterns"),
    ("avatar", "https://pictures.example/augusta.png"),
    ("webhook", "https://hooks.example/of-augusta"),
    ("display name", "Weaving with Augusta"),
    ("address", ADDRESS),
    ("user agent", "jacquard-loom/1.0"),
];

/// Secrets that nothing shows.
const SECRET: [(&str, &str); 9] = [
    ("password", PASSWORD),
    ("new password", NEW_PASSWORD),
    ("wrong password", WRONG_PASSWORD),
    ("admin's password", ADMIN_PASSWORD),
    ("credentials", "yt-credential-0123456789"),
    ("rotated credentials", "yt-credential-9876543210"),
    ("provider's key", "sk-provider-4242424242"),
    ("provider's new key", "sk-provider-1717171717"),
    ("short password", "shortpw77"),
];

fn personal(name: &str) -> &'static str {
    PERSONAL.iter().find(|(known, _)| *known == name).unwrap().1
}

fn secret(name: &str) -> &'static str {
    SECRET.iter().find(|(known, _)| *known == name).unwrap().1
}

/// Somebody who goes through everything.
struct Walk {
    server: Server,
    token: Option<String>,
    /// What was handed out: name and value.
    tokens: Vec<(String, String)>,
    /// Every answer that is an error or a refusal.
    errors: Vec<String>,
}

impl Walk {
    async fn post(&self, path: &str, body: String) -> String {
        let request = http().post(format!("{}{path}", self.server.url()));
        let request = request.header("content-type", "application/json").body(body);
        let request =
            request.header("x-forwarded-for", ADDRESS).header("user-agent", personal("user agent"));
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        request.send().await.unwrap().text().await.unwrap()
    }

    async fn ask(&self, query: &str, variables: Value) -> Value {
        let body = json!({ "query": query, "variables": variables });
        serde_json::from_str(&self.post("/graphql", body.to_string()).await).unwrap()
    }

    /// A mutation that is done.
    async fn does(&self, field: &str, input: Value, selection: &str) -> Value {
        let answer = self.ask(&mutation(field, selection), json!({ "input": input })).await;
        assert_eq!(answer["data"][field]["errors"], json!([]), "{field}: {answer:#}");
        answer["data"][field].clone()
    }

    /// A mutation that is refused.
    async fn may_not(&mut self, field: &str, input: Value) {
        let answer = self.ask(&mutation(field, ""), json!({ "input": input })).await;
        assert_ne!(answer["data"][field]["errors"], json!([]), "{field}: {answer:#}");
        self.errors.push(answer.to_string());
    }

    /// A body of which nothing comes but an error.
    async fn fails(&mut self, path: &str, body: String) {
        let answer = self.post(path, body).await;
        assert!(answer.contains("rror") || answer.contains("title"), "{answer}");
        self.errors.push(answer);
    }

    fn keep(&mut self, name: &str, value: &Value) -> String {
        let value = value.as_str().unwrap().to_owned();
        self.tokens.push((name.to_owned(), value.clone()));
        value
    }

    /// Signs in by what an answer has brought.
    fn is(&mut self, who: &str, answer: &Value) -> String {
        self.token = Some(self.keep(&format!("{who}'s access token"), &answer["accessToken"]));
        let refresh = self.keep(&format!("{who}'s refresh token"), &answer["refreshToken"]);
        // The hash covers all of it, but the secret is the last part.
        let secret = refresh.rsplit_once('.').unwrap().1.to_owned();
        self.tokens.push((format!("{who}'s refresh secret"), secret));
        refresh
    }
}

const TOKENS: &str = "accessToken refreshToken user { id email }";

/// What a person does with the own account.
async fn live(walk: &mut Walk, sink: &Sink) -> String {
    let register = json!({ "email": EMAIL, "password": PASSWORD, "name": personal("name") });
    let registered = walk.does("register", register.clone(), TOKENS).await;
    let id = id_at(&registered, "/user/id");
    let refresh = walk.is("Ada", &registered);
    let mail = eventually("a mail", async || sink.mails_to(EMAIL).into_iter().next()).await;
    walk.tokens.push(("link".to_owned(), mail.token()));
    walk.does("verifyEmail", json!({ "token": mail.token() }), "").await;
    let refreshed = walk.does("refreshSession", json!({ "refreshToken": refresh }), TOKENS).await;
    walk.is("refreshed Ada", &refreshed);
    let login = json!({ "email": EMAIL, "password": PASSWORD });
    let signed_in = walk.does("login", login, TOKENS).await;
    walk.is("returned Ada", &signed_in);

    walk.may_not("register", register).await;
    for (email, password) in [(EMAIL, WRONG_PASSWORD), ("nobody@lovelace.example", PASSWORD)] {
        walk.may_not("login", json!({ "email": email, "password": password })).await;
        let rest = json!({ "email": email, "password": password }).to_string();
        walk.fails("/api/v1/auth/login", rest).await;
    }
    let short =
        json!({ "email": "x@lovelace.example", "password": secret("short password"), "name": "x" });
    walk.may_not("register", short).await;
    walk.may_not("verifyEmail", json!({ "token": mail.token() })).await;

    let profile = json!({ "name": personal("name"), "username": personal("username"),
        "firstName": personal("first name"), "lastName": personal("last name"),
        "avatarUrl": personal("avatar"), "bio": personal("bio") });
    walk.does("updateProfile", profile, "").await;
    let settings = json!({ "settings": { "notification_preferences": { "webhook_url": personal("webhook") } } });
    walk.does("updateSettings", settings, "").await;
    let bad =
        json!({ "settings": { "notification_preferences": { "webhook": personal("webhook") } } });
    walk.may_not("updateSettings", bad).await;
    let wrong = json!({ "currentPassword": WRONG_PASSWORD, "newPassword": NEW_PASSWORD });
    walk.may_not("changePassword", wrong).await;
    let change = json!({ "currentPassword": PASSWORD, "newPassword": NEW_PASSWORD,
        "commandId": uuid::Uuid::new_v4() });
    walk.does("changePassword", change, "").await;
    id
}

/// What an editor and an admin do with things that have secrets.
async fn work(walk: &mut Walk, ada: &str) {
    let mine = walk.token.clone();
    let boss = json!({ "email": "admin@orion.local", "password": ADMIN_PASSWORD });
    let boss = walk.does("login", boss, TOKENS).await;
    walk.is("the admin", &boss);
    walk.does("changeRole", json!({ "userId": ada, "role": "EDITOR" }), "").await;
    let provider = json!({ "name": "painter", "providerType": "image",
        "config": { "api_key": secret("provider's key") } });
    let provider = walk.does("registerProvider", provider, "provider { id }").await;
    let config = json!({ "providerId": provider["provider"]["id"],
        "config": { "nested": [{ "secret": secret("provider's new key") }] } });
    walk.does("configureProvider", config, "").await;
    let machine = json!({ "name": "worker", "scopes": ["TRENDS"] });
    let machine = walk.does("issueServiceToken", machine, "token").await;
    walk.keep("service token", &machine["token"]);

    walk.token = mine;
    let account = json!({ "platform": "youtube", "displayName": personal("display name"),
        "credentials": secret("credentials") });
    let account = walk.does("connectSocialAccount", account, "socialAccount { id }").await;
    let rotate = json!({ "socialAccountId": account["socialAccount"]["id"],
        "credentials": secret("rotated credentials") });
    walk.does("rotateCredentials", rotate, "").await;
    // As many events as a snapshot needs, and a subscription that sees some of them.
    let client = walk.server.anonymous().with_token(walk.token.clone().unwrap());
    let mut socket = client
        .subscribe("subscription { trendChanged { position trend { topic } } }", json!({}))
        .await;
    for n in 0..100 {
        let settings =
            json!({ "settings": { "dashboard_preferences": { "items_per_page": 1 + n } } });
        walk.does("updateSettings", settings, "").await;
    }
    client.detect_trend("looms").await;
    socket.change().await;
}

/// Every way to be told that something is wrong.
async fn err(walk: &mut Walk) {
    let login = format!(
        "mutation {{ login(input: {{ email: \"{EMAIL}\", password: \"{PASSWORD}\", x: 1 }}) {{ position }} }}"
    );
    let broken = json!({ "query": format!("{{ me {{ {PASSWORD} ") }).to_string();
    let unknown = json!({ "query": login }).to_string();
    let variables = json!({ "query": mutation("login", ""),
        "variables": { "input": { "email": EMAIL, "password": { "is": PASSWORD } } } });
    for body in [broken, unknown, variables.to_string(), format!("{{\"{PASSWORD}\"")] {
        walk.fails("/graphql", body).await;
    }
    for route in ["login", "register"] {
        for body in [format!("{{\"password\":\"{PASSWORD}"), json!([EMAIL, PASSWORD]).to_string()] {
            walk.fails(&format!("/api/v1/auth/{route}"), body).await;
        }
        let body = json!({ "email": EMAIL, "password": [PASSWORD], "name": PASSWORD });
        walk.fails(&format!("/api/v1/auth/{route}"), body.to_string()).await;
    }
    let tokens: Vec<String> = walk.tokens.iter().map(|(_, token)| token.clone()).collect();
    for token in &tokens {
        walk.may_not("refreshSession", json!({ "refreshToken": format!("{token}x") })).await;
        let bearer = walk.token.replace(format!("{token}x"));
        walk.fails("/graphql", json!({ "query": "{ me { id } }" }).to_string()).await;
        walk.token = bearer;
    }
}

/// Says where a value is that must not be there.
#[track_caller]
fn assert_absent<'v>(
    values: impl IntoIterator<Item = (&'v str, &'v str)>,
    place: &str,
    text: &str,
) {
    for (name, value) in values {
        if let Some(at) = text.find(value) {
            let around: String = text[at.saturating_sub(200)..].chars().take(400).collect();
            panic!("the {name} is in {place}: {around}");
        }
    }
}

async fn dump(records: &Records, schema: &str) -> Vec<(String, String)> {
    let names = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = $1";
    let names: Vec<String> =
        sqlx::query_scalar(names).bind(schema).fetch_all(&records.pool).await.unwrap();
    let mut dumped = Vec::new();
    for name in names {
        let rows = format!("SELECT coalesce(string_agg(t::text, ' '), '') FROM {schema}.{name} t");
        let rows: String = sqlx::query_scalar(&rows).fetch_one(&records.pool).await.unwrap();
        dumped.push((format!("{schema}.{name}"), rows));
    }
    dumped
}

#[tokio::test]
async fn what_is_secret_or_personal_is_where_it_must_be_and_nowhere_else() {
    let (database, sink) = (database().await, Sink::start().await);
    let settings = Settings::on(&database.url)
        .with("ORION_SMTP_URL", sink.url())
        .with("ORION_MAIL_FROM", "orion@example.org")
        .with("ORION_TRUSTED_PROXIES", "127.0.0.1")
        .with("ORION_LOG", "trace");
    let server = Server::with(settings).await;
    let mut walk = Walk { server, token: None, tokens: Vec::new(), errors: Vec::new() };
    let ada = live(&mut walk, &sink).await;
    work(&mut walk, &ada).await;
    err(&mut walk).await;
    let records = Records::of(&database.url).await;
    eventually("a snapshot", async || {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM snapshots")
            .fetch_one(&records.pool)
            .await
            .unwrap();
        (count > 0).then_some(())
    })
    .await;

    let tokens: Vec<(String, String)> = walk.tokens.clone();
    let handed_out = || tokens.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let all = || PERSONAL.into_iter().chain(SECRET).chain(handed_out());
    let secrets = || SECRET.into_iter().chain(handed_out());
    // The search finds what is there.
    let clear = dump(&records, "orion").await;
    let clear: String = clear.iter().map(|(_, rows)| rows.as_str()).collect();
    for (name, value) in
        PERSONAL.into_iter().filter(|(name, _)| !["address", "user agent"].contains(name))
    {
        assert!(clear.contains(value), "the {name} was lost on the way");
    }

    let kept = dump(&records, "public").await;
    assert!(kept.iter().any(|(name, rows)| name == "public.events" && rows.len() > 10_000));
    for (place, rows) in &kept {
        assert_absent(all(), place, rows);
    }
    for schema in ["orion", "orion_projections", "orion_internal"] {
        for (place, rows) in dump(&records, schema).await {
            // The documented column is a JSON object that is read in SQL.
            let is_shown = |name: &str| place == "orion.providers" && name == "provider's new key";
            assert_absent(secrets().filter(|(name, _)| !is_shown(name)), &place, &rows);
        }
    }
    assert_absent(all(), "the figures", &walk.server.metrics().await);
    assert!(walk.errors.len() > 20);
    for error in &walk.errors {
        assert_absent(all(), "an error", error);
    }
    let (ended, _stopped) = walk.server.terminate().await;
    assert!(ended.stderr.contains("DEBUG"), "the log is not as it was asked for");
    assert_absent(all(), "a log line", &ended.stderr);
    assert_absent(all(), "the standard output", &ended.stdout);
}
