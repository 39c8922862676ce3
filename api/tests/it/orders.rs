//! Every list is read by an index in every order that it offers, its first page and those after it.

use async_graphql::parser::types::TypeKind;
use orion_store::testing::database;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::client::Client;
use crate::sdl::{TYPES, fields, named};
use crate::server::{Server, Settings};

/// The lists of a query that are Relay connections over tables, each with its orders as arguments.
fn lists() -> Vec<(&'static str, Vec<String>)> {
    let lists = fields("Query").into_iter().filter_map(|field| {
        let name = field.name.node.as_str();
        // The log is read by its own key, its position.
        if !named(&field.ty.node.base).ends_with("Connection") || name == "events" {
            return None;
        }
        let order = field.arguments.iter().find(|argument| argument.node.name.node == "orderBy");
        let Some(order) = order else { return Some((name, vec![String::new()])) };
        let TypeKind::Enum(labels) = &TYPES[named(&order.node.ty.node.base)].kind else { panic!() };
        let labels = labels.values.iter().map(|label| label.node.value.node.as_str());
        Some((name, labels.map(|label| format!(", orderBy: {label}")).collect()))
    });
    lists.collect()
}

/// What the server has sent to PostgreSQL, in order.
fn statements(server: &Server) -> Vec<String> {
    let log = server.stderr();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let statements = lines.filter_map(|line| {
        let fields = line.get("fields")?;
        // A short one is its own summary.
        let full = fields["db.statement"].as_str().filter(|text| !text.is_empty());
        full.or(fields["summary"].as_str()).map(|text| text.trim().to_owned())
    });
    statements.collect()
}

/// The statement that reads a page.
async fn page_of(
    server: &Server,
    client: &Client,
    query: &str,
    variables: Value,
) -> (String, Value) {
    let before = statements(server).len();
    let mut answer = client.query(query, variables).await;
    let page = answer["list"].take();
    let sent = statements(server).split_off(before);
    let is_page = |sql: &&String| {
        sql.contains("json_agg(p.row)") || sql.contains("FROM projection.notifications")
    };
    let sent: Vec<_> = sent.iter().filter(is_page).collect();
    assert_eq!(sent.len(), 1, "{query}: {sent:#?}");
    (sent[0].clone(), page["pageInfo"]["endCursor"].clone())
}

/// How PostgreSQL reads it whatever the values are, if it does nothing but follow indexes where it can.
async fn plan_of(connection: &mut PgConnection, sql: &str) -> String {
    let parameters = (1..100).take_while(|number| sql.contains(&format!("${number}"))).count();
    let values = vec!["NULL"; parameters].join(", ");
    sqlx::raw_sql(&format!("DEALLOCATE ALL; PREPARE page AS {sql}"))
        .execute(&mut *connection)
        .await
        .unwrap();
    let values = if parameters == 0 { String::new() } else { format!("({values})") };
    let explain = format!("EXPLAIN EXECUTE page {values}");
    let lines = sqlx::raw_sql(&explain).fetch_all(&mut *connection).await.unwrap();
    let lines = lines.iter().map(|line| sqlx::Row::get::<String, _>(line, 0));
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn every_order_of_every_list_follows_an_index() {
    let database = database().await;
    let settings = Settings::on(&database.url)
        .with("ORION_LOG", "info,sqlx::query=debug")
        .with("ORION_LOG_FORMAT", "json");
    let server = Server::with(settings).await;
    let (admin, ada) = (server.admin().await, server.editor("ada").await);
    one_of_each(&admin, &ada).await;

    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    // What PostgreSQL does for a few rows says nothing: it must not scan nor sort unless it has to.
    sqlx::raw_sql(
        "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off;
         SET enable_bitmapscan = off; SET enable_sort = off",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    // The notifications come a moment later than the rest.
    let at = admin.query("{ position }", json!({})).await["position"].take();
    let lists = lists();
    assert!(lists.len() >= 9, "{lists:?}");
    for (list, orders) in lists {
        for order in orders {
            let query = format!(
                "query ($after: String, $at: Position) {{
                     list: {list}(first: 1, after: $after, minPosition: $at{order}) {{
                     pageInfo {{ endCursor }} nodes {{ id }} }} }}"
            );
            let (first, cursor) = page_of(&server, &admin, &query, json!({ "at": at })).await;
            assert!(cursor.is_string(), "{list} is empty");
            let (next, _) =
                page_of(&server, &admin, &query, json!({ "at": at, "after": cursor })).await;
            for sql in [first, next] {
                let plan = plan_of(&mut connection, &sql).await;
                assert!(!plan.contains("Seq Scan"), "{list}{order}\n{sql}\n{plan}");
                assert!(plan.contains("Index"), "{list}{order}\n{sql}\n{plan}");
                // Where rows are equal in the column, their ids are sorted: those few only.
                let whole = plan.replace("Incremental Sort", "");
                assert!(!whole.contains("Sort  ("), "{list}{order}\n{sql}\n{plan}");
                assert!(!sql.contains("OFFSET"), "{sql}");
            }
        }
    }
}

/// Two rows in every list that is not empty by itself.
async fn one_of_each(admin: &Client, ada: &Client) {
    let trend = ada.detect_trend("one").await;
    ada.detect_trend("two").await;
    for name in ["a", "b"] {
        let content = ada.draft_content(&trend, name).await;
        ada.generate(&content).await;
        let input = json!({ "name": name, "providerType": "llm", "config": {} });
        admin.mutate("registerProvider", input, "").await.done();
        let input = json!({ "name": name, "scopes": ["PIPELINE"] });
        admin.mutate("issueServiceToken", input, "").await.done();
        crate::world::connect(ada).await;
        admin.on_content("approveContent", &content).await;
        let input = json!({ "contentId": content, "platform": "tiktok" });
        let publish = ada.mutate("publishContent", input, "publishId").await.done();
        let input = json!({ "publishId": publish["publishId"], "error": "quota" });
        ada.mutate("recordPublishFailure", input, "").await.done();
    }
}
