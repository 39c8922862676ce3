//! What one answer is made of: one state of the tables, one statement for each root field, the selected
//! columns.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use orion_store::testing::database;
use serde_json::{Value, json};

use crate::client::{Client, position};
use crate::eventually::eventually;
use crate::log::Records;
use crate::people::id_at;
use crate::server::{Server, Settings};
use crate::world::World;

const DEEP: &str = "query ($first: Int) { contents(first: $first) { totalCount nodes {
    title trend { topic contents(first: 3) { totalCount nodes { id } } } createdBy { name settings { settings } }
    mediaAssets { totalCount nodes { filePath content { id } } }
    pipelineRuns { totalCount nodes { stage content { trend { contents { nodes { publishRecords { nodes { socialAccount { user { sessions { nodes { id } } } } } } } } } } } }
    publishRecords { totalCount nodes { platform } }
} } }";

/// The tables' statements that a server has ended so far: sqlx logs each.
fn statements(server: &Server) -> Vec<String> {
    let log = server.stderr();
    // Of the tables only, for others look at the log and the checkpoints all the time.
    log.lines().filter(|line| line.contains("FROM orion.")).map(str::to_owned).collect()
}

async fn server_that_logs(url: &str) -> Server {
    Server::with(Settings::on(url).with("ORION_LOG", "info,sqlx::query=debug")).await
}

#[tokio::test]
async fn a_root_field_is_one_statement_however_deep_it_is() {
    let database = database().await;
    let server = server_that_logs(&database.url).await;
    let editor = server.editor("ada").await;
    let contents = (0..20).map(|number| {
        let editor = &editor;
        async move {
            let trend_id = editor.detect_trend(&format!("topic {number}")).await;
            let content_id = editor.draft_content(&trend_id, "title").await;
            let asset = json!({ "contentId": content_id, "assetType": "IMAGE", "provider": "p", "filePath": "f" });
            editor.mutate("attachMediaAsset", asset, "").await.done();
            editor.generate(&content_id).await;
            content_id
        }
    });
    let contents = futures::future::join_all(contents).await;
    let count = async |query: &str, variables: Value| {
        let before = statements(&server).len();
        editor.query(query, variables).await;
        statements(&server).split_off(before)
    };
    let made = count(DEEP, json!({ "first": 20 })).await;
    assert_eq!(made.len(), 1, "{made:#?}");
    let made = count("{ a: contents { nodes { id trend { id } } } trends { nodes { contents { nodes { id } } } } }", json!({})).await;
    assert_eq!(made.len(), 2, "{made:#?}");

    // Only what is selected is read of a row.
    let made = count("{ contents { nodes { title trend { topic } } } }", json!({})).await;
    for column in ["script_body", "visual_prompts", "status", "raw_data", "version"] {
        assert!(!made[0].contains(column), "{column}: {}", made[0]);
    }

    // Below `node` nothing is planned: one statement for each level and table, whatever the rows.
    let query = "query ($id: ID!) { node(id: $id) { ... on Content {
        trend { contents(first: 20) { nodes { trend { topic } mediaAssets { nodes { content { id } } } pipelineRuns { nodes { id } } } } }
    } } }";
    let made = count(query, json!({ "id": contents[0] })).await;
    // node; trend; contents; trend, assets, runs; contents.
    assert!(made.len() <= 7, "{made:#?}");
}

/// What a query of a noun's fields is put into, and the noun.
const PLACES: [(&str, &str); 14] = [
    ("trends { nodes { % } }", "Trend"),
    ("contents { nodes { % } }", "Content"),
    ("trends { nodes { contents { edges { node { % } } } } }", "Content"),
    ("contents { nodes { mediaAssets { nodes { % } } } }", "MediaAsset"),
    ("pipelineRuns { nodes { % } }", "PipelineRun"),
    ("contents { nodes { publishRecords { nodes { % } } } }", "PublishRecord"),
    ("publishes { nodes { % } }", "Publish"),
    ("socialAccounts { nodes { % } }", "SocialAccount"),
    ("providers { nodes { % } }", "Provider"),
    ("users { nodes { % } }", "User"),
    ("users { nodes { settings { % } } }", "UserSettings"),
    ("users { nodes { sessions { nodes { % } } } }", "Session"),
    ("users { nodes { oauthAccounts { nodes { % } } } }", "OAuthAccount"),
    ("serviceTokens { nodes { % } }", "ServiceToken"),
];

