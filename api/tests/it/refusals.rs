//! Bad input: what is refused says why and about which field, and nothing is written.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::{Client, Payload};
use crate::sdl;
use crate::world::{STATES, World};

/// A mutation, a good input, the text field that is made bad, and the most characters it may have.
type Text<'a> = (&'a Client, &'static str, Value, &'static str, usize);

/// The input with another value in one field.
fn with(mut input: Value, field: &str, value: impl Into<Value>) -> Value {
    input[field] = value.into();
    input
}

fn texts(world: &World) -> Vec<Text<'_>> {
    let World { ada, admin, .. } = world;
    let draft = || json!({ "contentId": world.content("DRAFT").id });
    let generating = world.content("GENERATING");
    let detect = || json!({ "topic": "t", "source": "s", "score": 0.5 });
    let begin = || json!({ "trendId": world.trend, "title": "t" });
    let attach = || json!({ "contentId": generating.id, "assetType": "IMAGE", "provider": "p", "filePath": "f" });
    let provide = || json!({ "name": "n", "providerType": "llm" });
    let connect = || json!({ "platform": "p", "displayName": "d", "credentials": "c" });
    vec![
        (ada, "updateProfile", json!({}), "name", 256),
        (ada, "updateProfile", json!({}), "firstName", 128),
        (ada, "updateProfile", json!({}), "lastName", 128),
        (ada, "updateProfile", json!({}), "username", 64),
        (ada, "updateProfile", json!({}), "avatarUrl", 2048),
        (ada, "updateProfile", json!({}), "bio", 10_000),
        (ada, "detectTrend", detect(), "topic", 512),
        (ada, "detectTrend", detect(), "source", 256),
        (ada, "draftContent", begin(), "title", 512),
        (ada, "draftContent", begin(), "hook", 1024),
        (ada, "draftContent", begin(), "scriptBody", 200_000),
        (ada, "editContent", draft(), "title", 512),
        (ada, "editContent", draft(), "hook", 1024),
        (ada, "editContent", draft(), "scriptBody", 200_000),
        (ada, "writeScript", draft(), "scriptBody", 200_000),
        (ada, "writeScript", with(draft(), "scriptBody", "s"), "hook", 1024),
        (ada, "startStage", json!({ "contentId": generating.id }), "stage", 128),
        (ada, "failStage", json!({ "runId": generating.run_id }), "error", 10_000),
        (ada, "attachMediaAsset", attach(), "provider", 256),
        (ada, "attachMediaAsset", attach(), "filePath", 1024),
        (
            admin,
            "rejectContent",
            json!({ "contentId": world.content("REVIEW").id }),
            "reason",
            4096,
        ),
        (admin, "registerProvider", provide(), "name", 256),
        (admin, "registerProvider", provide(), "providerType", 128),
        (admin, "issueServiceToken", json!({ "scopes": ["TRENDS"] }), "name", 100),
        (ada, "connectSocialAccount", connect(), "platform", 128),
        (ada, "connectSocialAccount", connect(), "displayName", 256),
        (ada, "connectSocialAccount", connect(), "credentials", 10_000),
        (
            ada,
            "rotateCredentials",
            json!({ "socialAccountId": world.account }),
            "credentials",
            10_000,
        ),
        (
            ada,
            "publishContent",
            json!({ "contentId": world.content("APPROVED").id }),
            "platform",
            128,
        ),
        (
            ada,
            "recordPublished",
            json!({ "publishId": world.pending_publish }),
            "platformPostId",
            512,
        ),
        (
            ada,
            "recordPublishFailure",
            json!({ "publishId": world.pending_publish }),
            "error",
            10_000,
        ),
    ]
}

