//! GraphQL over HTTP: media types, status codes, and what becomes of bad input.

use orion_store::testing::database;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{Client, http};
use crate::eventually::SOON;
use crate::server::{ADMIN_EMAIL, ADMIN_PASSWORD, Server, Settings};

const JSON: &str = "application/json";
const GRAPHQL: &str = "application/graphql-response+json";
const EVENTS: &str = "text/event-stream";

/// What a client got.
#[derive(Debug)]
struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Got {
    async fn of(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}"));
        Self { status, headers, body }
    }

    /// Nothing was run, and the client is told why.
    #[track_caller]
    fn refused(&self, status: u16, code: &str) {
        let found = self.body.pointer("/errors/0/extensions/code").and_then(Value::as_str);
        assert_eq!((self.status.as_u16(), found), (status, Some(code)), "{self:?}");
        assert!(self.body["errors"][0]["message"].is_string(), "{self:?}");
        assert!(self.body.get("data").is_none(), "{self:?}");
    }

    #[track_caller]
    fn is_of(&self, media: &str) {
        assert_eq!(self.headers["content-type"], format!("{media}; charset=utf-8"), "{self:?}");
    }
}

fn post_to(url: &str) -> RequestBuilder {
    http().post(format!("{url}/graphql"))
}

impl Client {
    /// Sends an operation; the answer with its head.
    async fn over_http(&self, accept: &str, body: &Value) -> Got {
        let request = post_to(&self.url).json(body).header("accept", accept);
        let request = self.token.iter().fold(request, RequestBuilder::bearer_auth);
        Got::of(request.send().await.unwrap()).await
    }
}

fn by_address(server: &Server, parameters: &[(&str, &str)]) -> RequestBuilder {
    let url = Url::parse_with_params(&format!("{}/graphql", server.url()), parameters);
    http().get(url.unwrap()).header("accept", GRAPHQL)
}

#[tokio::test]
async fn what_is_no_request_is_refused_whatever_the_client_takes() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let query = "{ position }";
    let bodies = [
        String::new(),
        "{ \"not JSON".to_owned(),
        "\u{feff}{}".to_owned(),
        "\"text\"".to_owned(),
        "null".to_owned(),
        "7".to_owned(),
        "{}".to_owned(),
        json!({ "query": null }).to_string(),
        json!({ "query": 7 }).to_string(),
        json!({ "query": { "a": "b" } }).to_string(),
        json!({ "qeury": query }).to_string(),
        json!({ "query": query, "operationName": 7 }).to_string(),
        json!({ "query": query, "operationName": ["a"] }).to_string(),
        json!({ "query": query, "variables": "{}" }).to_string(),
        json!({ "query": query, "variables": [1] }).to_string(),
        json!({ "query": query, "extensions": true }).to_string(),
        // Deeper than any reader goes.
        format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
    ];
    for body in bodies {
        for accept in [JSON, GRAPHQL, EVENTS] {
            let request = post_to(server.url()).header("content-type", JSON);
            let answer = request.header("accept", accept).body(body.clone()).send().await.unwrap();
            let got = Got::of(answer).await;
            got.refused(400, "BAD_USER_INPUT");
            got.is_of(if accept == JSON { JSON } else { GRAPHQL });
        }
    }
    let not_utf8 = post_to(server.url()).header("content-type", JSON);
    let not_utf8 = not_utf8.body(b"{\"query\":\"{ \xff }\"}".to_vec()).send().await.unwrap();
    Got::of(not_utf8).await.refused(400, "BAD_USER_INPUT");

    // None of it is the next one's trouble.
    let anonymous = server.anonymous();
    let full = json!({ "query": "{ __typename }", "operationName": "", "variables": null, "extensions": null });
    assert_eq!(anonymous.over_http(GRAPHQL, &full).await.body["data"]["__typename"], "Query");
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_as_the_client_understands_it() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.editor("ada").await;
    for request in [
        json!({ "query": "{" }),
        json!({ "query": "" }),
        json!({ "query": "{ nothing }" }),
        json!({ "query": "query A { position } query B { position }" }),
        json!({ "query": "query A { position }", "operationName": "B" }),
        json!({ "query": "query ($id: ID!) { node(id: $id) { id } }" }),
        json!({ "query": "query ($id: ID!) { node(id: $id) { id } }", "variables": { "id": null } }),
        json!({ "query": "query ($n: Int) { trends(first: $n) { totalCount } }", "variables": { "n": "x" } }),
        json!({ "query": "subscription { trendChanged { position } }" }),
    ] {
        let strict = ada.over_http(GRAPHQL, &request).await;
        strict.refused(400, "BAD_USER_INPUT");
        strict.is_of(GRAPHQL);
        // By 200 the client knows that it was not some proxy that answered.
        let old = ada.over_http(JSON, &request).await;
        old.refused(200, "BAD_USER_INPUT");
        old.is_of(JSON);
        assert!(old.headers.contains_key("x-request-id"));
    }
    // A field that fails is part of an answer: the operation was run.
    let query = json!({ "query": "{ position contents(first: -1) { totalCount } }" });
    let failed = ada.over_http(GRAPHQL, &query).await;
    assert_eq!((failed.status, failed.body.get("data")), (StatusCode::OK, Some(&Value::Null)));
    assert_eq!(failed.body["errors"][0]["path"], json!(["contents"]), "{failed:?}");
    let partial = json!({ "query": "{ me { name } node(id: \"x\") { id } }" });
    let partial = ada.over_http(GRAPHQL, &partial).await;
    assert_eq!(partial.status, 200);
    assert_eq!(partial.body["data"], json!({ "me": { "name": "ada" }, "node": null }));
}

