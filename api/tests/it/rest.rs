//! Authentication without GraphQL, and the keys of access tokens.

use orion_store::testing::database;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::client::http;
use crate::server::{ADMIN_EMAIL, ADMIN_PASSWORD, DataDir, Server, Settings};

async fn post(server: &Server, route: &str, body: &Value) -> Response {
    let url = format!("{}/api/v1/auth/{route}", server.url());
    http().post(url).json(body).send().await.unwrap()
}

async fn me(server: &Server, token: &Value) -> Response {
    let url = format!("{}/api/v1/auth/me", server.url());
    http().get(url).bearer_auth(token.as_str().unwrap()).send().await.unwrap()
}

/// The problem's status, code and field.
async fn problem(response: Response) -> (u16, String, Option<String>) {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["status"], json!(status));
    assert!(body["title"].is_string() && body["detail"].is_string(), "{body}");
    let text = |key: &str| body[key].as_str().map(str::to_owned);
    (status, text("code").unwrap(), text("field"))
}

#[tokio::test]
async fn a_session_lives_from_registration_to_logout() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = json!({ "email": "ada@example.org", "password": ADMIN_PASSWORD, "name": "Ada" });
    let registered = post(&server, "register", &ada).await;
    assert_eq!(registered.status(), StatusCode::CREATED);
    let registered: Value = registered.json().await.unwrap();
    assert_eq!(registered["user"]["role"], "VIEWER");
    let user: Value = me(&server, &registered["accessToken"]).await.json().await.unwrap();
    assert_eq!((&user["email"], &user["id"]), (&ada["email"], &registered["user"]["id"]));

    let token = json!({ "refreshToken": registered["refreshToken"] });
    let refreshed: Value = post(&server, "refresh", &token).await.json().await.unwrap();
    assert_eq!(refreshed["user"]["id"], registered["user"]["id"]);
    let token = json!({ "refreshToken": refreshed["refreshToken"] });
    assert_eq!(post(&server, "logout", &token).await.status(), StatusCode::OK);
    let (status, code, _) = problem(me(&server, &refreshed["accessToken"]).await).await;
    assert_eq!((status, code.as_str()), (401, "UNAUTHENTICATED"));
    assert_eq!(problem(post(&server, "refresh", &token).await).await.0, 401);
}

#[tokio::test]
async fn refusals_are_problem_details() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let taken = json!({ "email": ADMIN_EMAIL, "password": "correct horse battery", "name": "Eve" });
    let short = json!({ "email": "eve@example.org", "password": "short", "name": "Eve" });
    let wrong = json!({ "email": ADMIN_EMAIL, "password": "wrong horse battery" });
    let unknown = json!({ "email": "nobody@example.org", "password": "wrong horse battery" });
    for (route, body, status, code, field) in [
        ("register", taken, 409, "EMAIL_TAKEN", Some("email")),
        ("register", short, 422, "PASSWORD_TOO_SHORT", Some("password")),
        ("login", wrong, 401, "INVALID_CREDENTIALS", None),
        ("login", unknown, 401, "INVALID_CREDENTIALS", None),
        ("login", json!({ "email": ADMIN_EMAIL }), 400, "BAD_USER_INPUT", None),
        ("login", json!([]), 400, "BAD_USER_INPUT", None),
        (
            "refresh",
            json!({ "refreshToken": "x" }),
            401,
            "INVALID_REFRESH_TOKEN",
            Some("refreshToken"),
        ),
    ] {
        let found = problem(post(&server, route, &body).await).await;
        assert_eq!(found, (status, code.to_owned(), field.map(str::to_owned)), "{route} {body}");
    }
    let url = format!("{}/api/v1/auth/login", server.url());
    let form = http().post(url).body("email=x").send().await.unwrap();
    assert_eq!(problem(form).await.1, "BAD_USER_INPUT");
}

#[tokio::test]
async fn a_token_of_an_old_key_is_good_after_the_rotation() {
    let database = database().await;
    let (old, new) = (
        "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
        "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
    );
    let master = ("ORION_MASTER_KEY", old);
    let settings =
        |key| Settings::on(&database.url).with(master.0, master.1).with("ORION_TOKEN_KEY", key);
    let before = Server::with(settings(old)).await;
    let login = json!({ "email": ADMIN_EMAIL, "password": ADMIN_PASSWORD });
    let token =
        post(&before, "login", &login).await.json::<Value>().await.unwrap()["accessToken"].clone();
    let _ = before.terminate().await;
    let after = Server::with(settings(new).with("ORION_TOKEN_KEYS_OLD", old)).await;
    assert_eq!(me(&after, &token).await.status(), StatusCode::OK);
    let jwks = http().get(format!("{}/.well-known/jwks.json", after.url())).send().await.unwrap();
    let jwks: Value = jwks.json().await.unwrap();
    assert_eq!(jwks["keys"].as_array().map(Vec::len), Some(2));
    assert!(jwks["keys"].as_array().unwrap().iter().all(|key| key["d"].is_null()), "{jwks}");
    let _ = after.terminate().await;
    let without = Server::with(settings(new)).await;
    assert_eq!(me(&without, &token).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_server_with_another_master_key_does_not_start() {
    let database = database().await;
    let _ = Server::start(&database.url).await.terminate().await;
    let other = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
    let settings = Settings::on(&database.url).with("ORION_MASTER_KEY", other);
    let ended = settings.run_to_end(&DataDir::fresh()).await;
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(
        ended.stderr.contains("ORION_MASTER_KEY: the database was begun with another"),
        "{ended:?}"
    );
}
