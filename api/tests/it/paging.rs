//! Lists page by page: everything once, whatever is added meanwhile.

use std::collections::BTreeSet;

use orion_store::testing::database;
use serde_json::{Value, json};

use crate::client::Client;
use crate::people::id_at;
use crate::server::Server;
use crate::world::World;

const TRENDS: usize = 60;

const PAGE: &str =
    "query ($orderBy: TrendOrder, $first: Int, $after: String, $last: Int, $before: String) {
    trends(orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) {
        totalCount edges { cursor node { id topic detectedAt } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    } }";

/// Detects trends at once, so that some have the same time; topics repeat.
async fn detect(editor: &Client, count: usize) -> BTreeSet<String> {
    let trends = (0..count).map(|number| async move {
        let topic = format!("topic {}", number % 5);
        let source = if number % 3 == 0 { "google" } else { "rss" };
        let input = json!({ "topic": topic, "source": source, "score": 0.5 });
        id_at(&editor.mutate("detectTrend", input, "trend { id }").await.done(), "/trend/id")
    });
    futures::future::join_all(trends).await.into_iter().collect()
}

/// All pages of seven, forward or backward, with one more trend detected between each two.
async fn page_through(editor: &Client, order: &str, forward: bool) -> Vec<Value> {
    let mut seen = Vec::new();
    let mut cursor = Value::Null;
    loop {
        let variables = if forward {
            json!({ "orderBy": order, "first": 7, "after": cursor })
        } else {
            json!({ "orderBy": order, "last": 7, "before": cursor })
        };
        let page = editor.query(PAGE, variables).await["trends"].take();
        let edges = page["edges"].as_array().unwrap();
        let info = &page["pageInfo"];
        if let (Some(first), Some(last)) = (edges.first(), edges.last()) {
            assert_eq!(
                (&info["startCursor"], &info["endCursor"]),
                (&first["cursor"], &last["cursor"])
            );
        }
        let nodes = edges.iter().map(|edge| edge["node"].clone());
        let (more, back, next) = if forward {
            seen.extend(nodes);
            ("hasNextPage", "hasPreviousPage", "endCursor")
        } else {
            seen.splice(0..0, nodes);
            ("hasPreviousPage", "hasNextPage", "startCursor")
        };
        assert_eq!(info[back], json!(!cursor.is_null()), "{info}");
        if info[more] == json!(false) {
            return seen;
        }
        assert_eq!(edges.len(), 7);
        cursor = info[next].clone();
        editor.detect_trend("zzz in between").await;
    }
}

#[tokio::test]
async fn pages_show_everything_once_whatever_comes_in_between() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let editor = server.editor("ada").await;
    let before = detect(&editor, TRENDS).await;
    for (order, key, descending) in [
        ("DETECTED_AT_ASC", "detectedAt", false),
        ("DETECTED_AT_DESC", "detectedAt", true),
        ("TOPIC_ASC", "topic", false),
    ] {
        for forward in [true, false] {
            let seen = page_through(&editor, order, forward).await;
            let ids: BTreeSet<_> = seen.iter().map(|node| id_at(node, "/id")).collect();
            assert_eq!(ids.len(), seen.len(), "{order}, forward {forward}: one was shown twice");
            assert!(ids.is_superset(&before), "{order}, forward {forward}: one was not shown");
            // The id breaks ties, in the same direction.
            let mut keys: Vec<_> = seen
                .iter()
                .map(|node| (id_at(node, &format!("/{key}")), id_at(node, "/id")))
                .collect();
            if descending {
                keys.reverse();
            }
            assert!(keys.is_sorted(), "{order}, forward {forward}");
        }
    }
}