#[tokio::test]
async fn a_client_gets_what_it_takes_or_nothing() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let query = json!({ "query": "{ __typename }" });
    for (accept, expected) in [
        ("*/*", JSON),
        ("application/json;q=0.5, application/graphql-response+json", GRAPHQL),
        ("text/html, application/json;q=0.1", JSON),
        ("application/json, text/event-stream", JSON),
    ] {
        let got = server.anonymous().over_http(accept, &query).await;
        assert_eq!(got.status, 200);
        got.is_of(expected);
    }
    let ada = server.editor("ada").await;
    let detect = "mutation { detectTrend(input: { topic: \"t\", source: \"s\" }) { position } }";
    for accept in ["text/html", "application/xml, image/*", "application/json;q=0"] {
        let got = ada.over_http(accept, &json!({ "query": detect })).await;
        got.refused(406, "BAD_USER_INPUT");
        let url = format!("{}/graphql?query={{__typename}}", server.url());
        let asked = http().get(url).header("accept", accept).send().await.unwrap();
        Got::of(asked).await.refused(406, "BAD_USER_INPUT");
    }
    for content_type in ["text/plain", "application/json; charset=utf-16", "multipart/form-data"] {
        let request = post_to(server.url()).header("content-type", content_type);
        let request = request.header("accept", GRAPHQL).body(query.to_string());
        Got::of(request.send().await.unwrap()).await.refused(415, "BAD_USER_INPUT");
    }
    let trends = ada.query("{ trends { totalCount } }", json!({})).await;
    assert_eq!(trends["trends"]["totalCount"], 0);
}

