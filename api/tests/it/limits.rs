//! How often clients may do what: budgets of accounts and addresses, on every way in.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use orion_store::testing::database;
use serde_json::{Value, json};

use crate::client::{Answer, Client, http, mutation};
use crate::server::{ADMIN_EMAIL, ADMIN_PASSWORD, Server, Settings};

/// Believes what a test says in `X-Forwarded-For`.
async fn limited(database_url: &str) -> Server {
    let settings = Settings::on(database_url).with("ORION_RATE_LIMITS", "on");
    Server::with(settings.with("ORION_TRUSTED_PROXIES", "127.0.0.1")).await
}

/// Posts to a REST route or to `/graphql` from an address.
async fn post_from(server: &Server, address: &str, path: &str, body: &Value) -> reqwest::Response {
    let request = http().post(format!("{}{path}", server.url())).json(body);
    request.header("x-forwarded-for", address).send().await.unwrap()
}

fn login(email: &str, password: &str) -> Value {
    json!({ "email": email, "password": password })
}

/// A mutation from an address: its answer, with the header `Retry-After`.
async fn mutate_from(
    server: &Server,
    address: &str,
    field: &str,
    input: &Value,
) -> (Answer, Option<String>) {
    let body = json!({ "query": mutation(field, ""), "variables": { "input": input } });
    let response = post_from(server, address, "/graphql", &body).await;
    assert_eq!(response.status(), 200);
    let header = response.headers().get("retry-after");
    let header = header.map(|value| value.to_str().unwrap().to_owned());
    (Answer(response.json().await.unwrap()), header)
}

/// The code of a mutation's failure or refusal.
fn code(answer: &Answer, field: &str) -> String {
    let refusal = format!("/data/{field}/errors/0/code");
    let code = answer.code().or_else(|| answer.0.pointer(&refusal)?.as_str());
    code.unwrap_or_default().to_owned()
}

/// How often the same mutation comes through before it is refused.
async fn until_limited(server: &Server, address: &str, field: &str, input: &Value) -> usize {
    for count in 0..500 {
        if code(&mutate_from(server, address, field, input).await.0, field) == "RATE_LIMITED" {
            return count;
        }
    }
    panic!("{field} is not limited");
}

#[tokio::test]
async fn passwords_are_not_guessed() {
    let database = database().await;
    let server = limited(&database.url).await;
    let home = "198.51.100.1";
    let wrong = login(ADMIN_EMAIL, "wrong horse battery");
    let count = until_limited(&server, home, "login", &wrong).await;
    assert!((10..15).contains(&count), "{count}");

    // The right password does not help, nor does another spelling of the e-mail.
    let right = login(&ADMIN_EMAIL.to_uppercase(), ADMIN_PASSWORD);
    let (answer, header) = mutate_from(&server, home, "login", &right).await;
    answer.fails("RATE_LIMITED");
    let wait_ms = answer.0["errors"][0]["extensions"]["retryAfterMs"].as_u64().unwrap();
    assert!((1..=6_000).contains(&wait_ms), "{wait_ms}");
    assert_eq!(header, Some(wait_ms.div_ceil(1_000).to_string()));

    // The other way in is the same one.
    let problem = post_from(&server, home, "/api/v1/auth/login", &right).await;
    assert_eq!(problem.status(), 429);
    assert_eq!(problem.headers()["content-type"], "application/problem+json");
    let header: u64 = problem.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    let problem: Value = problem.json().await.unwrap();
    assert_eq!((&problem["code"], &problem["status"]), (&json!("RATE_LIMITED"), &json!(429)));
    assert_eq!(problem["retryAfterMs"].as_u64().unwrap().div_ceil(1_000), header);

    // Neither the owner elsewhere nor the neighbour is kept out.
    let (answer, header) = mutate_from(&server, "198.51.100.2", "login", &right).await;
    assert_eq!((answer.data()["login"]["errors"].clone(), header), (json!([]), None));
    let neighbour = login("nobody@example.org", "wrong horse battery");
    let (answer, _) = mutate_from(&server, home, "login", &neighbour).await;
    assert_eq!(code(&answer, "login"), "INVALID_CREDENTIALS");

    let metrics = server.metrics().await;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("orion_rate_limited_total{limit=\"login\"} "));
    assert_eq!(line, Some("3"), "{metrics}");
}