/// Single values that are bad in a way of their own: client, mutation, input, code, field.
#[expect(clippy::too_many_lines, reason = "a table")]
fn odd_values(world: &World) -> Vec<(&Client, &'static str, Value, &'static str, &'static str)> {
    let World { ada, admin, viewer, .. } = world;
    let nul = || json!({ "deep": ["a\0b"] });
    let huge = || json!("x".repeat(300_000));
    let detect = || json!({ "topic": "t", "source": "s", "score": 0.5 });
    let generating = world.content("GENERATING");
    let attach = json!({ "contentId": generating.id, "assetType": "IMAGE", "provider": "p", "filePath": "f" });
    let draft = json!({ "contentId": world.content("DRAFT").id });
    let sign_up =
        || json!({ "email": "new@example.org", "password": "a good password", "name": "New" });
    let change =
        |new: &str| json!({ "currentPassword": "a password for tests", "newPassword": new });
    let stages = |stages: Value| with(draft.clone(), "stages", stages);
    let token = || json!({ "name": "worker", "scopes": ["TRENDS"] });
    let (twice, past) = (json!(["PUBLISH", "PUBLISH"]), "2020-01-01T00:00:00Z");
    let long_email = format!("{}@example.org", "e".repeat(512));
    vec![
        (ada, "detectTrend", with(detect(), "score", 1.5), "OUT_OF_RANGE", "score"),
        (ada, "detectTrend", with(detect(), "score", -0.1), "OUT_OF_RANGE", "score"),
        (
            ada,
            "rescoreTrend",
            json!({ "trendId": world.trend, "score": 2 }),
            "OUT_OF_RANGE",
            "score",
        ),
        (ada, "detectTrend", with(detect(), "rawData", nul()), "INVALID_CHARACTER", "rawData"),
        (ada, "detectTrend", with(detect(), "rawData", huge()), "TOO_LONG", "rawData"),
        (
            ada,
            "editContent",
            with(draft.clone(), "visualPrompts", nul()),
            "INVALID_CHARACTER",
            "visualPrompts",
        ),
        (ada, "attachMediaAsset", with(attach, "metadata", nul()), "INVALID_CHARACTER", "metadata"),
        (ada, "startGeneration", stages(json!([])), "STAGE_COUNT", "stages"),
        (ada, "startGeneration", stages(json!(["a", "a"])), "DUPLICATE_STAGE", "stages"),
        (ada, "startGeneration", stages(json!(["a", " "])), "EMPTY", "stages"),
        (
            ada,
            "startGeneration",
            stages((0..33).map(|n| n.to_string()).collect()),
            "STAGE_COUNT",
            "stages",
        ),
        (
            ada,
            "startStage",
            json!({ "contentId": generating.id, "stage": "paint" }),
            "UNKNOWN_STAGE",
            "stage",
        ),
        (
            ada,
            "startStage",
            json!({ "contentId": generating.id, "stage": "script" }),
            "STAGE_NOT_PENDING",
            "stage",
        ),
        (
            admin,
            "configureProvider",
            json!({ "providerId": world.provider, "config": nul() }),
            "INVALID_CHARACTER",
            "config",
        ),
        (
            admin,
            "configureProvider",
            json!({ "providerId": world.provider, "config": [1] }),
            "MALFORMED",
            "config",
        ),
        (
            admin,
            "registerProvider",
            json!({ "name": "openai", "providerType": "llm" }),
            "NAME_TAKEN",
            "name",
        ),
        (admin, "issueServiceToken", with(token(), "scopes", json!([])), "EMPTY", "scopes"),
        (admin, "issueServiceToken", with(token(), "scopes", twice), "MALFORMED", "scopes"),
        (
            admin,
            "issueServiceToken",
            with(token(), "expiresAt", past),
            "EXPIRY_PASSED",
            "expiresAt",
        ),
        (viewer, "updateSettings", json!({ "settings": nul() }), "UNKNOWN_SETTING", "settings"),
        (viewer, "updateSettings", json!({ "settings": 7 }), "MALFORMED", "settings"),
        (viewer, "updateProfile", json!({ "timezone": "Mars/Base" }), "MALFORMED", "timezone"),
        (viewer, "updateProfile", json!({ "username": "a b" }), "MALFORMED", "username"),
        (
            viewer,
            "updateProfile",
            json!({ "avatarUrl": "javascript:alert(1)" }),
            "MALFORMED",
            "avatarUrl",
        ),
        (viewer, "changePassword", change("short"), "PASSWORD_TOO_SHORT", "newPassword"),
        (viewer, "changePassword", change(&"x".repeat(73)), "PASSWORD_TOO_LONG", "newPassword"),
        (
            viewer,
            "changePassword",
            json!({ "currentPassword": "wrong", "newPassword": "a good password" }),
            "INVALID_CREDENTIALS",
            "currentPassword",
        ),
        (viewer, "register", with(sign_up(), "email", "no at sign"), "MALFORMED", "email"),
        (
            viewer,
            "register",
            with(sign_up(), "email", "a\0@example.org"),
            "INVALID_CHARACTER",
            "email",
        ),
        (viewer, "register", with(sign_up(), "email", long_email), "TOO_LONG", "email"),
        (viewer, "register", with(sign_up(), "email", " ADA@example.org "), "EMAIL_TAKEN", "email"),
        (viewer, "register", with(sign_up(), "name", " "), "EMPTY", "name"),
        (
            viewer,
            "register",
            with(sign_up(), "password", "short"),
            "PASSWORD_TOO_SHORT",
            "password",
        ),
        (
            viewer,
            "register",
            with(sign_up(), "password", "twelve chars\0"),
            "INVALID_CHARACTER",
            "password",
        ),
        (
            ada,
            "publishContent",
            json!({ "contentId": world.content("APPROVED").id }),
            "EMPTY",
            "platform",
        ),
        (
            ada,
            "publishContent",
            json!({ "contentId": world.content("APPROVED").id, "platform": "tiktok", "socialAccountId": world.account }),
            "PLATFORM_MISMATCH",
            "platform",
        ),
    ]
}

