//! Preferences as clients see them: what was chosen, and the defaults for the rest.

use orion_store::testing::database;
use serde_json::json;

use crate::server::Server;

#[tokio::test]
async fn what_is_not_chosen_has_its_documented_default() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.viewer("ada").await;
    let shown = async || {
        let me = ada.query("{ me { settings { settings } } }", json!({})).await;
        me["me"]["settings"]["settings"]["dashboard_preferences"].clone()
    };
    let defaults = json!({ "theme": "dark", "default_view": "queue", "items_per_page": 25 });
    assert_eq!(shown().await, defaults);
    let change = json!({ "settings": { "dashboard_preferences": { "theme": "light" } } });
    ada.mutate("updateSettings", change, "settings { settings }").await.done();
    assert_eq!(
        shown().await,
        json!({ "theme": "light", "default_view": "queue", "items_per_page": 25 })
    );
    let unknown = json!({ "settings": { "dashboard_preferences": { "colour": "red" } } });
    ada.mutate("updateSettings", unknown, "").await.refused("UNKNOWN_SETTING", "settings");
}