#[tokio::test]
async fn a_refused_sign_in_costs_no_hash() {
    let database = database().await;
    let settings = Settings::on(&database.url).with("ORION_RATE_LIMITS", "on");
    let server = Server::with(settings.with("ORION_BCRYPT_COST", "11")).await;
    let wrong = login("nobody@example.org", "wrong horse battery");
    let (mut hashed, mut refused) = (Duration::MAX, Duration::MAX);
    for _ in 0..25 {
        let begun = Instant::now();
        let (answer, _) = mutate_from(&server, "", "login", &wrong).await;
        let least = match code(&answer, "login").as_str() {
            "INVALID_CREDENTIALS" => &mut hashed,
            "RATE_LIMITED" => &mut refused,
            code => panic!("{code}"),
        };
        *least = begun.elapsed().min(*least);
    }
    assert!(refused < hashed / 4, "{refused:?} and {hashed:?}");
}

#[tokio::test]
async fn an_address_has_a_budget_of_its_own() {
    let database = database().await;
    let server = limited(&database.url).await;
    // Whoever has one address of a /64 has them all.
    let mut refused = 0;
    for index in 0..150 {
        let wrong = login(&format!("user{index}@example.org"), "wrong horse battery");
        let address = format!("2001:db8:1:2::{index:x}");
        let (answer, _) = mutate_from(&server, &address, "login", &wrong).await;
        refused += usize::from(code(&answer, "login") == "RATE_LIMITED");
    }
    assert!((1..=50).contains(&refused), "{refused}");
    let wrong = login("user0@example.org", "wrong horse battery");
    let (answer, _) = mutate_from(&server, "2001:db8:1:3::1", "login", &wrong).await;
    assert_eq!(code(&answer, "login"), "INVALID_CREDENTIALS");
}

#[tokio::test]
async fn registrations_are_few() {
    let database = database().await;
    let server = limited(&database.url).await;
    let ada = json!({ "email": ADMIN_EMAIL, "password": ADMIN_PASSWORD, "name": "Ada" });
    assert_eq!(until_limited(&server, "198.51.100.1", "register", &ada).await, 5);
    let mut registered = 0;
    for index in 0..30 {
        let email = format!("user{index}@example.org");
        let body = json!({ "email": email, "password": ADMIN_PASSWORD, "name": "Eve" });
        let answer = post_from(&server, "198.51.100.2", "/api/v1/auth/register", &body).await;
        registered += usize::from(answer.status() == 201);
    }
    assert!((20..25).contains(&registered), "{registered}");
}

#[tokio::test]
async fn a_session_is_not_renewed_without_end() {
    let database = database().await;
    let server = limited(&database.url).await;
    let token = |id: u128| json!({ "refreshToken": format!("{}.0.x", uuid::Uuid::from_u128(id)) });
    let count = until_limited(&server, "198.51.100.1", "refreshSession", &token(1)).await;
    assert!((30..50).contains(&count), "{count}");
    let (answer, _) = mutate_from(&server, "198.51.100.1", "refreshSession", &token(2)).await;
    assert_eq!(code(&answer, "refreshSession"), "INVALID_REFRESH_TOKEN");
    let (answer, _) = mutate_from(&server, "198.51.100.2", "refreshSession", &token(1)).await;
    answer.fails("RATE_LIMITED");
}

#[tokio::test]
async fn mutations_count_one_by_one_and_on_a_socket_too() {
    let database = database().await;
    let server = limited(&database.url).await;
    // Nothing that the database is asked for, so that it is faster than the budget refills.
    let mut many = "mutation {".to_owned();
    for index in 0..20 {
        write!(many, " a{index}: logout(input: {{ refreshToken: \"\" }}) {{ position }}").unwrap();
    }
    many.push('}');
    let nobody = server.anonymous();
    let mut requests = 0;
    while nobody.ask(&many, json!({})).await.code().is_none() {
        requests += 1;
    }
    assert!((10..20).contains(&requests), "{requests}");
    nobody.ask(&many, json!({})).await.fails("RATE_LIMITED");
    let mut socket = nobody.subscribe(&many, json!({})).await;
    let answer = socket.next().await.unwrap();
    answer.fails("RATE_LIMITED");
    assert!(answer.0["errors"][0]["extensions"]["retryAfterMs"].is_u64(), "{answer:?}");
    // Who is known has a budget of one's own, wherever it signed in.
    let input = login(ADMIN_EMAIL, ADMIN_PASSWORD);
    let tokens = post_from(&server, "198.51.100.1", "/api/v1/auth/login", &input).await;
    let tokens: Value = tokens.json().await.unwrap();
    let admin = nobody.with_token(tokens["accessToken"].as_str().unwrap());
    let settings = json!({ "settings": {} });
    admin.mutate("updateSettings", settings, "").await.done();
}