#[tokio::test]
async fn bad_values_are_refused_by_field() {
    let world = World::new().await;
    let head = world.records.head().await;
    for (client, mutation, input, field, max_chars) in texts(&world) {
        let bad = [
            (" \t".to_owned(), "EMPTY"),
            ("x".repeat(max_chars + 1), "TOO_LONG"),
            ("a\0b".to_owned(), "INVALID_CHARACTER"),
        ];
        for (value, code) in bad {
            let payload = client.mutate(mutation, with(input.clone(), field, value), "").await;
            expect(&payload, mutation, code, Some(field));
        }
    }
    for (client, mutation, input, code, field) in odd_values(&world) {
        let payload = client.mutate(mutation, input, "").await;
        expect(&payload, mutation, code, Some(field));
    }
    assert_eq!(world.records.head().await, head, "a refusal was written");
    world.records.assert_projected().await;
}

/// Says which case it was.
#[track_caller]
fn expect(payload: &Payload, mutation: &str, code: &str, field: Option<&str>) {
    let error = &payload.0["errors"][0];
    let found = (error["code"].as_str(), error["field"].as_str());
    assert_eq!(found, (Some(code), field), "{mutation}: {:#}", payload.0);
    payload.refused(code, field);
}

#[tokio::test]
async fn the_longest_values_are_accepted() {
    let world = World::new().await;
    for (client, mutation, input, field, max_chars) in texts(&world) {
        // What ends something can be done once only; one of each is enough.
        let ends = ["failStage", "rejectContent", "recordPublished", "recordPublishFailure"];
        let is_name = ["username", "avatarUrl"].contains(&field);
        if ends.contains(&mutation) || is_name || mutation == "startStage" {
            continue;
        }
        // Characters, not bytes.
        let input = with(input, field, "é".repeat(max_chars));
        client.mutate(mutation, input, "").await.done();
    }
    world.records.assert_projected().await;
}

/// What a mutation on a content says in each state, in the order of [`STATES`]; `None` is allowed
/// and left out.
fn wrong_states() -> Vec<(&'static str, [Option<&'static str>; 6])> {
    let only =
        |allowed: &[&str], code| STATES.map(|state| (!allowed.contains(&state)).then_some(code));
    let editable = only(&["DRAFT", "GENERATING"], "NOT_EDITABLE");
    vec![
        ("editContent", editable),
        ("writeScript", editable),
        ("attachMediaAsset", editable),
        ("startGeneration", only(&["DRAFT"], "NOT_DRAFT")),
        ("startStage", only(&["GENERATING"], "NOT_GENERATING")),
        ("submitForReview", only(&["GENERATING"], "NOT_GENERATING")),
        ("approveContent", only(&["REVIEW"], "NOT_IN_REVIEW")),
        ("rejectContent", only(&["REVIEW"], "NOT_IN_REVIEW")),
        ("returnToDraft", only(&["REJECTED"], "NOT_REJECTED")),
    ]
}

