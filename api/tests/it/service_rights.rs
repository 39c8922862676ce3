//! What each scope of a service token opens: every field of the roots is asked with each.

use std::collections::BTreeSet;

use orion_store::testing::database;
use serde_json::{Value, json};

use crate::client::Client;
use crate::sdl::{field_names, minimal};
use crate::server::Server;
use crate::world::World;

const SCOPES: [&str; 3] = ["TRENDS", "PIPELINE", "PUBLISH"];

/// What is open to which scopes; what is not here is open to none.
const OPEN: &[(&str, &str, &[&str])] = &[
    // To a machine it is null.
    ("Query", "me", &SCOPES),
    ("Query", "node", &SCOPES),
    ("Query", "position", &SCOPES),
    ("Query", "trend", &SCOPES),
    ("Query", "trends", &SCOPES),
    ("Query", "content", &SCOPES),
    ("Query", "contents", &SCOPES),
    ("Query", "pipelineRuns", &SCOPES),
    ("Query", "socialAccounts", &SCOPES),
    ("Query", "publish", &SCOPES),
    ("Query", "publishes", &SCOPES),
    ("Query", "publishRecords", &SCOPES),
    // To a machine it is empty.
    ("Query", "notifications", &SCOPES),
    ("Mutation", "detectTrend", &["TRENDS"]),
    ("Mutation", "rescoreTrend", &["TRENDS"]),
    ("Mutation", "expireTrend", &["TRENDS"]),
    ("Mutation", "archiveTrend", &["TRENDS"]),
    ("Mutation", "startStage", &["PIPELINE"]),
    ("Mutation", "completeStage", &["PIPELINE"]),
    ("Mutation", "failStage", &["PIPELINE"]),
    ("Mutation", "writeScript", &["PIPELINE"]),
    ("Mutation", "attachMediaAsset", &["PIPELINE"]),
    ("Mutation", "recordPublished", &["PUBLISH"]),
    ("Mutation", "recordPublishFailure", &["PUBLISH"]),
    ("Subscription", "contentChanged", &SCOPES),
    ("Subscription", "trendChanged", &SCOPES),
    ("Subscription", "pipelineRunChanged", &SCOPES),
    ("Subscription", "publishRecorded", &SCOPES),
    ("Subscription", "notificationReceived", &SCOPES),
];

fn is_open(root: &str, field: &str, scope: &str) -> bool {
    let row = OPEN.iter().find(|(of, name, _)| (*of, *name) == (root, field));
    row.is_some_and(|(_, _, scopes)| scopes.contains(&scope))
}

async fn machines(admin: &Client) -> Vec<(&'static str, Client)> {
    let mut machines = Vec::new();
    for scope in SCOPES {
        machines.push((scope, admin.machine(&format!("rights of {scope}"), &[scope]).await.0));
    }
    machines
}

#[test]
fn every_row_is_a_field() {
    let rows: BTreeSet<_> = OPEN.iter().map(|(root, field, _)| (*root, *field)).collect();
    assert_eq!(rows.len(), OPEN.len(), "a field has two rows");
    for (root, field) in rows {
        assert!(field_names(root).contains(&field), "{root}.{field}");
    }
}

#[tokio::test]
async fn a_scope_opens_what_the_table_says_and_nothing_else() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    for (scope, machine) in machines(&server.admin().await).await {
        for root in ["Query", "Mutation"] {
            for field in field_names(root) {
                let (operation, variables) = minimal(root, field);
                let answer = machine.ask(&operation, variables).await;
                let expected = (!is_open(root, field, scope)).then_some("FORBIDDEN");
                assert_eq!(answer.code(), expected, "{field} with {scope}: {:#}", answer.0);
            }
        }
        for field in field_names("Subscription") {
            // Beyond the head, so that the open ones end at once, too.
            let query = format!(
                "subscription ($after: Position) {{ {field}(after: $after) {{ position }} }}"
            );
            let mut socket = machine.subscribe(&query, json!({ "after": "1000000000" })).await;
            let answer = socket.next().await.expect("an answer");
            let open = is_open("Subscription", field, scope);
            let expected = if open { "POSITION_AHEAD" } else { "FORBIDDEN" };
            assert_eq!(answer.code(), Some(expected), "{field} with {scope}: {:#}", answer.0);
        }
    }
}

/// Every list, and the object that one of its ids names.
const LISTS: [&str; 6] =
    ["trends", "contents", "pipelineRuns", "publishes", "publishRecords", "socialAccounts"];

#[tokio::test]
async fn a_scope_shows_trends_or_contents_too_and_never_people() {
    let world = World::new().await;
    let admin = &world.admin;
    let ids = "{ users { nodes { id } } providers { nodes { id } } serviceTokens { nodes { id } }
        me { id sessions { nodes { id } } } }";
    let lists = LISTS.map(|list| format!("{list} {{ totalCount nodes {{ id }} }}")).join(" ");
    let lists = format!("{{ {lists} }}");
    let all = admin.query(&lists, json!({})).await;
    for (scope, machine) in machines(admin).await {
        let seen = machine.query(&lists, json!({})).await;
        let none = json!({ "totalCount": 0, "nodes": [] });
        for list in LISTS {
            let is_seen = match list {
                "trends" => true,
                "socialAccounts" => false,
                _ => scope != "TRENDS",
            };
            assert_ne!(all[list], none, "{list}");
            assert_eq!(
                seen[list],
                if is_seen { &all[list] } else { &none }.clone(),
                "{list} with {scope}"
            );
            let id = &all[list]["nodes"][0]["id"];
            assert_eq!(node(&machine, id).await.is_null(), !is_seen, "{list} with {scope}");
        }
        let hidden = admin.query(ids, json!({})).await;
        for pointer in [
            "/users/nodes/0/id",
            "/providers/nodes/0/id",
            "/serviceTokens/nodes/0/id",
            "/me/id",
            "/me/sessions/nodes/0/id",
        ] {
            let id = hidden.pointer(pointer).unwrap();
            assert_eq!(node(&machine, id).await, Value::Null, "{pointer} with {scope}");
            assert_ne!(node(admin, id).await, Value::Null, "{pointer}");
        }
        let me = machine.query("{ me { id } }", json!({})).await;
        assert_eq!(me, json!({ "me": null }));
    }
    // Nor by way of what they may see.
    let (worker, _) = admin.machine("worker", &["PIPELINE", "PUBLISH", "TRENDS"]).await;
    let people = "{ contents { nodes { createdBy { id } } } publishes { nodes { requestedBy { id }
        socialAccount { id } } } publishRecords { nodes { socialAccount { id } } } }";
    let seen = worker.query(people, json!({})).await;
    assert!(!seen.to_string().contains("\"id\""), "{seen:#}");
}

async fn node(client: &Client, id: &Value) -> Value {
    let query = "query ($id: ID!) { node(id: $id) { id } }";
    client.query(query, json!({ "id": id })).await["node"].take()
}
