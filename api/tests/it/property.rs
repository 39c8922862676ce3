//! Random commands, good and bad, from several clients at once; then the invariants.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use orion_store::testing::database;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Client;
use crate::log::Records;
use crate::sdl::takes;
use crate::server::Server;

/// How many commands each client sends.
const COMMANDS_EACH: usize = 90;

/// Repeats a run: `ORION_TEST_SEED=7 cargo test -p orion-api --test it property`.
const SEED: &str = "ORION_TEST_SEED";

/// Ids that commands have made, for others to use; few of each, so that clients meet.
#[derive(Default)]
struct Ids(Mutex<Vec<(&'static str, String)>>);

/// How many ids of one kind are in use.
const IDS_MAX: usize = 6;

impl Ids {
    fn add(&self, kind: &'static str, id: &str, rng: &mut StdRng) {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let alike: Vec<_> = (0..ids.len()).filter(|index| ids[*index].0 == kind).collect();
        if alike.len() < IDS_MAX {
            ids.push((kind, id.to_owned()));
        } else {
            ids[*alike.choose(rng).unwrap()] = (kind, id.to_owned());
        }
    }

    /// One that is there, now and then one that is not.
    fn any(&self, kind: &str, rng: &mut StdRng) -> String {
        let ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let alike: Vec<_> = ids.iter().filter(|(of, _)| *of == kind).collect();
        match alike.choose(rng) {
            Some((_, id)) if rng.random_bool(0.95) => id.clone(),
            Some(_) | None => Uuid::new_v4().to_string(),
        }
    }
}

/// Mutations with how often they are tried; what leads on is tried more.
const TRIED: &[(&str, u32)] = &[
    ("detectTrend", 3),
    ("rescoreTrend", 3),
    ("expireTrend", 1),
    ("archiveTrend", 1),
    ("draftContent", 5),
    ("editContent", 4),
    ("startGeneration", 8),
    ("startStage", 10),
    ("completeStage", 10),
    ("failStage", 1),
    ("writeScript", 3),
    ("attachMediaAsset", 3),
    ("submitForReview", 8),
    ("approveContent", 8),
    ("rejectContent", 1),
    ("returnToDraft", 3),
    ("registerProvider", 1),
    ("disableProvider", 1),
    ("enableProvider", 1),
    ("connectSocialAccount", 2),
    ("deactivateSocialAccount", 1),
    ("publishContent", 8),
    ("recordPublished", 5),
    ("recordPublishFailure", 3),
    ("retryPublish", 3),
    ("updateProfile", 2),
    ("updateSettings", 2),
];

/// A text, now and then a bad one.
fn text(rng: &mut StdRng) -> String {
    match rng.random_range(0..40) {
        0 => String::new(),
        1 => "x".repeat(20_000),
        2 => "a\0b".to_owned(),
        3 => "'; DROP TABLE events; -- \u{1F980} \\ \"".to_owned(),
        number => format!("text {number}"),
    }
}

fn input(mutation: &str, ids: &Ids, rng: &mut StdRng) -> Value {
    let stage = ["script", "images"].choose(rng).unwrap();
    let mut input = match mutation {
        "detectTrend" => {
            json!({ "topic": text(rng), "source": "s", "score": rng.random_range(-0.1..1.1) })
        }
        "rescoreTrend" => {
            json!({ "trendId": ids.any("trend", rng), "score": rng.random_range(-0.1..1.1) })
        }
        "expireTrend" | "archiveTrend" => json!({ "trendId": ids.any("trend", rng) }),
        "draftContent" => json!({ "trendId": ids.any("trend", rng), "title": text(rng) }),
        "editContent" => {
            json!({ "contentId": ids.any("content", rng), "title": text(rng), "hook": null })
        }
        "startGeneration" if rng.random_bool(0.5) => {
            json!({ "contentId": ids.any("content", rng), "stages": [stage] })
        }
        "startGeneration" => {
            json!({ "contentId": ids.any("content", rng), "stages": ["script", "images"] })
        }
        "startStage" => json!({ "contentId": ids.any("content", rng), "stage": stage }),
        "completeStage" => json!({ "runId": ids.any("run", rng) }),
        "failStage" => json!({ "runId": ids.any("run", rng), "error": text(rng) }),
        "writeScript" => {
            json!({ "contentId": ids.any("content", rng), "scriptBody": text(rng), "visualPrompts": [1.5, null] })
        }
        "attachMediaAsset" => {
            json!({ "contentId": ids.any("content", rng), "assetType": "AUDIO", "provider": "p", "filePath": text(rng) })
        }
        "rejectContent" => json!({ "contentId": ids.any("content", rng), "reason": text(rng) }),
        "submitForReview" | "approveContent" | "returnToDraft" => {
            json!({ "contentId": ids.any("content", rng) })
        }
        "registerProvider" => {
            json!({ "name": format!("p{}", rng.random_range(0..3)), "providerType": "llm", "config": { "n": 1e300 } })
        }
        "disableProvider" | "enableProvider" => json!({ "providerId": ids.any("provider", rng) }),
        "connectSocialAccount" => {
            json!({ "platform": "p", "displayName": text(rng), "credentials": text(rng) })
        }
        "deactivateSocialAccount" => json!({ "socialAccountId": ids.any("account", rng) }),
        "publishContent" if rng.random_bool(0.5) => {
            json!({ "contentId": ids.any("content", rng), "socialAccountId": ids.any("account", rng) })
        }
        "publishContent" => json!({ "contentId": ids.any("content", rng), "platform": text(rng) }),
        "recordPublished" => {
            json!({ "publishId": ids.any("publish", rng), "platformPostId": text(rng) })
        }
        "recordPublishFailure" => {
            json!({ "publishId": ids.any("publish", rng), "error": text(rng) })
        }
        "retryPublish" => json!({ "publishId": ids.any("publish", rng) }),
        "updateProfile" => {
            json!({ "username": format!("u{}", rng.random_range(0..3)), "bio": text(rng) })
        }
        "updateSettings" => {
            json!({ "settings": { "dashboard_preferences": { "items_per_page": rng.random_range(0..3) } } })
        }
        _ => panic!("no input for {mutation}"),
    };
    if takes(mutation, "expectedVersion") && rng.random_bool(0.1) {
        input["expectedVersion"] = json!(rng.random_range(1..5));
    }
    input
}

/// What is asked of the payload, and the kind of the id in it.
fn selection(mutation: &str) -> (&'static str, &'static str, &'static str) {
    match mutation {
        "detectTrend" => ("trend { id }", "/trend/id", "trend"),
        "draftContent" => ("content { id }", "/content/id", "content"),
        "startStage" => ("pipelineRun { id }", "/pipelineRun/id", "run"),
        "registerProvider" => ("provider { id }", "/provider/id", "provider"),
        "connectSocialAccount" => ("socialAccount { id }", "/socialAccount/id", "account"),
        "publishContent" => ("publishId", "/publishId", "publish"),
        _ => ("", "", ""),
    }
}

/// A command that fits the state of some content that the client sees, or did a moment ago.
async fn next_step(client: &Client, rng: &mut StdRng) -> Option<(&'static str, Value)> {
    let query = "{ contents(first: 6) { nodes { id status pipelineRuns(last: 2) { nodes { id stage status } } } } }";
    let seen = client.query(query, json!({})).await;
    let content = seen["contents"]["nodes"].as_array()?.choose(rng)?.clone();
    let on_content = json!({ "contentId": content["id"] });
    let run = content["pipelineRuns"]["nodes"].as_array()?.choose(rng).cloned().unwrap_or_default();
    Some(match content["status"].as_str()? {
        "DRAFT" => ("startGeneration", json!({ "contentId": content["id"], "stages": ["script"] })),
        "GENERATING" if run["status"] == "PENDING" => {
            ("startStage", json!({ "contentId": content["id"], "stage": run["stage"] }))
        }
        "GENERATING" if run["status"] == "RUNNING" => {
            ("completeStage", json!({ "runId": run["id"] }))
        }
        "GENERATING" => ("submitForReview", on_content),
        "REVIEW" => ("approveContent", on_content),
        "REJECTED" => ("returnToDraft", on_content),
        _ => ("publishContent", json!({ "contentId": content["id"], "platform": "p" })),
    })
}

/// Sends random commands; gives the ids of those that wrote something.
async fn send(client: &Client, ids: &Ids, mut rng: StdRng) -> BTreeSet<String> {
    let mut written = BTreeSet::new();
    for _ in 0..COMMANDS_EACH {
        let step = if rng.random_bool(0.4) { next_step(client, &mut rng).await } else { None };
        let (mutation, mut input) = step.unwrap_or_else(|| {
            let (mutation, _) = *TRIED.choose_weighted(&mut rng, |(_, weight)| *weight).unwrap();
            (mutation, input(mutation, ids, &mut rng))
        });
        let command_id = Uuid::from_u128(rng.random()).to_string();
        input["commandId"] = json!(command_id);
        let (wanted, pointer, kind) = selection(mutation);
        let answer = client.try_mutate(mutation, input.clone(), wanted).await.unwrap();
        let payload = match answer {
            Ok(payload) => payload,
            Err(answer) => {
                answer.fails("FORBIDDEN");
                continue;
            }
        };
        assert_eq!(payload.0["projected"], json!(true), "{mutation} {input}: {:#}", payload.0);
        if payload.code().is_some() || payload.0["position"].is_null() {
            continue;
        }
        written.insert(command_id);
        if let Some(id) = payload.0.pointer(pointer).and_then(Value::as_str) {
            ids.add(kind, id, &mut rng);
        }
        // Now and then the client did not hear the answer.
        if rng.random_bool(0.1) {
            let again = client.mutate(mutation, input, wanted).await;
            assert_eq!(again.0["position"], payload.0["position"], "{mutation}: {:#}", again.0);
        }
    }
    written
}

#[tokio::test]
async fn whatever_is_commanded_the_log_is_in_order_and_the_tables_are_its_fold() {
    let seed: u64 = match std::env::var(SEED) {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => rand::rng().random(),
    };
    // Shown when the test fails.
    println!("{SEED}={seed}");
    let database = database().await;
    let server = Server::start(&database.url).await;
    let (ada, bob) = (server.editor("ada").await, server.editor("bob").await);
    let clients = [
        server.admin().await,
        server.admin().await,
        ada.clone(),
        ada,
        bob,
        server.viewer("v").await,
    ];
    let ids = Ids::default();
    let runs = (0..)
        .zip(&clients)
        .map(|(number, client)| send(client, &ids, StdRng::seed_from_u64(seed ^ (number << 32))));
    let written: BTreeSet<String> =
        futures::future::join_all(runs).await.into_iter().flatten().collect();

    // What said that it was written is in the log, and nothing else is: refusals leave no trace.
    let records = Records::of(&database.url).await;
    let logged: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT metadata ->> 'command_id' FROM events
         WHERE metadata ->> 'actor' NOT IN ('system', 'anonymous') AND event_type <> 'user.role_changed'",
    )
    .fetch_all(&records.pool)
    .await
    .unwrap();
    assert_eq!(logged.into_iter().collect::<BTreeSet<_>>(), written);
    assert!(written.len() > COMMANDS_EACH, "only {} commands were good", written.len());
    records.assert_in_order().await;
    records.assert_projected().await;
}
