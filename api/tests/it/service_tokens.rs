//! Service tokens from end to end: issued once, good for their scopes, over when they are revoked.

use orion_projections::{READ_MODEL, Status, checkpoint, resume};
use orion_store::testing::database;
use serde_json::{Value, json};
use sqlx::Executor as _;
use uuid::Uuid;

use crate::client::Client;
use crate::eventually::eventually;
use crate::log::Records;
use crate::people::id_at;
use crate::server::{ADMIN_EMAIL, Server, Settings};

impl Client {
    /// A machine with a new token of these scopes, and the token's id; by an admin.
    pub async fn machine(&self, name: &str, scopes: &[&str]) -> (Self, String) {
        let input = json!({ "name": name, "scopes": scopes });
        let issued = self.mutate("issueServiceToken", input, "token serviceToken { id }").await;
        let issued = issued.done();
        let machine = self.with_token(issued["token"].as_str().unwrap());
        (machine, id_at(&issued, "/serviceToken/id"))
    }

    /// Refuses a machine's token from now on; by an admin.
    async fn revoke(&self, id: &str) {
        self.mutate("revokeServiceToken", json!({ "serviceTokenId": id }), "").await.done();
    }
}

const TRENDS: &str = "{ trends { totalCount } }";

#[tokio::test]
async fn a_token_is_shown_once_and_listed_without_its_secret() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let admin = server.admin().await;
    let command = json!({ "name": "gpu worker", "scopes": ["PUBLISH", "PIPELINE"],
        "expiresAt": "2126-01-01T00:00:00Z", "commandId": Uuid::new_v4() });
    let shown =
        "token serviceToken { id name scopes issuedBy { email } version expiresAt revokedAt }";
    let first = admin.mutate("issueServiceToken", command.clone(), shown).await.done();
    let (token, id) = (first["token"].as_str().unwrap(), id_at(&first, "/serviceToken/id"));
    let prefix = format!("orion_st_{}_", id.replace('-', ""));
    assert!(token.starts_with(&prefix), "{token}");
    let mut expected = json!({ "id": id, "name": "gpu worker", "scopes": ["PIPELINE", "PUBLISH"],
        "issuedBy": { "email": ADMIN_EMAIL }, "version": 1,
        "expiresAt": "2126-01-01T00:00:00+00:00", "revokedAt": null });
    assert_eq!(first["serviceToken"], expected);

    // The repeat answers with the service token alone.
    let again = admin.mutate("issueServiceToken", command, shown).await.done();
    assert_eq!(again["serviceToken"], expected);
    assert_eq!((&again["token"], &again["position"]), (&Value::Null, &first["position"]));
    let (_, other) = admin.machine("trend watcher", &["TRENDS"]).await;

    // A name is free again when its token is revoked.
    let same_name = json!({ "name": "gpu worker", "scopes": ["TRENDS"] });
    let taken = admin.mutate("issueServiceToken", same_name.clone(), "token serviceToken { id }");
    let taken = taken.await;
    taken.refused("NAME_TAKEN", "name");
    assert_eq!((&taken.0["token"], &taken.0["serviceToken"]), (&Value::Null, &Value::Null));
    let revoke = json!({ "serviceTokenId": id, "expectedVersion": 1 });
    let stale = json!({ "serviceTokenId": id, "expectedVersion": 7 });
    let conflict = admin.mutate("revokeServiceToken", stale, "").await;
    conflict.refused("VERSION_CONFLICT", "expectedVersion");
    let revoked =
        admin.mutate("revokeServiceToken", revoke, "serviceToken { id revokedAt version }").await;
    let revoked = revoked.done()["serviceToken"].take();
    assert!(revoked["revokedAt"].is_string() && revoked["version"] == json!(2), "{revoked}");
    let again = admin.mutate("revokeServiceToken", json!({ "serviceTokenId": id }), "").await;
    again.refused("ALREADY_REVOKED", "serviceTokenId");
    let third = admin.mutate("issueServiceToken", same_name, "serviceToken { id }").await.done();
    let third = id_at(&third, "/serviceToken/id");

    let list = "query ($filter: ServiceTokenFilter, $orderBy: ServiceTokenOrder) {
        serviceTokens(filter: $filter, orderBy: $orderBy) { totalCount nodes { id } } }";
    for (variables, ids) in [
        (json!({ "orderBy": "ID_DESC" }), vec![&third, &other, &id]),
        (json!({ "orderBy": "NAME_ASC", "filter": { "isRevoked": false } }), vec![&third, &other]),
        (json!({ "orderBy": "ID_ASC", "filter": { "isRevoked": true } }), vec![&id]),
        (json!({ "orderBy": "ID_ASC", "filter": { "name": "WATCH" } }), vec![&other]),
    ] {
        let nodes: Vec<_> = ids.iter().map(|id| json!({ "id": id })).collect();
        let found = admin.query(list, variables).await;
        let expected = json!({ "totalCount": nodes.len(), "nodes": nodes });
        assert_eq!(found["serviceTokens"], expected);
    }
    expected["revokedAt"] = revoked["revokedAt"].clone();
    expected["version"] = json!(2);
    let node = "query ($id: ID!) { node(id: $id) { ... on ServiceToken { id name scopes
        issuedBy { email } version expiresAt revokedAt } } }";
    assert_eq!(admin.query(node, json!({ "id": id })).await["node"], expected);
    assert_nowhere(&server, &Records::of(&database.url).await, token).await;
}

