//! What users are told, as clients see it: listed, read, and pushed.

use orion_store::testing::database;
use serde_json::{Value, json};

use crate::client::{Client, position};
use crate::people::id_at;
use crate::server::Server;

const LIST: &str =
    "query ($filter: NotificationFilter, $first: Int, $after: String, $last: Int, $before: String,
            $minPosition: Position) {
    notifications(filter: $filter, first: $first, after: $after, last: $last, before: $before,
                  minPosition: $minPosition) {
        totalCount pageInfo { hasNextPage hasPreviousPage endCursor startCursor }
        nodes { id kind position eventType message readAt stage content { id title }
                trend { id } run { id stage } session { id } } } }";

const RECEIVED: &str = "subscription ($after: Position) { notificationReceived(after: $after) {
    position kind content { id } run { status } } }";

async fn list(client: &Client, variables: Value) -> Value {
    client.query(LIST, variables).await["notifications"].take()
}

fn of<'a>(list: &'a Value, field: &str) -> Vec<&'a Value> {
    list["nodes"].as_array().unwrap().iter().map(|node| &node[field]).collect()
}

async fn choose(client: &Client, types: Value) {
    let settings = json!({ "notification_preferences": { "types": types } });
    client.mutate("updateSettings", json!({ "settings": settings }), "").await.done();
}

/// Fails a stage of a fresh generation; gives the position of the failure.
async fn fail_stage(editor: &Client, content_id: &str, stage: &str) -> i64 {
    let input = json!({ "contentId": content_id, "stages": [stage] });
    editor.mutate("startGeneration", input, "").await.done();
    let run_id = editor.start_stage(content_id, stage).await;
    let failed = editor.mutate("failStage", json!({ "runId": run_id, "error": "quota" }), "").await;
    // The failure of the generation follows it.
    position(&failed.done()["position"]) - 1
}

#[tokio::test]
async fn each_user_lists_the_own_newest_first() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let (ada, bob) = (server.editor("ada").await, server.editor("bob").await);
    let trend = ada.detect_trend("a topic").await;
    let content = ada.draft_content(&trend, "A title").await;
    let failed = fail_stage(&ada, &content, "images").await;
    let min = json!({ "minPosition": failed.to_string() });
    let all = list(&ada, min.clone()).await;
    assert_eq!(
        of(&all, "kind"),
        ["MEDIA_FAILED", "PIPELINE_STAGE_CHANGED", "CONTENT_CREATED", "TREND_DETECTED"]
    );
    assert_eq!(all["totalCount"], 4);
    assert_eq!(
        of(&all, "message"),
        [
            "The stage images failed: media are missing.",
            "The stage images was started.",
            "A content was drafted.",
            "A trend was detected.",
        ]
    );
    let newest = &all["nodes"][0];
    assert_eq!(position(&newest["position"]), failed);
    assert_eq!(newest["eventType"], "content.stage_failed");
    assert_eq!(newest["content"], json!({ "id": content, "title": "A title" }));
    assert_eq!(newest["run"]["stage"], "images");
    assert_eq!(newest["trend"], Value::Null);
    assert_eq!(of(&all, "trend")[2..], [&json!({ "id": trend }), &json!({ "id": trend })]);
    let kinds = json!({ "filter": { "kinds": ["MEDIA_FAILED", "TREND_DETECTED"] } });
    assert_eq!(of(&list(&ada, kinds).await, "kind"), ["MEDIA_FAILED", "TREND_DETECTED"]);
    assert_eq!(of(&list(&bob, min).await, "kind"), ["TREND_DETECTED"]);

    // By its id, to its owner and to admins; and an admin may look at somebody's list.
    let admin = server.admin().await;
    let node = "query ($id: ID!) { node(id: $id) { ... on Notification { userId kind } } }";
    let asked = json!({ "id": newest["id"] });
    let me = ada.query("{ me { id } }", json!({})).await;
    let ada_id = id_at(&me, "/me/id");
    let seen = json!({ "node": { "userId": ada_id, "kind": "MEDIA_FAILED" } });
    assert_eq!(ada.query(node, asked.clone()).await, seen);
    assert_eq!(admin.query(node, asked.clone()).await, seen);
    assert_eq!(bob.query(node, asked).await, json!({ "node": null }));
    let of_ada = json!({ "filter": { "userId": ada_id } });
    assert_eq!(list(&admin, of_ada.clone()).await["totalCount"], 4);
    assert_eq!(list(&admin, json!({})).await["totalCount"], 1);
    assert_eq!(list(&bob, of_ada.clone()).await["totalCount"], 0);
    let (machine, _) = admin.machine("worker", &["PIPELINE"]).await;
    for variables in [json!({}), of_ada] {
        assert_eq!(list(&machine, variables).await["nodes"], json!([]));
    }
    // The log says how far it is.
    let log = "{ log { head projections { name position lag error } } }";
    let log = admin.query(log, json!({})).await;
    assert_eq!(log["log"]["projections"][1]["name"], "notifications");
    let metrics = server.metrics().await;
    assert!(
        metrics.contains("orion_projection_stopped{projection=\"notifications\"} 0"),
        "{metrics}"
    );
}