#[tokio::test]
async fn queries_cost_what_they_may_bring() {
    let database = database().await;
    let server = limited(&database.url).await;
    let admin = server.admin().await;
    let square = "{ contents(first: 100) { nodes { mediaAssets(first: 100) { nodes { id } } } } }";
    admin.query(square, json!({})).await;
    let mut answer = admin.ask(square, json!({})).await;
    for _ in 0..20 {
        answer = admin.ask(square, json!({})).await;
    }
    answer.fails("RATE_LIMITED");
    assert!(answer.0["errors"][0]["extensions"]["retryAfterMs"].is_u64(), "{answer:?}");
    // A client that loads its pages does not notice.
    server.anonymous().query("{ __typename }", json!({})).await;
}

#[tokio::test]
async fn fragments_that_spread_each_other_are_refused_at_once() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let mut bomb = "{ ...F0 }".to_owned();
    for index in 0..30 {
        let next = index + 1;
        write!(bomb, " fragment F{index} on Query {{ ...F{next} ...F{next} }}").unwrap();
    }
    bomb.push_str(" fragment F30 on Query { position }");
    server.anonymous().ask(&bomb, json!({})).await.fails("QUERY_TOO_COMPLEX");
}

#[tokio::test]
async fn a_stolen_access_token_does_not_guess_the_password() {
    let database = database().await;
    let server = limited(&database.url).await;
    let admin = server.admin().await;
    let guess = json!({ "currentPassword": "wrong horse battery", "newPassword": ADMIN_PASSWORD });
    let mut tries = 0;
    loop {
        match admin.try_mutate("changePassword", guess.clone(), "").await.unwrap() {
            Ok(payload) => payload.refused("INVALID_CREDENTIALS", "currentPassword"),
            Err(answer) => break answer.fails("RATE_LIMITED"),
        }
        tries += 1;
    }
    assert!((10..15).contains(&tries), "{tries}");
}

#[tokio::test]
async fn limits_can_be_off() {
    let database = database().await;
    let server = Server::with(Settings::on(&database.url).with("ORION_RATE_LIMITS", "off")).await;
    for _ in 0..40 {
        let wrong = login(ADMIN_EMAIL, "wrong horse battery");
        let payload = server.anonymous().mutate("login", wrong, "").await;
        payload.refused("INVALID_CREDENTIALS", None);
    }
}

#[tokio::test]
async fn a_session_knows_the_clients_address() {
    let database = database().await;
    let settings = |proxies| Settings::on(&database.url).with("ORION_TRUSTED_PROXIES", proxies);
    let master = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    for (proxies, expected) in
        [("", "127.0.0.1"), ("10.0.0.0/8", "127.0.0.1"), ("10.0.0.0/8,127.0.0.0/8", "198.51.100.7")]
    {
        let server = Server::with(settings(proxies).with("ORION_MASTER_KEY", master)).await;
        let forwarded_for = "203.0.113.9, 198.51.100.7, 10.1.2.3";
        let input = login(ADMIN_EMAIL, ADMIN_PASSWORD);
        let rest = post_from(&server, forwarded_for, "/api/v1/auth/login", &input).await;
        let rest: Value = rest.json().await.unwrap();
        let body = json!({
            "query": mutation("login", "accessToken"), "variables": { "input": input },
        });
        let graphql = post_from(&server, forwarded_for, "/graphql", &body).await;
        let graphql: Value = graphql.json().await.unwrap();
        for token in [&rest["accessToken"], &graphql["data"]["login"]["accessToken"]] {
            let admin = server.anonymous().with_token(token.as_str().unwrap());
            assert_eq!(newest_address(&admin).await, json!(expected), "{proxies}");
        }
    }
}

#[tokio::test]
async fn a_session_that_begins_on_a_socket_knows_it_too() {
    let database = database().await;
    let server = limited(&database.url).await;
    let input = json!({ "input": login(ADMIN_EMAIL, ADMIN_PASSWORD) });
    let mut socket = server.anonymous().socket().await;
    socket.subscribe(&mutation("login", "accessToken"), input).await;
    let payload = socket.change().await;
    let admin = server.anonymous().with_token(payload["accessToken"].as_str().unwrap());
    assert_eq!(newest_address(&admin).await, json!("127.0.0.1"));
}

/// The address of the session that began last.
async fn newest_address(user: &Client) -> Value {
    let me =
        user.query("{ me { sessions(last: 100) { nodes { createdAt ip } } } }", json!({})).await;
    let sessions = me["me"]["sessions"]["nodes"].as_array().unwrap();
    let newest = sessions.iter().max_by_key(|session| session["createdAt"].to_string());
    newest.unwrap()["ip"].clone()
}
