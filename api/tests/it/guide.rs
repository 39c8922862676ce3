//! The examples of `docs/graphql.md`, run one after the other as a reader would.

use std::collections::HashMap;

use futures::{SinkExt as _, StreamExt as _};
use orion_store::testing::database;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::client::Client;
use crate::eventually::SOON;
use crate::server::{ADMIN_PASSWORD, Server};

const GUIDE: &str = include_str!("../../../docs/graphql.md");

/// Stands for what differs from time to time.
const ANYTHING: &str = "…";

/// The fenced blocks of a page: what stands behind the fence, and the text.
fn blocks(page: &str) -> Vec<(&str, &str)> {
    let fenced = page.split("\n```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').unwrap()).collect()
}

/// What examples have kept for the next ones, by its name.
struct Kept(HashMap<String, Value>);

impl Kept {
    /// Puts in what was kept before: a whole string `"$name"`, or a word of one.
    fn fill(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                let words = text.split(' ').map(|word| {
                    let name = word.strip_prefix('$');
                    let kept = name.and_then(|name| self.0.get(name)?.as_str());
                    kept.unwrap_or(word)
                });
                *text = words.collect::<Vec<_>>().join(" ");
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.fill(item)),
            // A query has variables of its own, which are nobody's else.
            Value::Object(fields) => {
                let fields = fields.iter_mut().filter(|(name, _)| *name != "query");
                fields.for_each(|(_, value)| self.fill(value));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn parse(&self, text: &str) -> Value {
        let mut value =
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        self.fill(&mut value);
        value
    }

    /// Compares an answer with what the page says, which may leave fields out; keeps what has a name.
    #[track_caller]
    fn compare(&mut self, told: &Value, found: &Value, whole: &Value) {
        match told {
            Value::String(text) if text == ANYTHING => {
                assert!(!found.is_null(), "{told}: {whole:#}");
            }
            Value::String(text) if text.starts_with('$') => {
                assert!(found.is_string(), "{told}: {whole:#}");
                self.0.insert(text[1..].to_owned(), found.clone());
            }
            Value::Object(fields) => {
                for (name, told) in fields {
                    self.compare(told, &found[name], whole);
                }
            }
            Value::Array(items) => {
                let found = found.as_array().unwrap_or_else(|| panic!("{told}: {whole:#}"));
                assert_eq!(items.len(), found.len(), "{told}: {whole:#}");
                for (told, found) in items.iter().zip(found) {
                    self.compare(told, found, whole);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                assert_eq!(told, found, "{whole:#}");
            }
        }
    }
}

/// Runs a command line of the page, if this machine has its program.
async fn run_shell(server: &Server, script: &str) {
    let mut shell = Command::new("bash");
    shell.args(["-euc", script]).env("URL", format!("{}/graphql", server.url()));
    let output = shell.env("ORION_ADMIN_PASSWORD", ADMIN_PASSWORD).output().await;
    let Ok(output) = output else { return };
    if output.status.code() == Some(127) {
        return;
    }
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(answer["data"]["login"]["accessToken"].is_string(), "{answer}");
}

/// Talks on a socket as the page says; then the connection is lost.
async fn talk(client: &Client, kept: &mut Kept, lines: &str) {
    let mut socket = client.silent_socket().await;
    for line in lines.lines() {
        if let Some(sent) = line.strip_prefix("> ") {
            let message = kept.parse(sent).to_string();
            socket.send(Message::text(message)).await.unwrap();
        } else {
            let told = kept.parse(line.strip_prefix("< ").expect("a direction"));
            let found = loop {
                let message = timeout(SOON, socket.next()).await.unwrap().unwrap().unwrap();
                if let Message::Text(text) = message {
                    break serde_json::from_str(&text).unwrap();
                }
            };
            kept.compare(&told, &found, &found);
        }
    }
}

#[tokio::test]
async fn the_examples_of_the_guide_work() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let mut kept = Kept(HashMap::from([("password".to_owned(), json!(ADMIN_PASSWORD))]));
    let mut blocks = blocks(GUIDE).into_iter().peekable();
    let mut answers = 0;
    while let Some((kind, text)) = blocks.next() {
        let client = match kept.0.get("accessToken") {
            Some(token) => server.anonymous().with_token(token.as_str().unwrap()),
            None => server.anonymous(),
        };
        let request = match kind {
            "sh" => {
                run_shell(&server, text).await;
                continue;
            }
            "text socket" => {
                talk(&client, &mut kept, text).await;
                continue;
            }
            "json request" => kept.parse(text),
            "graphql" => {
                let variables = blocks.next_if(|(kind, _)| *kind == "json variables");
                let variables = variables.map(|(_, text)| kept.parse(text));
                json!({ "query": text, "variables": variables })
            }
            other => panic!("nobody knows what to do with a block of {other}"),
        };
        let (kind, text) = blocks.next().expect("an answer");
        assert_eq!(kind, "json answer");
        // Not filled: a name that was kept before is kept anew.
        let told: Value = serde_json::from_str(text).unwrap();
        let found = client.post(request.to_string()).await.unwrap();
        let found: Value = found.json().await.unwrap();
        assert_eq!(told.get("errors").is_some(), found.get("errors").is_some(), "{found:#}");
        kept.compare(&told, &found, &found);
        answers += 1;
    }
    assert!(answers >= 10, "{answers}");
}