/// The fields of each type that show values of the row.
async fn leaves(client: &Client) -> BTreeMap<String, Vec<String>> {
    let query = "{ __schema { types { name fields { name type { kind ofType { kind ofType { kind ofType { kind } } } } } } } }";
    let schema = client.query(query, json!({})).await;
    let is_leaf = |field: &Value| {
        let mut of = &field["type"];
        while of["ofType"].is_object() {
            of = &of["ofType"];
        }
        of["kind"] == "SCALAR" || of["kind"] == "ENUM"
    };
    let types = schema["__schema"]["types"].as_array().unwrap().iter();
    types
        .filter_map(|kind| {
            let fields = kind["fields"].as_array()?.iter().filter(|field| is_leaf(field));
            Some((id_at(kind, "/name"), fields.map(|field| id_at(field, "/name")).collect()))
        })
        .collect()
}

/// True when an answer says nothing that the other does not say.
fn is_part_of(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => part
            .iter()
            .all(|(key, value)| whole.get(key).is_some_and(|found| is_part_of(value, found))),
        (Value::Array(part), Value::Array(whole)) => {
            part.len() == whole.len() && part.iter().zip(whole).all(|(a, b)| is_part_of(a, b))
        }
        _ => part == whole,
    }
}

#[tokio::test]
async fn a_field_says_the_same_alone_as_among_others() {
    let world = World::new().await;
    let input = json!({ "name": "worker", "scopes": ["PIPELINE"] });
    world.admin.mutate("issueServiceToken", input, "").await.done();
    let asset = json!({ "contentId": world.content("DRAFT").id, "assetType": "AUDIO", "provider": "p",
        "filePath": "f", "metadata": { "seconds": 3 } });
    world.ada.mutate("attachMediaAsset", asset, "").await.done();
    let leaves = leaves(&world.admin).await;
    for (place, noun) in PLACES {
        let ask = async |fields: &str| {
            let query = format!("{{ {} }}", place.replace('%', fields));
            world.admin.query(&query, json!({})).await
        };
        let all = ask(&leaves[noun].join(" ")).await;
        assert!(all.to_string().contains("\"id\"") || noun == "OAuthAccount", "{place}: no row");
        // By the batches that are not planned, the whole row is read; the two agree.
        for field in &leaves[noun] {
            let alone = ask(field).await;
            assert!(is_part_of(&alone, &all), "{place}: {field}\n{alone:#}\n{all:#}");
        }
    }
}

const CONTENT: &str = "title trend { topic contents(first: 2) { totalCount edges { cursor node { title version } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }
    createdBy { email settings { settings } sessions(first: 1) { totalCount nodes { createdAt } } }
    mediaAssets(last: 1) { totalCount nodes { filePath content { status } } pageInfo { hasPreviousPage } }
    runs: pipelineRuns(last: 2) { totalCount nodes { stage status } } some: pipelineRuns(first: 0) { pageInfo { hasNextPage } }
    publishRecords { nodes { platform socialAccount { displayName user { email } } } }";

/// A list with its noun, and what is asked of each row.
const RELATIONS: [(&str, &str, &str); 6] = [
    ("contents", "Content", CONTENT),
    ("trends", "Trend", "topic contents { totalCount nodes { title createdBy { email } } }"),
    ("publishes", "Publish", "status content { title } socialAccount { id } requestedBy { email }"),
    ("publishRecords", "PublishRecord", "status content { trend { topic } } socialAccount { id }"),
    ("pipelineRuns", "PipelineRun", "stage content { title createdBy { email } }"),
    ("socialAccounts", "SocialAccount", "platform user { email role }"),
];

#[tokio::test]
async fn what_is_planned_is_what_is_loaded_step_by_step() {
    let world = World::new().await;
    for client in [&world.admin, &world.ada, &world.bob, &world.viewer] {
        for (list, noun, fields) in RELATIONS {
            let query = format!("{{ {list} {{ nodes {{ id {fields} }} }} }}");
            let planned = client.query(&query, json!({})).await;
            for row in planned[list]["nodes"].as_array().unwrap() {
                let query = format!(
                    "query ($id: ID!) {{ node(id: $id) {{ ... on {noun} {{ id {fields} }} }} }}"
                );
                let stepwise = client.query(&query, json!({ "id": row["id"] })).await;
                assert_eq!(stepwise["node"], *row, "{list}");
            }
        }
    }
}

