//! What strangers' pages cannot do, and what every answer carries.

use orion_store::testing::database;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::client::http;
use crate::server::{ADMIN_EMAIL, ADMIN_PASSWORD, Server, Settings};

const APP: &str = "https://app.example.org";
const STRANGER: &str = "https://evil.example.org";

/// What a browser asks before it lets a page send JSON.
async fn preflight(server: &Server, path: &str, origin: &str) -> Response {
    http()
        .request(Method::OPTIONS, format!("{}{path}", server.url()))
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type")
        .send()
        .await
        .unwrap()
}

async fn query_from(server: &Server, origin: &str) -> Response {
    let body = json!({ "query": "{ __typename }" });
    let request = http().post(format!("{}/graphql", server.url())).header("origin", origin);
    request.json(&body).send().await.unwrap()
}

fn cors(headers: &HeaderMap) -> Vec<String> {
    let names = headers.keys().map(ToString::to_string);
    names.filter(|name| name.starts_with("access-control-")).collect()
}

/// The status with which a socket is refused; nothing if it is opened.
async fn socket_from(server: &Server, origin: Option<&str>) -> Option<u16> {
    let url = format!("{}/graphql", server.url().replacen("http", "ws", 1));
    let mut request = url.into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
    if let Some(origin) = origin {
        headers.insert("origin", origin.parse().unwrap());
    }
    match connect_async(request).await {
        Ok(_) => None,
        Err(Error::Http(response)) => Some(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn browsers_keep_other_sites_out_unless_they_are_named() {
    let database = database().await;
    let master = ("ORION_MASTER_KEY", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=");
    let settings = Settings::on(&database.url).with(master.0, master.1);
    let closed = Server::with(settings.clone()).await;
    for path in ["/graphql", "/api/v1/auth/login", "/nowhere"] {
        let answer = preflight(&closed, path, APP).await;
        assert!(answer.status().is_client_error(), "{path}: {}", answer.status());
        assert_eq!(cors(answer.headers()), Vec::<String>::new(), "{path}");
    }
    assert_eq!(cors(query_from(&closed, APP).await.headers()), Vec::<String>::new());
    let own = closed.url().to_owned();
    for (origin, expected) in [
        (None, None),
        (Some(own.as_str()), None),
        (Some(APP), Some(403)),
        (Some("null"), Some(403)),
    ] {
        assert_eq!(socket_from(&closed, origin).await, expected, "{origin:?}");
    }
    drop(closed);

    let open = Server::with(settings.with("ORION_CORS_ORIGINS", APP)).await;
    let answer = preflight(&open, "/graphql", APP).await;
    assert_eq!(answer.status(), 200);
    let headers = answer.headers();
    assert_eq!(headers["access-control-allow-origin"], APP);
    assert_eq!(headers["access-control-allow-methods"], "GET,POST");
    assert_eq!(
        headers["access-control-allow-headers"],
        "authorization,content-type,traceparent,x-request-id"
    );
    assert!(!headers.contains_key("access-control-allow-credentials"));
    let answer = query_from(&open, APP).await;
    assert_eq!(answer.headers()["access-control-allow-origin"], APP);
    assert_eq!(answer.headers()["access-control-expose-headers"], "retry-after,x-request-id");
    for answer in [preflight(&open, "/graphql", STRANGER).await, query_from(&open, STRANGER).await]
    {
        assert!(!answer.headers().contains_key("access-control-allow-origin"));
    }
    assert_eq!(socket_from(&open, Some(APP)).await, None);
    assert_eq!(socket_from(&open, Some(STRANGER)).await, Some(403));
}

#[tokio::test]
async fn a_form_of_another_site_changes_nothing() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.editor("ada").await;
    let detect = "mutation { detectTrend(input: { topic: \"t\", source: \"s\" }) { position } }";
    let body = json!({ "query": detect }).to_string();
    let send = async |path: &str, content_type: Option<&str>, body: String| {
        let request = http().post(format!("{}{path}", server.url())).body(body);
        let request = request.bearer_auth(ada.token.as_deref().unwrap());
        match content_type {
            Some(content_type) => request.header("content-type", content_type),
            None => request,
        }
        .send()
        .await
        .unwrap()
    };
    let login = json!({ "email": ADMIN_EMAIL, "password": ADMIN_PASSWORD }).to_string();
    for content_type in [
        None,
        Some("text/plain"),
        Some("text/plain; application/json"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=x"),
        Some("application/graphql-response+json"),
        Some("application/graphql"),
        Some(""),
    ] {
        let answer = send("/graphql", content_type, body.clone()).await;
        assert_eq!(answer.status(), 415, "{content_type:?}");
        let answer: Value = answer.json().await.unwrap();
        let code = &answer["errors"][0]["extensions"]["code"];
        assert_eq!(code, "BAD_USER_INPUT", "{content_type:?}");
        // Whatever ends in +json makes a browser ask first.
        if content_type != Some("application/graphql-response+json") {
            let answer = send("/api/v1/auth/login", content_type, login.clone()).await;
            assert_eq!(answer.status(), 415, "{content_type:?}");
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
            assert_eq!(answer.json::<Value>().await.unwrap()["code"], "BAD_USER_INPUT");
        }
    }
    let trends = ada.query("{ trends { totalCount } }", json!({})).await;
    assert_eq!(trends["trends"]["totalCount"], json!(0));
    let answer = send("/graphql", Some("Application/JSON; charset=utf-8"), body).await;
    let answer: Value = answer.json().await.unwrap();
    assert!(answer["data"]["detectTrend"]["position"].is_string(), "{answer}");
}

#[tokio::test]
async fn an_answer_names_its_request() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let id_of = async |path: &str, id: Option<&str>| {
        let request = http().get(format!("{}{path}", server.url()));
        let request =
            id.into_iter().fold(request, |request, id| request.header("x-request-id", id));
        let answer = request.send().await.unwrap();
        answer.headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    for path in ["/graphql?query={position}", "/api/v1/auth/me", "/health/live", "/nowhere"] {
        assert_eq!(id_of(path, Some("my-own-1")).await, "my-own-1", "{path}");
        let fresh = id_of(path, None).await;
        assert!(fresh.parse::<uuid::Uuid>().is_ok(), "{path}: {fresh}");
        assert_ne!(id_of(path, Some("not an id")).await, "not an id", "{path}");
    }
}