/// The secret part of a token is in no table, event, answer to an auditor, or log line.
async fn assert_nowhere(server: &Server, records: &Records, token: &str) {
    let secret = &token[token.len() - 43..];
    for sql in [
        "SELECT count(*) FROM events e WHERE strpos(e::text, $1) > 0",
        "SELECT count(*) FROM receipts r WHERE strpos(r::text, $1) > 0",
        "SELECT count(*) FROM projection.service_tokens t WHERE strpos(t::text, $1) > 0",
    ] {
        let found: i64 =
            sqlx::query_scalar(sql).bind(secret).fetch_one(&records.pool).await.unwrap();
        assert_eq!(found, 0, "{sql}");
    }
    assert!(!server.stderr().contains(secret) && !server.stdout().contains(secret));
    let query =
        "{ events(filter: { eventTypes: [\"service_token.issued\"] }) { nodes { payload } } }";
    let events = server.admin().await.query(query, json!({})).await;
    let payload = &events["events"]["nodes"][0]["payload"];
    assert_eq!((&payload["token_hash"], &payload["name"]), (&json!("***"), &json!("gpu worker")));
    records.assert_projected().await;
}

#[tokio::test]
async fn a_worker_of_the_pipeline_runs_what_an_editor_has_begun() {
    let database = database().await;
    // 32 bytes in base64, for two servers on one database need the same key.
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let settings = Settings::on(&database.url).with("ORION_MASTER_KEY", key);
    let server = Server::with(settings.clone()).await;
    let other_server = Server::with(settings).await;
    let (admin, ada) = (server.admin().await, server.editor("ada").await);
    let (worker, worker_id) = admin.machine("worker", &["PIPELINE"]).await;
    let trend = ada.detect_trend("Rust in space").await;
    let content = ada.draft_content(&trend, "Why rockets run Rust").await;

    let watch = "subscription { pipelineRunChanged { pipelineRuns { stage status } } }";
    let mut work = worker.subscribe(watch, json!({})).await;
    work.next_is_silence().await;
    ada.on_content("startGeneration", &content).await;
    let pending = work.change().await;
    let stages: Vec<_> = pending["pipelineRuns"].as_array().unwrap().clone();
    assert_eq!(stages.len(), 4);
    for stage in stages {
        let stage = stage["stage"].as_str().unwrap();
        let run_id = worker.start_stage(&content, stage).await;
        let asset = json!({ "contentId": content, "assetType": "IMAGE", "provider": "comfyui",
                            "filePath": format!("/media/{stage}.png") });
        worker.mutate("attachMediaAsset", asset, "mediaAsset { id }").await.done();
        if stage == "script" {
            let script = json!({ "contentId": content, "scriptBody": "Scene 1: a rocket." });
            worker.mutate("writeScript", script, "").await.done();
        }
        let done =
            worker.mutate("completeStage", json!({ "runId": run_id }), "pipelineRun { status }");
        assert_eq!(done.await.done()["pipelineRun"]["status"], "COMPLETED");
    }

    // What is a person's to decide stays a person's.
    for (mutation, input) in [
        ("submitForReview", json!({ "contentId": content })),
        ("approveContent", json!({ "contentId": content })),
        ("editContent", json!({ "contentId": content, "title": "Mine" })),
        ("draftContent", json!({ "trendId": trend, "title": "Mine" })),
        ("publishContent", json!({ "contentId": content, "platform": "tiktok" })),
        ("issueServiceToken", json!({ "name": "another", "scopes": ["PIPELINE"] })),
    ] {
        let mutation = crate::client::mutation(mutation, "");
        worker.ask(&mutation, json!({ "input": input })).await.fails("FORBIDDEN");
    }
    worker.ask("{ users { totalCount } }", json!({})).await.fails("FORBIDDEN");
    ada.on_content("submitForReview", &content).await;
    admin.on_content("approveContent", &content).await;

    // The log says which machine it was.
    let by = "query ($actor: String) { events(filter: { actor: $actor }) { totalCount } }";
    let by_worker = admin.query(by, json!({ "actor": format!("service:{worker_id}") })).await;
    assert_eq!(by_worker["events"]["totalCount"], json!(13));

    // It is over at once, on every server.
    let elsewhere = worker.at(other_server.url());
    elsewhere.query(TRENDS, json!({})).await;
    admin.revoke(&worker_id).await;
    for machine in [&worker, &elsewhere] {
        machine.ask(TRENDS, json!({})).await.fails("UNAUTHENTICATED");
        assert_eq!(machine.refused_socket().await, 4403);
    }
}