/// What the mutations on a content need beside its id.
fn on_content(mutation: &str, content_id: &str) -> Value {
    let mut input = match mutation {
        "editContent" => json!({ "title": "another" }),
        "writeScript" => json!({ "scriptBody": "s" }),
        "attachMediaAsset" => json!({ "assetType": "IMAGE", "provider": "p", "filePath": "f" }),
        "startStage" => json!({ "stage": "script" }),
        "rejectContent" => json!({ "reason": "r" }),
        "publishContent" => json!({ "platform": "tiktok" }),
        _ => json!({}),
    };
    input["contentId"] = json!(content_id);
    input
}

#[tokio::test]
async fn a_command_in_a_wrong_state_is_refused() {
    let world = World::new().await;
    let World { admin, ada, records, .. } = &world;
    let head = records.head().await;
    for (mutation, codes) in wrong_states() {
        for (state, code) in STATES.iter().zip(codes) {
            let Some(code) = code else { continue };
            let input = on_content(mutation, &world.content(state).id);
            let payload = admin.mutate(mutation, input, "content { id }").await;
            expect(&payload, &format!("{mutation} in {state}"), code, Some("contentId"));
            assert_eq!(payload.0["content"], Value::Null);
        }
    }
    for state in STATES.iter().filter(|state| !["DRAFT", "GENERATING"].contains(state)) {
        for (mutation, extra) in
            [("completeStage", json!({})), ("failStage", json!({ "error": "e" }))]
        {
            let input = with(extra, "runId", world.content(state).run_id.as_str());
            let payload = ada.mutate(mutation, input, "").await;
            expect(&payload, &format!("{mutation} in {state}"), "NOT_GENERATING", Some("runId"));
        }
    }
    for state in ["DRAFT", "GENERATING", "REVIEW", "REJECTED"] {
        let input = on_content("publishContent", &world.content(state).id);
        let payload = ada.mutate("publishContent", input, "").await;
        expect(&payload, &format!("publishContent in {state}"), "NOT_APPROVED", Some("contentId"));
    }
    let incomplete = on_content("submitForReview", &world.content("GENERATING").id);
    ada.mutate("submitForReview", incomplete, "").await.refused("STAGES_INCOMPLETE", "contentId");

    let trend = |id: &String| json!({ "trendId": id });
    let publish = |id: &String| json!({ "publishId": id });
    let account = |id: &String| json!({ "socialAccountId": id });
    let provider = json!({ "providerId": world.provider });
    let viewer = json!({ "userId": world.viewer_id });
    let own = json!({ "userId": "00000000-0000-8000-8000-000000000002" });
    let through_inactive = json!({ "contentId": world.content("APPROVED").id, "socialAccountId": world.inactive_account });
    for (mutation, input, code, field) in [
        (
            "rescoreTrend",
            with(trend(&world.expired_trend), "score", 0.1),
            "NOT_ACTIVE",
            Some("trendId"),
        ),
        ("expireTrend", trend(&world.expired_trend), "NOT_ACTIVE", Some("trendId")),
        ("expireTrend", trend(&world.archived_trend), "NOT_ACTIVE", Some("trendId")),
        ("archiveTrend", trend(&world.archived_trend), "ALREADY_ARCHIVED", Some("trendId")),
        (
            "draftContent",
            with(trend(&world.expired_trend), "title", "t"),
            "TREND_NOT_ACTIVE",
            Some("trendId"),
        ),
        ("recordPublished", publish(&world.done_publish), "NOT_PENDING", Some("publishId")),
        ("recordPublished", publish(&world.failed_publish), "NOT_PENDING", Some("publishId")),
        (
            "recordPublishFailure",
            with(publish(&world.done_publish), "error", "e"),
            "NOT_PENDING",
            Some("publishId"),
        ),
        ("retryPublish", publish(&world.pending_publish), "NOT_FAILED", Some("publishId")),
        ("retryPublish", publish(&world.done_publish), "NOT_FAILED", Some("publishId")),
        (
            "rotateCredentials",
            with(account(&world.inactive_account), "credentials", "c"),
            "SOCIAL_ACCOUNT_INACTIVE",
            Some("socialAccountId"),
        ),
        (
            "deactivateSocialAccount",
            account(&world.inactive_account),
            "SOCIAL_ACCOUNT_INACTIVE",
            Some("socialAccountId"),
        ),
        ("publishContent", through_inactive, "SOCIAL_ACCOUNT_INACTIVE", Some("socialAccountId")),
        ("enableProvider", provider, "ALREADY_ENABLED", Some("providerId")),
        ("reactivateUser", viewer, "ALREADY_ACTIVE", Some("userId")),
        ("deactivateUser", own.clone(), "OWN_ACCOUNT", Some("userId")),
        ("changeRole", with(own, "role", "VIEWER"), "OWN_ACCOUNT", Some("userId")),
    ] {
        expect(&admin.mutate(mutation, input, "").await, mutation, code, field);
    }
    assert_eq!(records.head().await, head, "a refusal was written");
    records.assert_projected().await;
}