#[tokio::test]
async fn an_address_asks_queries_and_does_nothing() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.editor("ada").await;
    let get = async |parameters: &[(&str, &str)]| {
        let request = by_address(&server, parameters);
        let request = ada.token.iter().fold(request, RequestBuilder::bearer_auth);
        Got::of(request.send().await.unwrap()).await
    };
    let two = "query A { me { name } } mutation B { logout(input: { refreshToken: \"x\" }) { position } }";
    let typed = "query ($n: Int!) { trends(first: $n) { totalCount } }";
    for good in [
        &[("query", "{ me { name } }"), ("operationName", "")][..],
        &[("query", two), ("operationName", "A")],
        &[("query", typed), ("variables", "{\"n\":1}"), ("extensions", "{}")],
    ] {
        let got = get(good).await;
        assert_eq!(got.status, 200, "{got:?}");
        assert!(got.body["data"].is_object(), "{got:?}");
    }
    for bad in [
        &[][..],
        &[("query", "{")],
        &[("query", "{ position }"), ("query", "{ position }")],
        &[("query", typed), ("variables", "{")],
        &[("query", typed), ("variables", "[]")],
        &[("query", typed), ("variables", "{\"n\":null}")],
        &[("query", "{ position }"), ("extensions", "1")],
        &[("query", "subscription { trendChanged { position } }")],
    ] {
        get(bad).await.refused(400, "BAD_USER_INPUT");
    }
    let detect = "mutation { detectTrend(input: { topic: \"t\", source: \"s\" }) { position } }";
    for mutation in [&[("query", detect)][..], &[("query", two), ("operationName", "B")]] {
        let got = get(mutation).await;
        got.refused(405, "BAD_USER_INPUT");
        assert_eq!(got.headers["allow"], "POST");
    }
    for method in [Method::PUT, Method::DELETE, Method::PATCH] {
        let request = http().request(method, format!("{}/graphql", server.url()));
        let got = Got::of(request.send().await.unwrap()).await;
        got.refused(405, "BAD_USER_INPUT");
        assert_eq!(got.headers["allow"], "GET, HEAD, POST");
    }
    let trends = ada.query("{ trends { totalCount } }", json!({})).await;
    assert_eq!(trends["trends"]["totalCount"], 0);
}

#[tokio::test]
async fn who_is_not_known_is_asked_for_a_token() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let stranger = server.anonymous().with_token("nonsense");
    for accept in [JSON, GRAPHQL, EVENTS] {
        let got = stranger.over_http(accept, &json!({ "query": "{ __typename }" })).await;
        got.refused(401, "UNAUTHENTICATED");
        assert_eq!(got.headers["www-authenticate"], "Bearer");
    }
    // Who has none may ask, and is told at the field.
    let got = server.anonymous().over_http(GRAPHQL, &json!({ "query": "{ position }" })).await;
    assert_eq!(got.status, 200);
    assert_eq!(got.body["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
}

#[tokio::test]
async fn a_budget_that_is_used_up_says_when_to_try_again() {
    let database = database().await;
    let settings = Settings::on(&database.url).with("ORION_RATE_LIMITS", "on");
    let server = Server::with(settings).await;
    let wrong = r#"mutation { login(input: { email: "ada@example.org", password: "wrong" }) {
        errors { code } } }"#;
    let query = json!({ "query": wrong });
    let anonymous = server.anonymous();
    for _ in 0..10 {
        let got = anonymous.over_http(GRAPHQL, &query).await;
        assert_eq!(got.body.get("errors"), None);
    }
    let got = anonymous.over_http(GRAPHQL, &query).await;
    assert_eq!(got.body["errors"][0]["extensions"]["code"], "RATE_LIMITED");
    assert!(got.headers.contains_key("retry-after"));
    let got = anonymous.over_http(JSON, &query).await;
    assert_eq!(got.body["errors"][0]["extensions"]["code"], "RATE_LIMITED");
    assert!(got.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_huge_body_is_not_read() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let large = json!({ "query": "{ __typename }", "variables": { "x": "x".repeat(2_000_000) } });
    let large = large.to_string();
    // Nobody knows how long this one will be; it is refused as soon as it is too long.
    let mut wire = TcpStream::connect(server.url().strip_prefix("http://").unwrap()).await.unwrap();
    let head = "POST /graphql HTTP/1.1\r\nhost: orion\r\ncontent-type: application/json\r\n";
    let chunked = "transfer-encoding: chunked\r\n\r\n";
    let chunk = format!("{head}{chunked}{:x}\r\n{}", large.len(), &large[..1_100_000]);
    wire.write_all(chunk.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    while !received.ends_with(b"}") {
        let read = timeout(SOON, wire.read_buf(&mut received)).await.expect("an answer");
        assert!(read.unwrap() > 0, "the server hung up");
    }
    let received = String::from_utf8(received).unwrap();
    assert!(received.starts_with("HTTP/1.1 413"), "{received}");
    assert!(received.contains("BAD_USER_INPUT"), "{received}");

    let announced = post_to(server.url()).header("content-type", JSON).body(large);
    // The server may hang up before the client has sent it all.
    if let Ok(answer) = announced.send().await {
        let got = Got::of(answer).await;
        got.refused(413, "BAD_USER_INPUT");
        assert_eq!(got.headers["connection"], "close");
    }
    let got = server.anonymous().over_http(JSON, &json!({ "query": "{ __typename }" })).await;
    assert_eq!(got.status, 200);
}

#[tokio::test]
async fn batches_are_off_unless_they_are_switched_on() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let one = json!({ "query": "{ __typename }" });
    for accept in [JSON, GRAPHQL] {
        let got = server.anonymous().over_http(accept, &json!([one])).await;
        got.refused(400, "BATCHING_OFF");
    }
    drop(server);

    let server = Server::with(Settings::on(&database.url).with("ORION_BATCHING", "on")).await;
    let ada = server.editor("ada").await;
    let detect = "mutation { detectTrend(input: { topic: \"t\", source: \"s\" }) { projected } }";
    let count = json!({ "query": "{ trends { totalCount } }" });
    let batch = json!([count, { "query": detect }, count, { "query": "{" }]);
    let got = ada.over_http(JSON, &batch).await;
    assert_eq!(got.status, 200);
    let data: Vec<_> = got.body.as_array().unwrap().iter().map(|item| &item["data"]).collect();
    assert_eq!(data[0]["trends"]["totalCount"], 0);
    assert_eq!(data[1]["detectTrend"]["projected"], true);
    assert_eq!(data[2]["trends"]["totalCount"], 1);
    assert_eq!(got.body[3]["errors"][0]["extensions"]["code"], "BAD_USER_INPUT");

    assert_eq!(ada.over_http(JSON, &json!(vec![&one; 10])).await.status, 200);
    ada.over_http(JSON, &json!(vec![&one; 11])).await.refused(400, "BATCH_TOO_LARGE");
    for bad in [
        json!([]),
        json!([{ "query": detect }, 7]),
        json!([{ "query": detect }, {}]),
        json!([[one]]),
    ] {
        ada.over_http(JSON, &bad).await.refused(400, "BAD_USER_INPUT");
    }
    ada.over_http(EVENTS, &json!([one])).await.refused(400, "BAD_USER_INPUT");
    let trends = ada.query("{ trends { totalCount } }", json!({})).await;
    assert_eq!(trends["trends"]["totalCount"], 1);
}