#[tokio::test]
async fn a_failed_stage_is_a_worker_s_to_report() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let (admin, ada) = (server.admin().await, server.editor("ada").await);
    let (worker, _) = admin.machine("worker", &["PIPELINE"]).await;
    let trend = ada.detect_trend("a topic").await;
    let content = ada.draft_content(&trend, "a title").await;
    ada.on_content("startGeneration", &content).await;
    let run_id = worker.start_stage(&content, "script").await;
    let failure = json!({ "runId": run_id, "error": "no words" });
    let failed = worker.mutate("failStage", failure, "content { status }").await.done();
    assert_eq!(failed["content"]["status"], "DRAFT");
}

#[tokio::test]
async fn a_publisher_records_results_and_a_watcher_keeps_trends() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let (admin, ada) = (server.admin().await, server.editor("ada").await);
    let (publisher, _) = admin.machine("publisher", &["PUBLISH"]).await;
    let (watcher, _) = admin.machine("watcher", &["TRENDS"]).await;

    let trend = watcher.detect_trend("a topic").await;
    let rescore = json!({ "trendId": trend, "score": 0.9 });
    let rescored = watcher.mutate("rescoreTrend", rescore, "trend { score }").await.done();
    assert_eq!(rescored["trend"]["score"], json!(0.9));

    let content = ada.draft_content(&trend, "a title").await;
    ada.generate(&content).await;
    admin.on_content("approveContent", &content).await;
    for (record, result) in [
        ("recordPublishFailure", json!({ "error": "quota" })),
        ("recordPublished", json!({ "platformPostId": "yt-42" })),
    ] {
        let request = json!({ "contentId": content, "platform": "youtube" });
        let wanted = ada.mutate("publishContent", request, "publishId").await.done();
        let seen = publisher
            .query("{ publishes(filter: { status: PENDING }) { nodes { id } } }", json!({}));
        let publish_id = id_at(&seen.await, "/publishes/nodes/0/id");
        assert_eq!(wanted["publishId"], json!(publish_id));
        let mut input = result;
        input["publishId"] = json!(publish_id);
        let recorded = publisher.mutate(record, input, "publishRecord { platform }").await.done();
        assert_eq!(recorded["publishRecord"]["platform"], "youtube");
    }
    let status = "query ($id: ID!) { content(id: $id) { status publishRecords { totalCount } } }";
    eventually("the content is published", async || {
        let found = publisher.query(status, json!({ "id": content })).await;
        let expected = json!({ "status": "PUBLISHED", "publishRecords": { "totalCount": 2 } });
        (found["content"] == expected).then_some(())
    })
    .await;
    let hidden = watcher.query(status, json!({ "id": content })).await;
    assert_eq!(hidden, json!({ "content": null }));
    Records::of(&database.url).await.assert_projected().await;
}