#[tokio::test]
async fn pages_follow_each_other_in_both_directions() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.editor("ada").await;
    for number in 0..5 {
        ada.detect_trend(&format!("topic {number}")).await;
    }
    let head = ada.query("{ position }", json!({})).await["position"].clone();
    let all = list(&ada, json!({ "minPosition": head })).await;
    let positions = of(&all, "position");
    let first = list(&ada, json!({ "first": 2 })).await;
    assert_eq!(of(&first, "position"), positions[..2]);
    assert_eq!(first["pageInfo"]["hasNextPage"], true);
    // What comes meanwhile moves nothing.
    ada.detect_trend("newer").await;
    let next = json!({ "first": 3, "after": first["pageInfo"]["endCursor"] });
    let next = list(&ada, next).await;
    assert_eq!(of(&next, "position"), positions[2..]);
    assert_eq!(next["pageInfo"]["hasNextPage"], false);
    assert_eq!(next["pageInfo"]["hasPreviousPage"], true);
    let back = json!({ "last": 1, "before": next["pageInfo"]["startCursor"] });
    let back = list(&ada, back).await;
    assert_eq!(of(&back, "position"), positions[1..2]);
    assert_eq!(back["pageInfo"]["hasPreviousPage"], true);
    let trends = ada.query("{ trends(first: 1) { pageInfo { endCursor } } }", json!({})).await;
    let foreign = &trends["trends"]["pageInfo"]["endCursor"];
    for after in [foreign, &json!("x"), &json!("7")] {
        ada.ask(LIST, json!({ "after": after })).await.fails("BAD_USER_INPUT");
    }
    ada.ask(LIST, json!({ "first": 101 })).await.fails("BAD_USER_INPUT");
    ada.ask(LIST, json!({ "minPosition": "1000000000" })).await.fails("POSITION_AHEAD");
}