#[tokio::test]
async fn large_answers_are_compressed_unless_they_carry_tokens() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let send = async |path: &str, encoding: &str, body: &Value| {
        let request = http().post(format!("{}{path}", server.url())).json(body);
        let answer = request.header("accept-encoding", encoding).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let encoding = answer.headers().get("content-encoding").cloned();
        (encoding.map(|value| value.to_str().unwrap().to_owned()), answer.bytes().await.unwrap())
    };
    let types = json!({ "query": "{ __schema { types { name description } } }" });
    let (encoding, plain) = send("/graphql", "identity", &types).await;
    assert_eq!(encoding, None);
    for (accepted, expected) in [("gzip", "gzip"), ("br", "br"), ("gzip, deflate, br", "br")] {
        let (encoding, bytes) = send("/graphql", accepted, &types).await;
        assert_eq!(encoding.as_deref(), Some(expected));
        assert!(bytes.len() < plain.len() / 2, "{} of {}", bytes.len(), plain.len());
    }
    let small = json!({ "query": "{ __typename }" });
    assert_eq!(send("/graphql", "gzip", &small).await.0, None);

    let input = json!({ "email": ADMIN_EMAIL, "password": ADMIN_PASSWORD });
    let aliases: Vec<_> =
        (0..5).map(|i| format!("a{i}: login(input: $input) {{ accessToken }}")).collect();
    let aliases = aliases.join(" ");
    let login = json!({ "query": format!("mutation ($input: LoginInput!) {{ {aliases} }}"), "variables": { "input": input } });
    for (path, body) in [("/graphql", &login), ("/api/v1/auth/login", &input)] {
        let (encoding, bytes) = send(path, "gzip, br", body).await;
        assert!(
            encoding.is_none() && bytes.windows(11).any(|word| word == b"accessToken"),
            "{path}"
        );
    }
    assert!(send("/graphql", "gzip, br", &login).await.1.len() > 1_024);
}
