//! The whole life of a content, through GraphQL alone.

use orion_store::testing::database;
use serde_json::{Value, json};

use crate::client::Client;
use crate::eventually::eventually;
use crate::log::Records;
use crate::people::id_at;
use crate::server::{ADMIN_EMAIL, ADMIN_PASSWORD, Server, Settings};

/// Everything of a content that nests.
const NESTED: &str = "query ($id: ID!) { content(id: $id) {
    id title status hook scriptBody visualPrompts version
    trend { id topic score status contents { totalCount } }
    createdBy { id name role }
    mediaAssets { totalCount edges { node { assetType provider filePath metadata } } }
    pipelineRuns { totalCount edges { node { stage status errorMessage } } }
    publishRecords { edges { node { platform platformPostId status socialAccount { displayName } } } }
} }";

#[tokio::test]
async fn a_content_lives_from_its_trend_to_its_publication() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let admin = server.admin().await;
    let (ada, ada_id) = become_editor(&server, &admin).await;
    let trend_id = detect_trend(&ada).await;
    let content_id = draft(&ada, &ada_id, &trend_id).await;
    generate(&ada, &content_id).await;
    review(&ada, &admin, &content_id).await;
    publish(&ada, &ada_id, &content_id).await;

    let content = eventually("the content is published", async || {
        let content = ada.query(NESTED, json!({ "id": content_id })).await["content"].clone();
        (content["status"] == "PUBLISHED").then_some(content)
    })
    .await;
    assert_nested(&content, &trend_id, &ada_id);

    // The log says who did it and what caused it; what is secret is nowhere.
    let events = admin
        .query(
            "{ events(last: 1) { edges { node { eventType metadata } } } log { head projections { lag error } } }",
            json!({}),
        )
        .await;
    let last = &events["events"]["edges"][0]["node"];
    assert_eq!(last["eventType"], "content.published");
    assert_eq!(last["metadata"]["actor"], "system");
    assert!(last["metadata"]["causation_id"].is_string(), "{last}");
    let records = Records::of(&database.url).await;
    assert_eq!(events["log"]["head"], json!(records.head().await.to_string()));
    assert_no_secret(&server, &records).await;
    records.assert_in_order().await;
    records.assert_projected().await;
}

async fn become_editor(server: &Server, admin: &Client) -> (Client, String) {
    // A registered user is a viewer until an admin says otherwise.
    let (viewer, ada_id) = server.anonymous().register("ada").await;
    let me = viewer.query("{ me { id role name isActive } }", json!({})).await;
    assert_eq!(
        me["me"],
        json!({ "id": ada_id, "role": "VIEWER", "name": "ada", "isActive": true })
    );
    let promotion = json!({ "userId": ada_id, "role": "EDITOR" });
    let changed = admin.mutate("changeRole", promotion, "user { role }").await.done();
    assert_eq!(changed["user"]["role"], "EDITOR");
    let ada = viewer.sign_in("ada@example.org", ADMIN_PASSWORD).await;
    (ada, ada_id)
}

async fn detect_trend(ada: &Client) -> String {
    let input = json!({ "topic": "Rust in space", "source": "rss", "score": 0.87, "rawData": { "rank": 1 } });
    let trend =
        ada.mutate("detectTrend", input, "trend { id topic source score rawData status version }");
    let trend = trend.await.done();
    let trend_id = id_at(&trend, "/trend/id");
    assert_eq!(
        trend["trend"],
        json!({ "id": trend_id, "topic": "Rust in space", "source": "rss", "score": 0.87,
                "rawData": { "rank": 1 }, "status": "ACTIVE", "version": 1 })
    );
    let rescore = json!({ "trendId": trend_id, "score": 0.9, "expectedVersion": 1 });
    let rescored = ada.mutate("rescoreTrend", rescore, "trend { score version }").await.done();
    assert_eq!(rescored["trend"], json!({ "score": 0.9, "version": 2 }));
    trend_id
}

async fn draft(ada: &Client, ada_id: &str, trend_id: &str) -> String {
    let input = json!({ "trendId": trend_id, "title": "Why satellites run Rust" });
    let drafted = ada
        .mutate("draftContent", input, "content { id status version createdBy { id } }")
        .await
        .done();
    let content_id = id_at(&drafted, "/content/id");
    assert_eq!(
        drafted["content"],
        json!({ "id": content_id, "status": "DRAFT", "version": 1, "createdBy": { "id": ada_id } })
    );

    let edit = json!({ "contentId": content_id, "title": "Why rockets run Rust" });
    let edited = ada.mutate("editContent", edit, "content { title }").await.done();
    assert_eq!(edited["content"]["title"], "Why rockets run Rust");
    content_id
}

