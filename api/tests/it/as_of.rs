//! Time travel: objects as they were.

use orion_store::testing::database;
use serde_json::{Value, json};

use crate::server::Server;

const AS_OF: &str =
    "query ($id: ID!, $asOf: AsOf) { content(id: $id, asOf: $asOf) { title status version } }";

#[tokio::test]
async fn a_content_is_shown_as_it_was_at_each_position_and_time() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.editor("ada").await;
    let trend = ada.detect_trend("t").await;
    let content = ada.draft_content(&trend, "first").await;
    let edit = async |title: &str| {
        let input = json!({ "contentId": content, "title": title });
        ada.mutate("editContent", input, "position content { updatedAt }").await.done()
    };
    let (second, third) = (edit("second").await, edit("third").await);
    let at = async |as_of: Value| {
        ada.query(AS_OF, json!({ "id": content, "asOf": as_of })).await["content"].clone()
    };
    let position = |edit: &Value| edit["position"].clone();
    let shown = |title: &str, version: i64| json!({ "title": title, "status": "DRAFT", "version": version });
    assert_eq!(at(json!({ "position": position(&second) })).await, shown("second", 2));
    assert_eq!(at(json!({ "position": position(&third) })).await, shown("third", 3));
    assert_eq!(at(json!({ "at": second["content"]["updatedAt"] })).await, shown("second", 2));
    assert_eq!(at(Value::Null).await, shown("third", 3));
    // Before it was drafted it was not there.
    assert_eq!(at(json!({ "position": "1" })).await, Value::Null);
    assert_eq!(at(json!({ "at": "2000-01-01T00:00:00Z" })).await, Value::Null);

    let ahead = json!({ "id": content, "asOf": { "position": "1000000" } });
    ada.ask(AS_OF, ahead).await.fails("POSITION_AHEAD");
    for bad in [json!({}), json!({ "position": "1", "at": "2000-01-01T00:00:00Z" })] {
        ada.ask(AS_OF, json!({ "id": content, "asOf": bad })).await.fails("BAD_USER_INPUT");
    }
    // Who may not see it now may not see it then.
    let eve = server.editor("eve").await;
    let then = json!({ "id": content, "asOf": { "position": position(&second) } });
    assert_eq!(eve.query(AS_OF, then).await["content"], Value::Null);

    let trend_then = "query ($id: ID!, $asOf: AsOf) { trend(id: $id, asOf: $asOf) { status } }";
    ada.mutate("archiveTrend", json!({ "trendId": trend }), "").await.done();
    let then = json!({ "id": trend, "asOf": { "position": position(&third) } });
    assert_eq!(ada.query(trend_then, then).await["trend"]["status"], "ACTIVE");
}
