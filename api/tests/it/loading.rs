//! What one answer costs: a statement for each root field, of the selected columns only.

use std::collections::BTreeMap;

use orion_store::testing::database;
use serde_json::{Value, json};

use crate::client::Client;
use crate::people::id_at;
use crate::server::{Server, Settings};
use crate::world::World;

/// Everything below contents, in circles, as deep as an operation may be.
pub const DEEP: &str = "query ($first: Int = 5) { contents(first: $first) { totalCount nodes {
    title trend { topic contents(first: 3) { totalCount nodes { id } } } createdBy { name settings { settings } }
    mediaAssets(first: 5) { totalCount nodes { filePath content { id } } }
    pipelineRuns(first: 3) { totalCount nodes { stage content { trend { contents(first: 2) { nodes {
        publishRecords(first: 2) { nodes { socialAccount { user { sessions(first: 2) { nodes { id } } } } } }
    } } } } } }
    publishRecords(first: 5) { totalCount nodes { platform } }
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

    // Where nothing is planned, there is one statement for each level and table, whatever the rows. A busy
    // machine splits a batch now and then, so the best of some tries counts.
    let at_most = async |max: usize, query: &str, variables: Value| {
        let mut made = count(query, variables.clone()).await;
        for _ in 0..10 {
            if made.len() > max {
                made = count(query, variables.clone()).await;
            }
        }
        assert!(made.len() <= max, "{made:#?}");
    };
    let query = "query ($id: ID!) { node(id: $id) { ... on Content { trend { contents(first: 20) { nodes {
        trend { topic } mediaAssets(first: 5) { nodes { content { id } } } pipelineRuns(first: 5) { nodes { id } }
    } } } } } }";
    // node; trend; contents; trend, assets, runs; contents.
    at_most(7, query, json!({ "id": contents[0] })).await;
    let query = "{ notifications(first: 50) { nodes { content { trend { topic } } trend { topic } run { stage } } } }";
    // contents, trends, runs; trends.
    at_most(4, query, json!({})).await;
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