#[tokio::test]
async fn lists_are_counted_filtered_and_bounded() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let editor = server.editor("ada").await;
    let ids = detect(&editor, TRENDS).await;
    let first = ids.first().unwrap();
    editor.mutate("expireTrend", json!({ "trendId": first }), "").await.done();
    let all = editor.query("{ trends { totalCount nodes { id } } }", json!({})).await;
    assert_eq!(all["trends"]["totalCount"], json!(TRENDS));
    assert_eq!(all["trends"]["nodes"].as_array().unwrap().len(), 25, "25 unless said otherwise");
    let count = "query ($filter: TrendFilter) { trends(filter: $filter, first: 100) { totalCount nodes { id } } }";
    for (filter, expected) in [
        (json!({}), 60),
        (json!({ "status": "ACTIVE" }), 59),
        (json!({ "status": "EXPIRED" }), 1),
        (json!({ "source": "google" }), 20),
        (json!({ "topic": "TOPIC 4" }), 12),
        (json!({ "topic": "%" }), 0),
        (json!({ "topic": "topic_4" }), 0),
        (json!({ "source": "google", "topic": "topic 0" }), 4),
        (json!({ "detectedSince": "2000-01-01T00:00:00Z" }), 60),
        (json!({ "detectedBefore": "2000-01-01T00:00:00Z" }), 0),
    ] {
        let page = editor.query(count, json!({ "filter": filter })).await["trends"].take();
        assert_eq!(page["totalCount"], json!(expected), "{filter}");
        assert_eq!(page["nodes"].as_array().unwrap().len(), expected, "{filter}");
    }
    let none = editor.query(
        "{ trends(first: 0) { totalCount nodes { id } pageInfo { hasNextPage } } }",
        json!({}),
    );
    let none = json!({ "totalCount": 60, "nodes": [], "pageInfo": { "hasNextPage": true } })
        == none.await["trends"];
    assert!(none, "an empty page says that there is more");

    // The log pages alike.
    let admin = server.admin().await;
    let events = "query ($after: String) { events(first: 50, after: $after) {
        totalCount nodes { position } pageInfo { hasNextPage endCursor } } }";
    let (mut seen, mut after) = (Vec::new(), Value::Null);
    loop {
        let page = admin.query(events, json!({ "after": after })).await["events"].take();
        seen.extend(
            page["nodes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|node| crate::client::position(&node["position"])),
        );
        if page["pageInfo"]["hasNextPage"] == json!(false) {
            assert_eq!(page["totalCount"], json!(seen.len()));
            break;
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
    assert_eq!(seen, (1..).take(seen.len()).collect::<Vec<i64>>());
}

#[tokio::test]
async fn what_is_published_is_filtered_by_owner_and_time() {
    let world = World::new().await;
    let of_world = [
        ("publishes", "PublishFilter", "created", 4),
        ("publishRecords", "PublishRecordFilter", "created", 3),
        ("socialAccounts", "SocialAccountFilter", "created", 2),
        ("pipelineRuns", "PipelineRunFilter", "started", 5),
        // Four people, and Orion itself.
        ("users", "UserFilter", "created", 5),
    ];
    for (list, filter, time, all) in of_world {
        let query = format!(
            "query ($filter: {filter}) {{ {list}(filter: $filter) {{ totalCount nodes {{ id }} }} }}"
        );
        let count = async |filter: Value| {
            let page = world.admin.query(&query, json!({ "filter": filter })).await[list].take();
            assert_eq!(page["totalCount"], json!(page["nodes"].as_array().unwrap().len()));
            page["totalCount"].as_i64().unwrap()
        };
        let (since, before) = (format!("{time}Since"), format!("{time}Before"));
        assert_eq!(count(json!({})).await, all, "{list}");
        assert_eq!(count(json!({ since: "2000-01-01T00:00:00Z" })).await, all, "{list}");
        assert_eq!(count(json!({ before: "2000-01-01T00:00:00Z" })).await, 0, "{list}");
    }
    let of = async |query: &str, user: &str| {
        let found = world.admin.query(query, json!({ "user": user })).await;
        found.as_object().unwrap().values().next().unwrap()["totalCount"].as_i64().unwrap()
    };
    let ada = world.ada.query("{ me { id } }", json!({})).await;
    let ada = id_at(&ada, "/me/id");
    for (query, owned) in [
        ("query ($user: ID) { publishes(filter: { requestedBy: $user }) { totalCount } }", 4),
        ("query ($user: ID) { socialAccounts(filter: { userId: $user }) { totalCount } }", 2),
    ] {
        assert_eq!((of(query, &ada).await, of(query, &world.viewer_id).await), (owned, 0));
    }
}

#[tokio::test]
async fn nested_lists_page_by_parent() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let editor = server.editor("ada").await;
    for (topic, contents) in [("a", 0), ("b", 1), ("c", 3)] {
        let trend_id = editor.detect_trend(topic).await;
        for number in 0..contents {
            editor.draft_content(&trend_id, &format!("{topic}{number}")).await;
        }
    }
    let query = "query ($after: String) { trends(orderBy: TOPIC_ASC) { nodes {
        contents(first: 2, after: $after) { totalCount nodes { title } pageInfo { hasNextPage endCursor } } } } }";
    let nodes = editor.query(query, json!({})).await["trends"]["nodes"].take();
    let shown = |nodes: &Value| -> Vec<(i64, Vec<String>, bool)> {
        let contents = nodes.as_array().unwrap().iter().map(|node| &node["contents"]);
        let shown = contents.map(|list| {
            let titles = list["nodes"].as_array().unwrap();
            (
                list["totalCount"].as_i64().unwrap(),
                titles.iter().map(|node| id_at(node, "/title")).collect(),
                list["pageInfo"]["hasNextPage"].as_bool().unwrap(),
            )
        });
        shown.collect()
    };
    let titles = |titles: &[&str]| titles.iter().map(|&title| title.to_owned()).collect::<Vec<_>>();
    assert_eq!(
        shown(&nodes),
        [(0, vec![], false), (1, titles(&["b0"]), false), (3, titles(&["c2", "c1"]), true)]
    );
    let after = nodes[2]["contents"]["pageInfo"]["endCursor"].clone();
    let nodes = editor.query(query, json!({ "after": after })).await["trends"]["nodes"].take();
    // The same cursor in every list: what is older than c1.
    assert_eq!(
        shown(&nodes),
        [(0, vec![], false), (1, titles(&["b0"]), false), (3, titles(&["c0"]), false)]
    );
}
