//! What the auditor graphql-cop tries on a server, tried here over HTTP. Nothing of it works.

use std::fmt::Write as _;

use orion_store::testing::database;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Client, http, position};
use crate::server::{Server, Settings};

async fn ask(client: &Client, query: impl Into<String>) -> Value {
    let body = json!({ "query": query.into(), "operationName": "cop" });
    client.post(body.to_string()).await.unwrap().json().await.unwrap()
}

/// Nothing was done, for one reason.
#[track_caller]
fn refused(answer: &Value, code: &str) {
    assert_eq!(answer["errors"].as_array().map(Vec::len), Some(1), "{answer}");
    assert_eq!(answer["errors"][0]["extensions"]["code"], code, "{answer}");
    assert!(answer["data"].is_null(), "{answer}");
}

#[tokio::test]
async fn overloads_are_refused() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let nobody = server.anonymous();
    let mut aliases = String::new();
    for index in 0..101 {
        write!(aliases, "alias{index}: __typename ").unwrap();
    }
    refused(&ask(&nobody, format!("query cop {{ {aliases} }}")).await, "QUERY_TOO_COMPLEX");

    let duplicates = "__typename \n".repeat(500);
    refused(&ask(&nobody, format!("query cop {{ {duplicates} }}")).await, "QUERY_TOO_COMPLEX");

    // Not one error for each directive.
    for count in [10, 11, 500] {
        let directives = "@aa".repeat(count);
        let answer = ask(&nobody, format!("query cop {{ position {directives} }}")).await;
        let errors = answer["errors"].as_array().unwrap().len();
        assert!((1..=5).contains(&errors) && answer["data"].is_null(), "{answer}");
        // The library does not look at the directives of this one.
        let answer = ask(&nobody, format!("query cop {{ __typename {directives} }}")).await;
        assert!(answer["errors"].as_array().is_none_or(|errors| errors.len() == 1), "{answer}");
    }

    let (circle, ends) = ("fields { type { ".repeat(4), "} }".repeat(4));
    let circle = format!("query cop {{ __schema {{ types {{ {circle} name {ends} }} }} }}");
    refused(&ask(&nobody, circle).await, "QUERY_TOO_COMPLEX");
}

#[tokio::test]
async fn batches_are_refused() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let one = json!({ "query": "query cop { __typename }", "operationName": "cop" });
    let batch = Value::Array(vec![one; 10]);
    let answer = server.anonymous().post(batch.to_string()).await.unwrap();
    refused(&answer.json().await.unwrap(), "BATCHING_OFF");
}

#[tokio::test]
async fn what_a_page_of_another_site_can_send_does_nothing() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let admin = server.admin().await;
    let url = format!("{}/graphql", server.url());
    let head = async || position(&admin.query("{ log { head } }", json!({})).await["log"]["head"]);
    let before = head().await;
    let detect = r#"mutation cop { detectTrend(input: { topic: "t", source: "s" }) { position } }"#;
    let form = reqwest::Url::parse_with_params("x:", [("query", detect)]).unwrap();
    let form = form.query().unwrap().to_owned();
    for (method, query, content_type, body) in [
        (Method::GET, form.as_str(), None, String::new()),
        (Method::POST, "", Some("application/x-www-form-urlencoded"), form.clone()),
        (Method::POST, "", Some("text/plain"), json!({ "query": detect }).to_string()),
        (Method::POST, "", None, json!({ "query": detect }).to_string()),
        (Method::POST, form.as_str(), Some("application/json"), String::new()),
    ] {
        let request = http().request(method, format!("{url}?{query}")).body(body);
        let request = match content_type {
            Some(content_type) => request.header("content-type", content_type),
            None => request,
        };
        let answer = request.bearer_auth(admin.token.as_deref().unwrap()).send().await.unwrap();
        refused(&answer.json().await.unwrap(), "BAD_USER_INPUT");
    }
    assert_eq!(head().await, before);
}

#[tokio::test]
async fn errors_give_nothing_away() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let nobody = server.anonymous();
    for (query, close) in [
        ("query cop { positio }", "position"),
        ("query cop { position(minPositio: 1) }", "minPosition"),
        ("query cop { __schema { directive } }", "directives"),
        ("qwerty cop { abc }", "Error"),
    ] {
        let answer = ask(&nobody, query).await;
        refused(&answer, "BAD_USER_INPUT");
        let text = answer["errors"].to_string();
        for leak in [close, "exception", "stacktrace", "tracing", "debug"] {
            let quoted = format!("\\\"{leak}\\\"");
            assert!(!text.contains(&quoted) && !text.contains(&format!("\"{leak}\"")), "{text}");
            assert!(!text.contains("mean"), "{text}");
        }
    }
    // Tracing is nothing that can be asked for.
    for header in ["x-apollo-tracing", "apollo-federation-include-trace"] {
        let request = http().post(format!("{}/graphql", server.url())).header(header, "ftv1");
        let body =
            json!({ "query": "query cop { __typename }", "extensions": { "tracing": true } });
        let answer: Value = request.json(&body).send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["data"]["__typename"], "Query", "{answer}");
        let extensions = answer["extensions"].as_object().unwrap();
        assert!(extensions.keys().eq(["position"]), "{answer}");
    }
}

#[tokio::test]
async fn who_wants_suggestions_can_have_them() {
    let database = database().await;
    let settings = Settings::on(&database.url).with("ORION_SUGGESTIONS", "on");
    let server = Server::with(settings).await;
    let answer = ask(&server.anonymous(), "query cop { positio }").await;
    assert!(answer.to_string().contains("Did you mean"), "{answer}");
}

#[tokio::test]
async fn the_schema_is_shown_to_whom_the_operator_says() {
    const SCHEMA: &str = "{ __schema { queryType { name } } }";
    const TYPE: &str = "query { ...F } fragment F on Query { t: __type(name: \"Query\") { name } }";
    let database = database().await;
    for (setting, admin_may, nobody_may) in
        [("on", true, true), ("admin", true, false), ("off", false, false)]
    {
        let settings = Settings::on(&database.url).with("ORION_INTROSPECTION", setting);
        let server = Server::with(settings).await;
        for (client, may) in [(server.admin().await, admin_may), (server.anonymous(), nobody_may)] {
            for query in [SCHEMA, TYPE] {
                let mut socket = client.subscribe(query, json!({})).await;
                for answer in [client.ask(query, json!({})).await, socket.next().await.unwrap()] {
                    if may {
                        answer.data();
                    } else {
                        refused(&answer.0, "FORBIDDEN");
                    }
                }
            }
            client.query("{ __typename }", json!({})).await;
        }
    }
}