#[tokio::test]
async fn what_is_read_is_marked_by_position_or_by_id() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let (ada, bob) = (server.editor("ada").await, server.viewer("bob").await);
    for number in 0..4 {
        ada.detect_trend(&format!("topic {number}")).await;
    }
    let head = ada.query("{ position }", json!({})).await["position"].clone();
    let all = list(&ada, json!({ "minPosition": head })).await;
    let (ids, positions) = (of(&all, "id"), of(&all, "position"));
    let mark = async |client: &Client, input: Value| {
        client.mutate("markNotificationsRead", input, "unreadCount").await
    };
    let done = mark(&ada, json!({ "ids": [ids[0]] })).await.done();
    assert_eq!(done["unreadCount"], 3);
    let up_to = json!({ "upTo": positions[2], "commandId": uuid::Uuid::new_v4() });
    let first = mark(&ada, up_to.clone()).await.done();
    assert_eq!(first["unreadCount"], 1);
    let unread = list(&ada, json!({ "filter": { "unread": true } })).await;
    assert_eq!(of(&unread, "id"), [ids[1]]);
    let read = list(&ada, json!({ "filter": { "unread": false } })).await;
    assert_eq!(read["totalCount"], 3);
    assert!(of(&read, "readAt").iter().all(|at| at.is_string()));
    // A repeat gives the first answer; what was read before is no news.
    assert_eq!(mark(&ada, up_to).await.done()["position"], first["position"]);
    let again = mark(&ada, json!({ "upTo": positions[3] })).await.done();
    assert_eq!((&again["position"], &again["unreadCount"]), (&Value::Null, &json!(1)));

    assert_eq!(list(&bob, json!({ "filter": { "unread": true } })).await["totalCount"], 4);
    mark(&bob, json!({ "ids": [ids[1]] })).await.refused("NOT_FOUND", "ids");
    mark(&ada, json!({ "ids": [uuid::Uuid::new_v4()] })).await.refused("NOT_FOUND", "ids");
    mark(&ada, json!({})).await.refused("MALFORMED", "upTo");
    mark(&ada, json!({ "upTo": "1000000000" })).await.refused("POSITION_AHEAD", "upTo");
    let many: Vec<_> = (0..101).map(|_| uuid::Uuid::new_v4()).collect();
    mark(&ada, json!({ "ids": many })).await.refused("TOO_MANY", "ids");
    let stale = json!({ "ids": [ids[1]], "expectedVersion": 1 });
    mark(&ada, stale).await.refused("VERSION_CONFLICT", "expectedVersion");
}

#[tokio::test]
async fn who_listens_is_told_once_and_in_order_and_comes_back_where_it_left() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let (ada, bob) = (server.editor("ada").await, server.editor("bob").await);
    let mut live = ada.subscribe(RECEIVED, json!({ "after": "0" })).await;
    let trend = ada.detect_trend("a topic").await;
    let content = ada.draft_content(&trend, "A title").await;
    let first = live.change().await;
    assert_eq!(first["kind"], "TREND_DETECTED");
    let second = live.change().await;
    assert_eq!(
        (&second["kind"], &second["content"]["id"]),
        (&json!("CONTENT_CREATED"), &json!(content))
    );
    drop(live);

    // What is told while nobody listens, and what is not to be pushed.
    choose(&ada, json!({ "trend.detected": { "real_time": false } })).await;
    ada.detect_trend("a quiet topic").await;
    choose(&ada, json!({ "content.created": { "enabled": false }, "trend.detected": null })).await;
    ada.draft_content(&trend, "Unwanted").await;
    bob.draft_content(&trend, "Not hers").await;
    let failed = fail_stage(&ada, &content, "video").await;
    let mut resumed = ada.subscribe(RECEIVED, json!({ "after": second["position"] })).await;
    let third = resumed.change().await;
    assert_eq!(third["kind"], "PIPELINE_STAGE_CHANGED");
    let fourth = resumed.change().await;
    assert_eq!(fourth["kind"], "MEDIA_FAILED");
    assert_eq!(position(&fourth["position"]), failed);
    assert_eq!(fourth["run"]["status"], "FAILED");
    ada.detect_trend("a loud topic").await;
    assert_eq!(resumed.change().await["kind"], "TREND_DETECTED");

    // All of it is in the list.
    let listed = list(&ada, json!({})).await;
    assert_eq!(of(&listed, "kind").iter().filter(|kind| **kind == "TREND_DETECTED").count(), 3);
    let mut beyond = ada.subscribe(RECEIVED, json!({ "after": "1000000000" })).await;
    beyond.next().await.expect("an answer").fails("POSITION_AHEAD");
}

#[tokio::test]
async fn what_is_about_security_cannot_be_switched_off() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.viewer("ada").await;
    let off = json!({ "notification_preferences": { "types": { "session.reuse_detected": { "enabled": false } } } });
    let refused = ada.mutate("updateSettings", json!({ "settings": off }), "").await;
    refused.refused("UNKNOWN_SETTING", "settings");
}