/// Mutations on something that ada owns: the field that names it, its id, and what else is needed.
fn owned(world: &World) -> Vec<(&'static str, &'static str, String, Value)> {
    let content = |state: &str| world.content(state).id.clone();
    let mut cases = Vec::new();
    for mutation in [
        "editContent",
        "startGeneration",
        "startStage",
        "writeScript",
        "attachMediaAsset",
        "submitForReview",
        "returnToDraft",
        "publishContent",
    ] {
        let state = if mutation == "publishContent" { "APPROVED" } else { "DRAFT" };
        cases.push((mutation, "contentId", content(state), on_content(mutation, "")));
    }
    let run = world.content("GENERATING").run_id.clone();
    cases.push(("completeStage", "runId", run.clone(), json!({})));
    cases.push(("failStage", "runId", run, json!({ "error": "e" })));
    let account = world.account.clone();
    cases.push((
        "rotateCredentials",
        "socialAccountId",
        account.clone(),
        json!({ "credentials": "c" }),
    ));
    cases.push(("deactivateSocialAccount", "socialAccountId", account.clone(), json!({})));
    let publish_through = json!({ "contentId": content("APPROVED") });
    cases.push(("publishContent", "socialAccountId", account, publish_through));
    cases.push(("recordPublished", "publishId", world.pending_publish.clone(), json!({})));
    let error = json!({ "error": "e" });
    cases.push(("recordPublishFailure", "publishId", world.pending_publish.clone(), error));
    cases.push(("retryPublish", "publishId", world.failed_publish.clone(), json!({})));
    cases.push(("revokeSession", "sessionId", world.session.clone(), json!({})));
    cases
}