async fn generate(ada: &Client, content_id: &str) {
    // A generation that fails leads back to a draft.
    generation(ada, content_id).await;
    let run_id = ada.start_stage(content_id, "script").await;
    let failed = ada
        .mutate(
            "failStage",
            json!({ "runId": run_id, "error": "no ink" }),
            "pipelineRun { status errorMessage } content { status }",
        )
        .await
        .done();
    assert_eq!(failed["pipelineRun"], json!({ "status": "FAILED", "errorMessage": "no ink" }));
    assert_eq!(failed["content"]["status"], "DRAFT");

    generation(ada, content_id).await;
    for stage in ["script", "images", "audio", "video"] {
        let run_id = ada.start_stage(content_id, stage).await;
        work_on(ada, content_id, stage).await;
        let completed = ada
            .mutate("completeStage", json!({ "runId": run_id }), "pipelineRun { stage status }")
            .await
            .done();
        assert_eq!(completed["pipelineRun"], json!({ "stage": stage, "status": "COMPLETED" }));
    }
}

async fn review(ada: &Client, admin: &Client, content_id: &str) {
    // A rejected content returns to draft, is generated again and approved.
    let submitted = ada.on_content("submitForReview", content_id).await;
    assert_eq!(submitted["content"]["status"], "REVIEW");
    let reject = json!({ "contentId": content_id, "reason": "too loud" });
    let rejected = admin.mutate("rejectContent", reject, "content { status }").await.done();
    assert_eq!(rejected["content"]["status"], "REJECTED");
    let returned = ada.on_content("returnToDraft", content_id).await;
    assert_eq!(returned["content"]["status"], "DRAFT");
    ada.generate(content_id).await;
    let approved = admin.on_content("approveContent", content_id).await;
    assert_eq!(approved["content"]["status"], "APPROVED");
}

async fn publish(ada: &Client, ada_id: &str, content_id: &str) {
    let connect =
        json!({ "platform": "youtube", "displayName": "Shorts", "credentials": "s3cr3t-token" });
    let account = ada
        .mutate(
            "connectSocialAccount",
            connect,
            "socialAccount { id platform isActive user { id } }",
        )
        .await
        .done();
    let account_id = id_at(&account, "/socialAccount/id");
    assert_eq!(
        account["socialAccount"],
        json!({ "id": account_id, "platform": "youtube", "isActive": true, "user": { "id": ada_id } })
    );

    // The first attempt fails, the second succeeds.
    let publish = json!({ "contentId": content_id, "socialAccountId": account_id });
    let requested =
        ada.mutate("publishContent", publish, "publishId publish { status attempts }").await.done();
    let publish_id = id_at(&requested, "/publishId");
    assert_eq!(requested["publish"], json!({ "status": "PENDING", "attempts": 0 }));
    let failure = json!({ "publishId": publish_id, "error": "quota" });
    let failed = ada
        .mutate(
            "recordPublishFailure",
            failure,
            "publishRecord { status errorMessage } content { status }",
        )
        .await
        .done();
    assert_eq!(failed["publishRecord"], json!({ "status": "FAILED", "errorMessage": "quota" }));
    assert_eq!(failed["content"]["status"], "APPROVED");
    let retried = ada
        .mutate("retryPublish", json!({ "publishId": publish_id }), "publish { status attempts }")
        .await
        .done();
    assert_eq!(retried["publish"], json!({ "status": "PENDING", "attempts": 1 }));
    let success = json!({ "publishId": publish_id, "platformPostId": "yt-42" });
    let published = ada
        .mutate("recordPublished", success, "publishRecord { status platformPostId }")
        .await
        .done();
    assert_eq!(
        published["publishRecord"],
        json!({ "status": "PUBLISHED", "platformPostId": "yt-42" })
    );
}

async fn assert_no_secret(server: &Server, records: &Records) {
    let secrets = ["s3cr3t-token", ADMIN_PASSWORD];
    let stderr = server.stderr();
    for secret in secrets {
        assert!(!stderr.contains(secret), "a secret in a log line: {stderr}");
        let in_events: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM events WHERE strpos(payload::text || metadata::text, $1) > 0",
        )
        .bind(secret)
        .fetch_one(&records.pool)
        .await
        .unwrap();
        assert_eq!(in_events, 0, "a secret in the log");
    }
}

async fn generation(editor: &Client, content_id: &str) {
    let input = json!({ "contentId": content_id });
    let selection = "content { status pipelineRuns { nodes { stage status } } }";
    let started = editor.mutate("startGeneration", input, selection).await.done();
    assert_eq!(started["content"]["status"], "GENERATING");
    let runs = started["content"]["pipelineRuns"]["nodes"].as_array().unwrap();
    let newest = &runs[runs.len() - 4..];
    let expected = ["script", "images", "audio", "video"];
    let expected = expected.map(|stage| json!({ "stage": stage, "status": "PENDING" }));
    assert_eq!(newest, expected);
}

