//! Who uses a server in the tests: an admin, editors, a viewer.

use serde_json::{Value, json};

use crate::client::Client;
use crate::server::{ADMIN_PASSWORD, Server};

impl Server {
    /// A new viewer with this name, signed in.
    pub async fn viewer(&self, name: &str) -> Client {
        self.anonymous().register(name).await.0
    }

    /// A new editor with this name, signed in.
    pub async fn editor(&self, name: &str) -> Client {
        let (client, user_id) = self.anonymous().register(name).await;
        let change = json!({ "userId": user_id, "role": "EDITOR" });
        self.admin().await.mutate("changeRole", change, "").await.done();
        client.sign_in(&format!("{name}@example.org"), ADMIN_PASSWORD).await
    }
}

/// What an editor does often.
impl Client {
    /// Detects a trend; gives its id.
    pub async fn detect_trend(&self, topic: &str) -> String {
        let input = json!({ "topic": topic, "source": "rss", "score": 0.5 });
        let payload = self.mutate("detectTrend", input, "trend { id }").await.done();
        id_at(&payload, "/trend/id")
    }

    /// Drafts a content; gives its id.
    pub async fn draft_content(&self, trend_id: &str, title: &str) -> String {
        let input = json!({ "trendId": trend_id, "title": title });
        let payload = self.mutate("draftContent", input, "content { id }").await.done();
        id_at(&payload, "/content/id")
    }

    /// Runs a mutation on a content that must succeed; gives its payload.
    pub async fn on_content(&self, field: &str, content_id: &str) -> Value {
        let input = json!({ "contentId": content_id });
        self.mutate(field, input, "content { status }").await.done()
    }

    /// Takes a draft through a generation with one stage into the review.
    pub async fn generate(&self, content_id: &str) {
        let input = json!({ "contentId": content_id, "stages": ["script"] });
        self.mutate("startGeneration", input, "").await.done();
        let run_id = self.start_stage(content_id, "script").await;
        self.mutate("completeStage", json!({ "runId": run_id }), "").await.done();
        self.on_content("submitForReview", content_id).await;
    }

    /// Starts a stage; gives the run's id.
    pub async fn start_stage(&self, content_id: &str, stage: &str) -> String {
        let input = json!({ "contentId": content_id, "stage": stage });
        let payload = self.mutate("startStage", input, "pipelineRun { id status }").await.done();
        assert_eq!(payload["pipelineRun"]["status"], "RUNNING");
        id_at(&payload, "/pipelineRun/id")
    }
}

/// An id somewhere in an answer.
#[track_caller]
pub fn id_at(value: &Value, pointer: &str) -> String {
    let id = value.pointer(pointer).and_then(Value::as_str);
    id.unwrap_or_else(|| panic!("no id at {pointer} of {value:#}")).to_owned()
}