#[tokio::test]
async fn what_is_anothers_is_not_there_exactly_as_if_it_were_missing() {
    let world = World::new().await;
    let head = world.records.head().await;
    for (mutation, field, id, extra) in owned(&world) {
        let input = with(extra.clone(), field, id.as_str());
        let foreign = world.bob.mutate(mutation, input.clone(), "").await;
        let missing = with(extra, field, Uuid::new_v4().to_string());
        let missing = world.bob.mutate(mutation, missing, "").await;
        assert_eq!(missing.code(), Some("NOT_FOUND"), "{mutation}: {:#}", missing.0);
        assert_eq!(foreign, missing, "{mutation}");
        if sdl::takes(mutation, "expectedVersion") {
            let guessed = with(input, "expectedVersion", 99);
            let guessed = world.bob.mutate(mutation, guessed, "").await;
            assert_eq!(guessed, missing, "{mutation} tells the version of what one may not see");
        }
    }
    let admins = [
        ("approveContent", "contentId", json!({})),
        ("rejectContent", "contentId", json!({ "reason": "r" })),
        ("rescoreTrend", "trendId", json!({ "score": 0.1 })),
        ("expireTrend", "trendId", json!({})),
        ("archiveTrend", "trendId", json!({})),
        ("draftContent", "trendId", json!({ "title": "t" })),
        ("changeRole", "userId", json!({ "role": "VIEWER" })),
        ("deactivateUser", "userId", json!({})),
        ("reactivateUser", "userId", json!({})),
        ("configureProvider", "providerId", json!({ "config": {} })),
        ("enableProvider", "providerId", json!({})),
        ("disableProvider", "providerId", json!({})),
        ("prioritizeProvider", "providerId", json!({ "priority": 1 })),
        ("revokeServiceToken", "serviceTokenId", json!({})),
    ];
    for (mutation, field, extra) in admins {
        let input = with(extra, field, Uuid::new_v4().to_string());
        let payload = world.admin.mutate(mutation, input, "").await;
        assert_eq!(payload.code(), Some("NOT_FOUND"), "{mutation}: {:#}", payload.0);
    }
    // Nor can it be read.
    let (content, publish) = (&world.content("DRAFT").id, &world.done_publish);
    let query = "query ($content: ID!, $publish: ID!) {
        content(id: $content) { id } publish(id: $publish) { id } node(id: $content) { id }
        contents { totalCount nodes { id } } publishes { totalCount } socialAccounts { totalCount }
        pipelineRuns { totalCount } publishRecords { totalCount }
        trends(filter: { status: ACTIVE }) { nodes { contents { totalCount } } }
    }";
    let variables = json!({ "content": content, "publish": publish });
    let seen = world.bob.query(query, variables).await;
    let none = json!({ "totalCount": 0 });
    assert_eq!(
        seen,
        json!({ "content": null, "publish": null, "node": null,
                "contents": { "totalCount": 0, "nodes": [] }, "publishes": none, "socialAccounts": none,
                "pipelineRuns": none, "publishRecords": none,
                "trends": { "nodes": [{ "contents": none }] } })
    );
    assert_eq!(world.records.head().await, head, "a refusal was written");
}

#[tokio::test]
async fn a_stale_version_is_a_conflict() {
    let world = World::new().await;
    let head = world.records.head().await;
    let mut cases = owned(&world);
    for mutation in ["rescoreTrend", "expireTrend", "archiveTrend"] {
        let extra = if mutation == "rescoreTrend" { json!({ "score": 0.1 }) } else { json!({}) };
        cases.push((mutation, "trendId", world.trend.clone(), extra));
    }
    for (mutation, field, id, extra) in cases {
        if !sdl::takes(mutation, "expectedVersion") {
            continue;
        }
        for version in [0, 99] {
            let input = with(with(extra.clone(), field, id.as_str()), "expectedVersion", version);
            let payload = world.ada.mutate(mutation, input, "").await;
            expect(&payload, mutation, "VERSION_CONFLICT", Some("expectedVersion"));
        }
    }
    let content = &world.content("DRAFT").id;
    for (client, mutation, input) in [
        (&world.admin, "approveContent", json!({ "contentId": content })),
        (&world.admin, "disableProvider", json!({ "providerId": world.provider })),
        (&world.admin, "deactivateUser", json!({ "userId": world.viewer_id })),
        (&world.ada, "updateProfile", json!({ "name": "Ada L." })),
        (
            &world.ada,
            "updateSettings",
            json!({ "settings": { "dashboard_preferences": { "items_per_page": 7 } } }),
        ),
    ] {
        let payload = client.mutate(mutation, with(input, "expectedVersion", 99), "").await;
        expect(&payload, mutation, "VERSION_CONFLICT", Some("expectedVersion"));
    }
    assert_eq!(world.records.head().await, head, "a refusal was written");
}