#[tokio::test]
async fn a_list_that_makes_no_sense_fails_where_it_stands() {
    let world = World::new().await;
    for bad in ["first: 101", "first: 1, last: 1", "after: \"nonsense\""] {
        let query = format!(
            "{{ contents {{ nodes {{ id trend {{ contents({bad}) {{ nodes {{ id }} }} }} }} }} }}"
        );
        let answer = world.ada.ask(&query, json!({})).await;
        answer.fails("BAD_USER_INPUT");
        let path = answer.0["errors"][0]["path"].as_array().unwrap();
        assert_eq!(path.last().unwrap(), "contents", "{answer:?}");
    }
    // One name for two lists of different rows, which the rules of GraphQL let through by fragments of
    // the two ways to the nodes.
    let query = "{ contents { a: nodes { x: mediaAssets(first: 0) { pageInfo { hasNextPage } } }
        b: nodes { x: mediaAssets(first: 100) { pageInfo { hasNextPage } } } } }";
    let asset = json!({ "contentId": world.content("DRAFT").id, "assetType": "IMAGE", "provider": "p", "filePath": "f" });
    world.ada.mutate("attachMediaAsset", asset, "").await.done();
    let answer = world.ada.query(query, json!({})).await;
    let more = |nodes: &Value| nodes.to_string().contains("true");
    assert!(more(&answer["contents"]["a"]) && !more(&answer["contents"]["b"]), "{answer:#}");
    let skipping = "query ($no: Boolean!) { contents { nodes { id trend @include(if: $no) { topic } ... @skip(if: true) { title } } } }";
    let answer = world.ada.query(skipping, json!({ "no": false })).await;
    assert_eq!(answer["contents"]["nodes"][0].as_object().unwrap().len(), 1, "{answer:#}");
}

const AT_ONCE: &str = "query ($id: ID!) { position
    a: content(id: $id) { version status pipelineRuns(last: 3) { totalCount nodes { status } } }
    b: contents(first: 1) { nodes { version status pipelineRuns(last: 3) { totalCount nodes { status } } } }
    c: node(id: $id) { ... on Content { version status pipelineRuns(last: 3) { totalCount nodes { status } } } } }";

/// Reads a content in three ways, again and again, and compares each answer with the log.
async fn read_until(
    done: &std::sync::atomic::AtomicBool,
    reader: &Client,
    id: &str,
    records: &Records,
) -> usize {
    let mut positions = BTreeSet::new();
    while !done.load(std::sync::atomic::Ordering::Relaxed) {
        let answer = reader.ask(AT_ONCE, json!({ "id": id })).await;
        let at = position(&answer.0["extensions"]["position"]);
        let data = answer.data();
        assert_eq!(position(&data["position"]), at);
        let count = async |event_type: &str| -> i64 {
            sqlx::query_scalar(
                "SELECT count(*) FROM events
                 WHERE aggregate_id = $1 AND position <= $2 AND event_type LIKE $3",
            )
            .bind(id)
            .bind(at)
            .bind(event_type)
            .fetch_one(&records.pool)
            .await
            .unwrap()
        };
        let started = count("content.generation_started").await;
        // A run fails, then its generation and with it the other two.
        let (failed, ended) =
            (count("content.stage_failed").await, count("content.generation_failed").await);
        let status = if started == ended { "DRAFT" } else { "GENERATING" };
        let runs_failed = match (started == ended, started == failed) {
            (true, _) => started.min(1) * 3,
            (false, true) => 1,
            (false, false) => 0,
        };
        let expected = (count("%").await, status, started * 3, runs_failed);
        for found in [&data["a"], &data["b"]["nodes"][0], &data["c"]] {
            let runs = &found["pipelineRuns"];
            let failed = runs.to_string().matches("FAILED").count();
            let found = (
                found["version"].as_i64().unwrap(),
                found["status"].as_str().unwrap(),
                runs["totalCount"].as_i64().unwrap(),
                i64::try_from(failed).unwrap(),
            );
            assert_eq!(found, expected, "at {at}");
        }
        positions.insert(at);
    }
    positions.len()
}

