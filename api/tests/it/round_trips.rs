//! What is not asked of PostgreSQL: who was recognised a moment ago, and a transaction around one statement.

use orion_store::testing::database;
use serde_json::json;

use crate::client::Client;
use crate::eventually::eventually;
use crate::people::id_at;
use crate::server::{Server, Settings};

const SESSIONS: &str = "FROM projection.sessions";
/// What a transaction asks first.
const BEGIN: &str = "summary=\"SELECT max(position) FILTER";
const ME: &str = "{ me { id } }";

/// The key that both servers sign access tokens with.
const TOKEN_KEY: &str = "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=";

struct Logged {
    server: Server,
}

impl Logged {
    async fn start(url: &str) -> Self {
        let settings = Settings::on(url).with("ORION_LOG", "info,sqlx::query=debug");
        let settings = settings.with("ORION_TOKEN_KEY", TOKEN_KEY);
        Self { server: Server::with(settings).await }
    }

    fn count(&self, statement: &str) -> usize {
        self.server.stderr().lines().filter(|line| line.contains(statement)).count()
    }

    /// How many of these statements an operation needs.
    async fn made(&self, client: &Client, query: &str, statement: &str) -> usize {
        let before = self.count(statement);
        client.query(query, json!({})).await;
        self.count(statement) - before
    }
}

#[tokio::test]
async fn one_statement_has_no_transaction_and_two_have_one() {
    let database = database().await;
    let logged = Logged::start(&database.url).await;
    let editor = logged.server.editor("ada").await;
    let trend = editor.detect_trend("a topic").await;
    let one = format!("{{ trend(id: \"{trend}\") {{ id topic contents {{ nodes {{ id }} }} }} }}");
    assert_eq!(logged.made(&editor, &one, BEGIN).await, 0);
    let two = format!("{{ trend(id: \"{trend}\") {{ topic }} contents {{ nodes {{ id }} }} }}");
    assert_eq!(logged.made(&editor, &two, BEGIN).await, 1);
    // What is not planned is read beside it.
    let unplanned = format!(
        "{{ node(id: \"{trend}\") {{ ... on Trend {{ topic contents {{ nodes {{ id }} }} }} }} }}"
    );
    assert_eq!(logged.made(&editor, &unplanned, BEGIN).await, 1);
}

#[tokio::test]
async fn a_token_is_looked_up_once_until_its_rights_end() {
    let database = database().await;
    let logged = Logged::start(&database.url).await;
    let settings = Settings::on(&database.url).with("ORION_TOKEN_KEY", TOKEN_KEY);
    let elsewhere = Server::with(settings).await;
    let viewer = logged.server.viewer("ada").await;
    assert!(logged.made(&viewer, ME, SESSIONS).await >= 1, "nobody knew it");
    assert_eq!(logged.made(&viewer, ME, SESSIONS).await, 0, "it was recognised before");
    let unsigned = viewer.with_token(format!("{}x", viewer.token.as_deref().unwrap_or_default()));
    unsigned.ask(ME, json!({})).await.fails("UNAUTHENTICATED");

    // Another server ends the rights.
    let user_id = id_at(&viewer.query(ME, json!({})).await, "/me/id");
    let admin = elsewhere.admin().await;
    admin.mutate("deactivateUser", json!({ "userId": user_id }), "").await.done();
    viewer.at(elsewhere.url()).ask(ME, json!({})).await.fails("UNAUTHENTICATED");
    eventually("the session has ended here, too", async || {
        let answer = viewer.ask(ME, json!({})).await;
        (answer.code() == Some("UNAUTHENTICATED")).then_some(())
    })
    .await;
}