#[tokio::test]
async fn a_repeated_command_answers_as_the_first_time() {
    let world = World::new().await;
    let World { admin, ada, bob, records, .. } = &world;
    let command = |input: &Value, id: Uuid| with(input.clone(), "commandId", id.to_string());

    // Sent again, also when the state has moved on.
    let approve = json!({ "contentId": world.content("REVIEW").id });
    let draft = json!({ "trendId": world.trend, "title": "twice?" });
    let (approval, drafting) = (Uuid::new_v4(), Uuid::new_v4());
    let first = admin.mutate("approveContent", command(&approve, approval), "content { id }").await;
    let drafted = ada.mutate("draftContent", command(&draft, drafting), "content { id }").await;
    first.clone().done();
    let content_id = crate::people::id_at(&drafted.clone().done(), "/content/id");
    let moved_on = json!({ "contentId": content_id, "title": "once" });
    ada.mutate("editContent", moved_on, "").await.done();
    let head = records.head().await;
    for _ in 0..2 {
        let again = admin.mutate("approveContent", command(&approve, approval), "content { id }");
        assert_eq!(again.await, first);
        let again = ada.mutate("draftContent", command(&draft, drafting), "content { id }").await;
        assert_eq!(again, drafted);
    }
    // At once, too: one does it, all get its answer.
    let detect = json!({ "topic": "at once", "source": "s", "score": 0.5 });
    let at_once = command(&detect, Uuid::new_v4());
    let answers = futures::future::join_all(
        (0..8).map(|_| ada.mutate("detectTrend", at_once.clone(), "trend { id }")),
    )
    .await;
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    answers[0].clone().done();
    assert_eq!(records.head().await, head + 1);

    // Another input, or another mutation, under the same id.
    let other = json!({ "trendId": world.trend, "title": "another" });
    let reused = ada.mutate("draftContent", command(&other, drafting), "content { id }").await;
    reused.refused("COMMAND_ID_REUSED", "commandId");
    let reused = ada.mutate("detectTrend", command(&detect, drafting), "").await;
    reused.refused("COMMAND_ID_REUSED", "commandId");
    // The ids of one person are no other's.
    let bobs = bob.mutate("draftContent", command(&draft, drafting), "content { id }").await.done();
    assert_ne!(bobs["content"]["id"], json!(content_id));

    // A refusal leaves no receipt.
    let refused = Uuid::new_v4();
    let detect_badly = with(detect.clone(), "score", 7);
    let payload = ada.mutate("detectTrend", command(&detect_badly, refused), "").await;
    payload.refused("OUT_OF_RANGE", "score");
    ada.mutate("detectTrend", command(&detect, refused), "").await.done();
    records.assert_projected().await;
}

#[tokio::test]
async fn malformed_requests_are_bad_user_input() {
    let world = World::new().await;
    let head = world.records.head().await;
    let ada = &world.ada;
    let cursors = ada.query("{ trends { pageInfo { endCursor } } }", json!({})).await;
    let trend_cursor = &cursors["trends"]["pageInfo"]["endCursor"];
    let detect = "mutation ($input: DetectTrendInput!) { detectTrend(input: $input) { position } }";
    let attach = "mutation ($input: AttachMediaAssetInput!) { attachMediaAsset(input: $input) { position } }";
    let trend = |input: Value| json!({ "input": input });
    let asset =
        json!({ "contentId": Uuid::nil(), "assetType": "SMELL", "provider": "p", "filePath": "f" });
    for (query, variables) in [
        // Ids, enums, scalars, numbers.
        ("{ content(id: \"x\") { id } }", json!({})),
        ("{ node(id: \"x\") { id } }", json!({})),
        ("{ contents(filter: { trendId: \"x\" }) { nodes { id } } }", json!({})),
        ("{ contents(filter: { status: too_good }) { nodes { id } } }", json!({})),
        ("{ trends(filter: { detectedSince: \"yesterday\" }) { nodes { id } } }", json!({})),
        (
            "{ content(id: \"00000000-0000-0000-0000-000000000000\", minPosition: \"-1\") { id } }",
            json!({}),
        ),
        ("mutation { expireTrend(input: { trendId: \"x\" }) { position } }", json!({})),
        ("mutation { completeStage(input: { runId: \"x\" }) { position } }", json!({})),
        (
            "mutation { draftContent(input: { trendId: \"x\", title: \"t\" }) { position } }",
            json!({}),
        ),
        (attach, trend(asset)),
        (detect, trend(json!({ "topic": "t", "source": "s", "score": "high" }))),
        (detect, trend(json!({ "topic": 7, "source": "s" }))),
        (detect, trend(json!({ "source": "s" }))),
        (detect, trend(json!({ "topic": "t", "source": "s", "colour": "red" }))),
        (detect, trend(json!({ "topic": "t", "source": "s", "commandId": "x" }))),
        (detect, json!({})),
        // Documents.
        ("{ contents { nodes { colour } } }", json!({})),
        ("{ colours { id } }", json!({})),
        ("{ contents {", json!({})),
        ("", json!({})),
        // Pages.
        ("{ trends(first: 101) { nodes { id } } }", json!({})),
        ("{ trends(last: 101) { nodes { id } } }", json!({})),
        ("{ trends(first: -1) { nodes { id } } }", json!({})),
        ("{ trends(first: 1, last: 1) { nodes { id } } }", json!({})),
        ("{ trends(after: \"x\") { nodes { id } } }", json!({})),
        (
            "query ($after: String) { contents(after: $after) { nodes { id } } }",
            json!({ "after": trend_cursor }),
        ),
        (
            "query ($after: String) { trends(orderBy: TOPIC_ASC, after: $after) { nodes { id } } }",
            json!({ "after": trend_cursor }),
        ),
    ] {
        let answer = ada.ask(query, variables).await;
        assert_eq!(answer.code(), Some("BAD_USER_INPUT"), "{query}: {:#}", answer.0);
    }
    world
        .admin
        .ask("{ events(first: 101) { nodes { position } } }", json!({}))
        .await
        .fails("BAD_USER_INPUT");
    for body in [
        "{",
        "7",
        "{\"query\": 7}",
        "{\"variables\": {}}",
        "{\"query\": \"{ me { id } }\", \"variables\": 7}",
    ] {
        let answer = ada.post(body.to_owned()).await.unwrap();
        let text = answer.text().await.unwrap();
        let answer: Value =
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("{body}: {text}"));
        assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{body}: {text}");
    }
    assert_eq!(world.records.head().await, head, "a refusal was written");
}

