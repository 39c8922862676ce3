//! What is true of the edge itself: methods, sizes, depth, and the position of an answer.

use orion_store::testing::database;
use serde_json::{Value, json};

use crate::client::{http, position};
use crate::server::Server;

#[tokio::test]
async fn queries_may_be_sent_by_get_and_mutations_may_not() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.editor("ada").await;
    let get = async |query: &str| -> Value {
        let url = reqwest::Url::parse_with_params(
            &format!("{}/graphql", server.url()),
            [("query", query)],
        );
        let request = http().get(url.unwrap()).bearer_auth(ada.token.as_deref().unwrap());
        request.send().await.unwrap().json().await.unwrap()
    };
    assert_eq!(get("{ me { name } }").await["data"], json!({ "me": { "name": "ada" } }));
    let detect = "mutation { detectTrend(input: { topic: \"t\", source: \"s\" }) { position } }";
    for query in [detect, "subscription { trendChanged { position } }", "{"] {
        let answer = get(query).await;
        assert_eq!(
            answer["errors"][0]["extensions"]["code"], "BAD_USER_INPUT",
            "{query}: {answer}"
        );
    }
    let trends = get("{ trends { totalCount } }").await;
    assert_eq!(trends["data"]["trends"]["totalCount"], json!(0));
    for path in [
        "/graphiql",
        "/graphiql/explorer.js",
        "/graphiql/explorer.css",
        "/health/live",
        "/health/ready",
        "/metrics",
    ] {
        assert_eq!(server.status_of(path).await, 200, "{path}");
    }
    assert_eq!(server.status_of("/nowhere").await, 404);
}

#[tokio::test]
async fn what_is_too_much_is_refused() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.editor("ada").await;
    let mut deep = "id".to_owned();
    for _ in 0..10 {
        deep = format!("trend {{ contents {{ nodes {{ {deep} }} }} }}");
    }
    let query = format!("{{ contents {{ nodes {{ {deep} }} }} }}");
    ada.ask(&query, json!({})).await.fails("QUERY_TOO_COMPLEX");

    let large = json!({ "query": "{ me { id } }", "variables": { "x": "x".repeat(2_000_000) } });
    // The server may hang up before the client has sent it all.
    if let Ok(answer) = ada.post(large.to_string()).await {
        let status = answer.status();
        assert!(status.is_client_error(), "{status}: {}", answer.text().await.unwrap());
    }
    ada.query("{ me { id } }", json!({})).await;
}

#[tokio::test]
async fn every_answer_says_how_old_it_may_be() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.editor("ada").await;
    let detect = "mutation { detectTrend(input: { topic: \"t\", source: \"s\" }) { position } }";
    let answer = ada.ask(detect, json!({})).await;
    let written = position(&answer.0["data"]["detectTrend"]["position"]);
    assert!(position(&answer.0["extensions"]["position"]) >= written, "{:#}", answer.0);
    let variables = json!({ "min": written.to_string() });
    let read = "query ($min: Position) { position(minPosition: $min) trends(minPosition: $min) { totalCount } }";
    let answer = ada.ask(read, variables).await;
    assert!(position(&answer.0["extensions"]["position"]) >= written, "{:#}", answer.0);
    let data = answer.data();
    assert!(position(&data["position"]) >= written, "{data}");
    assert_eq!(data["trends"]["totalCount"], json!(1));
    let ahead = json!({ "min": (written + 1).to_string() });
    ada.ask(read, ahead).await.fails("POSITION_AHEAD");
}

#[tokio::test]
async fn every_answer_has_the_security_headers() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    for path in ["/graphql", "/graphiql", "/health/live", "/api/v1/auth/me", "/nowhere"] {
        let answer = http().get(format!("{}{path}", server.url())).send().await.unwrap();
        for (header, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.headers()[header], value, "{path} {header}");
        }
    }
}

#[tokio::test]
async fn the_explorer_is_whole_and_stays_at_home() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let page = http().get(format!("{}/graphiql", server.url())).send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    let page = page.text().await.unwrap();
    for (path, kind) in [("explorer.js", "text/javascript"), ("explorer.css", "text/css")] {
        let path = format!("/graphiql/{path}");
        assert!(page.contains(&path), "{page}");
        let file = http().get(format!("{}{path}", server.url())).send().await.unwrap();
        let found = file.headers()["content-type"].to_str().unwrap().to_owned();
        assert!(found.starts_with(kind), "{path}: {found}");
        let text = file.text().await.unwrap();
        assert!(!text.contains("http://") && !text.contains("https://"), "{path}");
    }
    // What stands in the first tab is good for something.
    let ada = server.editor("ada").await;
    let script = http().get(format!("{}/graphiql/explorer.js", server.url())).send().await.unwrap();
    let script = script.text().await.unwrap();
    let examples = script.split_once("EXAMPLES = `").unwrap().1.split_once("`;").unwrap().0;
    for operation in ["Me", "Newest", "Detect"] {
        let body = json!({ "query": examples, "operationName": operation });
        let answer: Value = ada.post(body.to_string()).await.unwrap().json().await.unwrap();
        assert!(answer["errors"].is_null(), "{operation}: {answer}");
    }
    let subscription = examples.split_once("subscription").unwrap().1;
    let mut watching =
        ada.subscribe(&format!("subscription{subscription}"), json!({ "after": "0" })).await;
    assert_eq!(watching.change().await["trend"]["topic"], json!("tiny houses"));
}