/// What a worker hands in for a stage.
async fn work_on(editor: &Client, content_id: &str, stage: &str) {
    let attach = |asset_type: &str, path: &str, metadata: Value| {
        json!({ "contentId": content_id, "assetType": asset_type, "provider": "comfyui",
                "filePath": path, "metadata": metadata })
    };
    let asset = match stage {
        "script" => {
            let script = json!({ "contentId": content_id, "scriptBody": "Scene 1: a rocket.",
                "hook": "Rust never sleeps", "visualPrompts": ["a rocket at dawn"] });
            editor.mutate("writeScript", script, "content { hook }").await.done();
            return;
        }
        "images" => attach("IMAGE", "/media/rocket.png", json!({ "width": 1080 })),
        "audio" => attach("AUDIO", "/media/voice.mp3", json!({ "seconds": 31.5 })),
        _ => attach("VIDEO", "/media/final.mp4", Value::Null),
    };
    let attached =
        editor.mutate("attachMediaAsset", asset.clone(), "mediaAsset { filePath }").await;
    assert_eq!(attached.done()["mediaAsset"]["filePath"], asset["filePath"]);
}

fn assert_nested(content: &Value, trend_id: &str, creator_id: &str) {
    assert_eq!(content["title"], "Why rockets run Rust");
    assert_eq!(content["hook"], "Rust never sleeps");
    assert_eq!(content["scriptBody"], "Scene 1: a rocket.");
    assert_eq!(content["visualPrompts"], json!(["a rocket at dawn"]));
    assert_eq!(
        content["trend"],
        json!({ "id": trend_id, "topic": "Rust in space", "score": 0.9, "status": "ACTIVE",
                "contents": { "totalCount": 1 } })
    );
    assert_eq!(content["createdBy"], json!({ "id": creator_id, "name": "ada", "role": "EDITOR" }));
    let asset = |asset_type: &str, path: &str, metadata: Value| json!({ "node": { "assetType": asset_type, "provider": "comfyui", "filePath": path, "metadata": metadata } });
    assert_eq!(
        content["mediaAssets"],
        json!({ "totalCount": 3, "edges": [
            asset("IMAGE", "/media/rocket.png", json!({ "width": 1080 })),
            asset("AUDIO", "/media/voice.mp3", json!({ "seconds": 31.5 })),
            asset("VIDEO", "/media/final.mp4", Value::Null),
        ] })
    );
    let runs = content["pipelineRuns"]["edges"].as_array().unwrap();
    // The failed generation with its three abandoned runs, the full one, the short one.
    let statuses: Vec<_> = runs.iter().map(|run| run["node"]["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, [vec!["FAILED"; 4], vec!["COMPLETED"; 5]].concat());
    let record = |status: &str, post_id: Value| {
        json!({ "node": { "platform": "youtube", "platformPostId": post_id, "status": status,
                          "socialAccount": { "displayName": "Shorts" } } })
    };
    assert_eq!(
        content["publishRecords"]["edges"],
        json!([record("PUBLISHED", json!("yt-42")), record("FAILED", Value::Null)])
    );
}

#[tokio::test]
async fn a_session_is_renewed_and_ended() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let input = json!({ "email": "eve@example.org", "password": ADMIN_PASSWORD, "name": "Eve" });
    let tokens = "accessToken refreshToken user { sessions { nodes { current revokedReason } } }";
    let first = server.anonymous().mutate("register", input, tokens).await.done();
    assert_eq!(
        first["user"]["sessions"]["nodes"],
        json!([{ "current": true, "revokedReason": null }])
    );
    let refresh = json!({ "refreshToken": first["refreshToken"] });
    let second = server.anonymous().mutate("refreshSession", refresh, tokens).await.done();
    let eve = server.anonymous().with_token(second["accessToken"].as_str().unwrap());
    assert_eq!(eve.query("{ me { name } }", json!({})).await, json!({ "me": { "name": "Eve" } }));

    let logout = json!({ "refreshToken": second["refreshToken"] });
    server.anonymous().mutate("logout", logout, "").await.done();
    eve.ask("{ me { name } }", json!({})).await.fails("UNAUTHENTICATED");
    Records::of(&database.url).await.assert_projected().await;
}

#[tokio::test]
async fn a_second_start_adds_nothing_and_shows_no_password() {
    let database = database().await;
    let settings = Settings::on(&database.url).without("ORION_ADMIN_PASSWORD");
    let first = Server::with(settings).await;
    let stdout = first.stdout();
    let password = stdout.lines().find_map(|line| line.trim().strip_prefix("password"));
    let password = password.unwrap().split_whitespace().next().unwrap().to_owned();
    assert!(stdout.contains(ADMIN_EMAIL), "{stdout}");
    first.anonymous().sign_in(ADMIN_EMAIL, &password).await;
    assert!(!first.stderr().contains(&password));
    let records = Records::of(&database.url).await;
    let head = records.head().await;

    let (_, stopped) = first.terminate().await;
    let second = stopped.start_again().await;
    assert_eq!(records.head().await, head, "the second start wrote to the log");
    assert!(!second.stdout().contains("password"), "{}", second.stdout());
    second.anonymous().sign_in(ADMIN_EMAIL, &password).await;
}