#[tokio::test]
async fn what_is_not_exactly_the_token_is_nobody_s() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let admin = server.admin().await;
    let (worker, id) = admin.machine("worker", &["TRENDS"]).await;
    let (_, other_id) = admin.machine("other", &["TRENDS"]).await;
    let token = worker.token.clone().unwrap();
    let digits = |id: &str| id.replace('-', "");
    let (head, last) = token.split_at(token.len() - 1);
    for forged in [
        head.to_owned(),
        format!("{token}A"),
        format!("{head}{}", if last == "A" { "B" } else { "A" }),
        token.replace(&digits(&id), &digits(&other_id)),
        token.replace(&digits(&id), &digits(&Uuid::now_v7().to_string())),
        token.replace(&digits(&id), &id),
        format!("orion_st_{}_", digits(&id)),
        "orion_st_".to_owned(),
        token.to_uppercase(),
    ] {
        let stranger = worker.with_token(&forged);
        stranger.ask(TRENDS, json!({})).await.fails("UNAUTHENTICATED");
        assert_eq!(stranger.refused_socket().await, 4403, "{forged}");
    }
    worker.query(TRENDS, json!({})).await;
    // The routes of people are not for machines.
    let me = reqwest::Client::new().get(format!("{}/api/v1/auth/me", worker.url));
    assert_eq!(me.bearer_auth(&token).send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_token_ends_when_its_time_is_up() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let admin = server.admin().await;
    let soon = chrono::Utc::now() + chrono::TimeDelta::seconds(3);
    let input = json!({ "name": "short", "scopes": ["TRENDS"], "expiresAt": soon });
    let issued = admin.mutate("issueServiceToken", input, "token serviceToken { id }").await.done();
    let machine = admin.with_token(issued["token"].as_str().unwrap());
    machine.query(TRENDS, json!({})).await;
    eventually("the token ends", async || {
        let answer = machine.ask(TRENDS, json!({})).await;
        (answer.code() == Some("UNAUTHENTICATED")).then_some(())
    })
    .await;
    assert!(chrono::Utc::now() >= soon);
    admin.revoke(&id_at(&issued, "/serviceToken/id")).await;
}

#[tokio::test]
async fn while_the_read_model_stands_the_log_decides() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let admin = server.admin().await;
    let (old, old_id) = admin.machine("old", &["TRENDS"]).await;
    let records = Records::of(&database.url).await;
    let execute = async |sql: &str| records.pool.execute(sql).await.unwrap();
    execute("ALTER TABLE orion.trends ADD CONSTRAINT refused_by_the_test CHECK (topic <> 'boom')")
        .await;
    admin.mutate("detectTrend", json!({ "topic": "boom", "source": "s" }), "").await;
    eventually("the projection stops", async || {
        let status = checkpoint(&records.pool, READ_MODEL).await.unwrap().status;
        matches!(status, Status::Stopped { .. }).then_some(())
    })
    .await;

    let input = json!({ "name": "new", "scopes": ["TRENDS"] });
    let issued = admin.mutate("issueServiceToken", input, "token").await;
    assert_eq!((&issued.0["errors"], &issued.0["projected"]), (&json!([]), &json!(false)));
    let new = admin.with_token(issued.0["token"].as_str().unwrap());
    for machine in [&old, &new] {
        machine.query(TRENDS, json!({})).await;
    }
    let revoke = json!({ "serviceTokenId": old_id });
    let revoked = admin.mutate("revokeServiceToken", revoke, "").await;
    assert_eq!(revoked.0["errors"], json!([]));
    old.ask(TRENDS, json!({})).await.fails("UNAUTHENTICATED");
    new.query(TRENDS, json!({})).await;

    execute("ALTER TABLE orion.trends DROP CONSTRAINT refused_by_the_test").await;
    resume(&records.pool, READ_MODEL).await.unwrap();
    records.assert_projected().await;
    old.ask(TRENDS, json!({})).await.fails("UNAUTHENTICATED");
    new.query(TRENDS, json!({})).await;
}