#[tokio::test]
async fn who_is_not_known_or_may_not_is_told_so() {
    let world = World::new().await;
    let World { server, viewer, ada, admin, records, .. } = &world;
    let head = records.head().await;
    let detect = "mutation { detectTrend(input: { topic: \"t\", source: \"s\" }) { position } }";
    let none = json!({});
    server.anonymous().ask(detect, none.clone()).await.fails("UNAUTHENTICATED");
    viewer.ask(detect, none.clone()).await.fails("FORBIDDEN");
    ada.ask("{ users { totalCount } }", none.clone()).await.fails("FORBIDDEN");
    let forged = format!("{}x", ada.token.as_deref().unwrap());
    for token in ["", "x", "a.b.c", &forged] {
        let stranger = ada.with_token(token);
        stranger.ask("{ me { id } }", none.clone()).await.fails("UNAUTHENTICATED");
        stranger.ask(detect, none.clone()).await.fails("UNAUTHENTICATED");
    }
    let me = server.anonymous().query("{ me { id } }", none.clone()).await;
    assert_eq!(me, json!({ "me": null }));

    // Whose rights change, changes at once.
    let (eve, eve_id) = server.anonymous().register("eve").await;
    let role = |role: &str| json!({ "userId": eve_id, "role": role });
    admin.mutate("changeRole", role("EDITOR"), "").await.done();
    eve.ask(detect, none.clone()).await.data();
    admin.mutate("changeRole", role("VIEWER"), "").await.done();
    eve.ask(detect, none.clone()).await.fails("FORBIDDEN");
    admin.mutate("deactivateUser", json!({ "userId": eve_id }), "").await.done();
    eve.ask("{ me { id } }", none.clone()).await.fails("UNAUTHENTICATED");
    let input = json!({ "email": "eve@example.org", "password": crate::server::ADMIN_PASSWORD });
    let login = server.anonymous().mutate("login", input, "accessToken").await;
    assert!(login.code().is_some() && login.0["accessToken"].is_null(), "{:#}", login.0);
    let wrong = json!({ "email": "ada@example.org", "password": "wrong" });
    let unknown = json!({ "email": "nobody@example.org", "password": "wrong" });
    let wrong = server.anonymous().mutate("login", wrong, "accessToken").await;
    wrong.refused("INVALID_CREDENTIALS", None);
    assert_eq!(server.anonymous().mutate("login", unknown, "accessToken").await, wrong);
    // Registered, signed in, detected, and three changes of the account: register is three events.
    assert_eq!(records.head().await, head + 3 + 1 + 3);
}
