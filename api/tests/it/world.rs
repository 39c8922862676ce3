//! A server with one of everything in it, for tests that look at refusals.

use orion_store::testing::{TestDatabase, database};
use serde_json::json;

use crate::client::Client;
use crate::eventually::eventually;
use crate::log::Records;
use crate::people::id_at;
use crate::server::Server;

/// The states of a content that a command may find.
pub const STATES: [&str; 6] =
    ["DRAFT", "GENERATING", "REVIEW", "APPROVED", "PUBLISHED", "REJECTED"];

/// A content with the run of its only stage.
#[derive(Clone, Debug)]
pub struct ContentInState {
    /// The content.
    pub id: String,
    /// The run of its stage `script`; of the nil id in a draft.
    pub run_id: String,
}

/// One of everything; what has an owner belongs to ada.
pub struct World {
    /// The database.
    pub records: Records,
    /// Does everything.
    pub admin: Client,
    /// An editor.
    pub ada: Client,
    /// Another editor, to whom nothing here belongs.
    pub bob: Client,
    /// A viewer.
    pub viewer: Client,
    /// The viewer's id.
    pub viewer_id: String,
    /// A trend of which contents may be made.
    pub trend: String,
    /// One that is over.
    pub expired_trend: String,
    /// One that was put away.
    pub archived_trend: String,
    /// Contents in the order of [`STATES`].
    contents: Vec<ContentInState>,
    /// A social account to publish through.
    pub account: String,
    /// One that was deactivated.
    pub inactive_account: String,
    /// A publish request with an open attempt.
    pub pending_publish: String,
    /// One whose attempt failed.
    pub failed_publish: String,
    /// One that succeeded.
    pub done_publish: String,
    /// A provider that is enabled.
    pub provider: String,
    /// The newest session of ada.
    pub session: String,
    /// Dropped before the database.
    pub server: Server,
    _database: TestDatabase,
}

impl World {
    /// Makes everything.
    pub async fn new() -> Self {
        let database = database().await;
        let server = Server::start(&database.url).await;
        let (admin, ada, bob) =
            (server.admin().await, server.editor("ada").await, server.editor("bob").await);
        let (viewer, viewer_id) = server.anonymous().register("vera").await;

        let trend = ada.detect_trend("a topic").await;
        let expired_trend = ada.detect_trend("an old topic").await;
        ada.mutate("expireTrend", json!({ "trendId": expired_trend }), "").await.done();
        let archived_trend = ada.detect_trend("a dull topic").await;
        ada.mutate("archiveTrend", json!({ "trendId": archived_trend }), "").await.done();

        let account = connect(&ada).await;
        let inactive_account = connect(&ada).await;
        let deactivate = json!({ "socialAccountId": inactive_account });
        ada.mutate("deactivateSocialAccount", deactivate, "").await.done();

        let mut contents = Vec::new();
        for state in STATES {
            contents.push(content_in(state, &admin, &ada, &trend).await);
        }
        let publish = async |content: usize| {
            let input = json!({ "contentId": contents[content].id, "platform": "tiktok" });
            id_at(&ada.mutate("publishContent", input, "publishId").await.done(), "/publishId")
        };
        let (approved, published) = (3, 4);
        let pending_publish = publish(approved).await;
        let failed_publish = publish(approved).await;
        let failure = json!({ "publishId": failed_publish, "error": "quota" });
        ada.mutate("recordPublishFailure", failure, "").await.done();
        let done_publish = publish(published).await;
        ada.mutate("recordPublished", json!({ "publishId": done_publish }), "").await.done();

        let input = json!({ "name": "openai", "providerType": "llm", "config": { "model": "m" } });
        let provider = admin.mutate("registerProvider", input, "provider { id }").await.done();
        let sessions = ada.query("{ me { sessions { nodes { id } } } }", json!({})).await;
        Self {
            records: Records::of(&database.url).await,
            admin,
            ada,
            bob,
            viewer,
            viewer_id,
            trend,
            expired_trend,
            archived_trend,
            contents,
            account,
            inactive_account,
            pending_publish,
            failed_publish,
            done_publish,
            provider: id_at(&provider, "/provider/id"),
            session: id_at(&sessions, "/me/sessions/nodes/0/id"),
            server,
            _database: database,
        }
    }

    /// A content in a state.
    pub fn content(&self, state: &str) -> &ContentInState {
        let index = STATES.iter().position(|known| *known == state);
        &self.contents[index.unwrap_or_else(|| panic!("no content is {state}"))]
    }
}

/// Connects a social account of this editor: its id.
pub async fn connect(editor: &Client) -> String {
    let input = json!({ "platform": "youtube", "displayName": "Shorts", "credentials": "c" });
    let payload = editor.mutate("connectSocialAccount", input, "socialAccount { id }").await.done();
    id_at(&payload, "/socialAccount/id")
}

async fn content_in(state: &str, admin: &Client, ada: &Client, trend: &str) -> ContentInState {
    let id = ada.draft_content(trend, state).await;
    let mut run_id = uuid::Uuid::nil().to_string();
    let steps = STATES.iter().position(|known| *known == state).unwrap();
    if steps > 0 {
        let input = json!({ "contentId": id, "stages": ["script"] });
        ada.mutate("startGeneration", input, "").await.done();
        run_id = ada.start_stage(&id, "script").await;
    }
    if steps > 1 {
        ada.mutate("completeStage", json!({ "runId": run_id }), "").await.done();
        ada.on_content("submitForReview", &id).await;
    }
    match state {
        "REJECTED" => {
            let input = json!({ "contentId": id, "reason": "dull" });
            admin.mutate("rejectContent", input, "").await.done();
        }
        "APPROVED" | "PUBLISHED" => {
            admin.on_content("approveContent", &id).await;
        }
        _ => {}
    }
    if state == "PUBLISHED" {
        let input = json!({ "contentId": id, "platform": "tiktok" });
        let payload = ada.mutate("publishContent", input, "publishId").await.done();
        let input = json!({ "publishId": id_at(&payload, "/publishId") });
        ada.mutate("recordPublished", input, "").await.done();
    }
    eventually(&format!("the content is {state}"), async || {
        let query = "query ($id: ID!) { content(id: $id) { status } }";
        let found = ada.query(query, json!({ "id": id })).await;
        (found["content"]["status"] == state).then_some(())
    })
    .await;
    ContentInState { id, run_id }
}