#[tokio::test]
async fn an_answer_is_of_one_position() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let (ada, records) = (server.editor("ada").await, Records::of(&database.url).await);
    let trend = ada.detect_trend("t").await;
    let content = ada.draft_content(&trend, "c").await;
    let done = std::sync::atomic::AtomicBool::new(false);
    let write = async {
        for _ in 0..40 {
            let start = json!({ "contentId": content, "stages": ["a", "b", "c"] });
            ada.mutate("startGeneration", start, "").await.done();
            let run_id = ada.start_stage(&content, "c").await;
            let fail = json!({ "runId": run_id, "error": "no" });
            ada.mutate("failStage", fail, "").await.done();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    let read = async || read_until(&done, &ada, &content, &records).await;
    let ((), seen, others) = tokio::join!(write, read(), read());
    assert!(seen + others > 10, "{seen} and {others} positions were seen");

    // What a mutation shows is read after it, for each by itself.
    let query = "mutation ($a: EditContentInput!, $b: EditContentInput!) {
        a: editContent(input: $a) { position content { title version } }
        b: editContent(input: $b) { position content { title version trend { topic } } } }";
    let edit = |title: &str| json!({ "contentId": content, "title": title });
    let answer = ada.ask(query, json!({ "a": edit("one"), "b": edit("two") })).await;
    let (at, data) = (position(&answer.0["extensions"]["position"]), answer.data());
    assert_eq!(
        (&data["a"]["content"]["title"], &data["b"]["content"]["title"]),
        (&json!("one"), &json!("two"))
    );
    assert!(at >= position(&data["b"]["position"]));
}

#[tokio::test]
async fn the_position_that_one_field_waits_for_holds_for_all() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let (ada, records) = (server.editor("ada").await, Records::of(&database.url).await);
    let before = records.head().await;
    // While somebody holds the checkpoint, the tables stand still.
    let mut holding = records.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM projection.checkpoints FOR UPDATE")
        .execute(&mut *holding)
        .await
        .unwrap();
    let input = json!({ "topic": "new", "source": "rss", "score": 0.5 });
    let detect = ada.mutate("detectTrend", input, "");
    let read = async {
        eventually("the trend is detected", async || (records.head().await > before).then_some(()))
            .await;
        let query =
            "query ($at: Position) { trends { nodes { topic } } position(minPosition: $at) }";
        let variables = json!({ "at": (before + 1).to_string() });
        let answer = ada.ask(query, variables);
        tokio::pin!(answer);
        let early = tokio::time::timeout(Duration::from_millis(300), &mut answer).await;
        assert!(early.is_err(), "{early:?}");
        holding.rollback().await.unwrap();
        answer.await
    };
    let (_, answer) = tokio::join!(detect, read);
    assert_eq!(answer.data()["trends"]["nodes"][0]["topic"], "new");
}

#[tokio::test]
async fn who_goes_away_leaves_no_transaction() {
    let database = database().await;
    let server = Server::with(Settings::on(&database.url).with("ORION_DATABASE_POOL", "4")).await;
    let (ada, records) = (server.editor("ada").await, Records::of(&database.url).await);
    let trend = ada.detect_trend("t").await;
    for number in 0..10 {
        ada.draft_content(&trend, &number.to_string()).await;
    }
    for wait_ms in 0..40 {
        let asked = (0..4).map(|_| ada.ask(DEEP, json!({ "first": 10 })));
        let asked = futures::future::join_all(asked);
        let _ = tokio::time::timeout(Duration::from_millis(wait_ms), asked).await;
    }
    // One that fails in PostgreSQL, and one that reads the log beside the tables.
    ada.ask("{ contents { nodes { id } } x: content(id: \"no\") { id } }", json!({}))
        .await
        .fails("BAD_USER_INPUT");
    let admin = server.admin().await;
    let both = (0..20)
        .map(|_| admin.query("{ contents { totalCount } events { totalCount } }", json!({})));
    futures::future::join_all(both).await;
    eventually("no transaction is left open", async || {
        let open: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND state LIKE 'idle in transaction%'",
        )
        .fetch_one(&records.pool)
        .await
        .unwrap();
        (open == 0).then_some(())
    })
    .await;
    assert_eq!(ada.query(DEEP, json!({ "first": 10 })).await["contents"]["totalCount"], json!(10));
}
