//! Live updates over WebSocket: without a gap, in order, once, and only what one may see.

use orion_store::testing::database;
use serde_json::{Value, json};

use crate::client::{Client, position};
use crate::log::Records;
use crate::server::Server;
use crate::websocket::Socket;

const TRENDS: &str = "subscription ($after: Position) { trendChanged(after: $after) {
    position eventType recordedAt trend { id score status version } } }";

const CONTENTS: &str =
    "subscription ($id: ID, $after: Position) { contentChanged(id: $id, after: $after) {
    position eventType content { id status version } } }";

const RUNS: &str =
    "subscription ($id: ID, $after: Position) { pipelineRunChanged(contentId: $id, after: $after) {
    position eventType pipelineRun { stage status content { id } } } }";

const RECORDS: &str =
    "subscription ($id: ID, $after: Position) { publishRecorded(contentId: $id, after: $after) {
    position eventType publishRecord { status platformPostId content { id } } } }";

const EVENTS: &str = "subscription ($after: Position, $filter: EventFilter) { events(after: $after, filter: $filter) {
    position eventType sequence aggregateId } }";

/// How many trends each writer detects, each with one rescore.
const TRENDS_EACH: usize = 20;

/// The writers that work at once.
const WRITERS: usize = 3;

/// After how many changes the restless subscriber leaves and comes back.
const STAYS_FOR: usize = 7;

fn from_start() -> Value {
    json!({ "after": "0" })
}

/// The positions and sequences of the events of one noun, in order.
async fn logged(records: &Records, aggregate_type: &str) -> Vec<(i64, i64)> {
    let sql = "SELECT position, sequence FROM events WHERE aggregate_type = $1 ORDER BY position";
    sqlx::query_as(sql).bind(aggregate_type).fetch_all(&records.pool).await.unwrap()
}

/// The next `count` changes.
async fn take(socket: &mut Socket, count: usize) -> Vec<Value> {
    let mut changes = Vec::new();
    while changes.len() < count {
        changes.push(socket.change().await);
    }
    changes
}

fn positions(changes: &[Value]) -> Vec<i64> {
    changes.iter().map(|change| position(&change["position"])).collect()
}

#[tokio::test]
async fn the_past_is_caught_up_with_and_goes_over_into_the_present() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let records = Records::of(&database.url).await;
    let ada = server.editor("ada").await;
    for topic in ["one", "two", "three"] {
        ada.detect_trend(topic).await;
    }
    let mut socket = ada.socket().await;
    assert_eq!(socket.acknowledged, records.head().await);
    socket.subscribe(TRENDS, from_start()).await;
    let past = take(&mut socket, 3).await;
    ada.detect_trend("four").await;
    let present = take(&mut socket, 1).await;
    let expected: Vec<_> = logged(&records, "trend").await.iter().map(|event| event.0).collect();
    assert_eq!(positions(&[past.clone(), present].concat()), expected);
    assert_eq!(past[0]["eventType"], "trend.detected");

    // From what `connection_ack` said, and from now on: what happens next is first.
    let mut resumed = ada.socket().await;
    let after = resumed.acknowledged;
    let mut from_now = ada.socket().await;
    from_now.subscribe(TRENDS, json!({})).await;
    // Whether this one is seen depends on who was faster; nothing earlier may be.
    ada.detect_trend("five").await;
    resumed.subscribe(TRENDS, json!({ "after": after.to_string() })).await;
    let five = resumed.change().await;
    assert_eq!(position(&five["position"]), records.head().await);
    ada.detect_trend("six").await;
    let first_seen = position(&from_now.change().await["position"]);
    assert!(first_seen > after, "{first_seen} was there before");
}

#[tokio::test]
async fn a_subscriber_who_comes_back_sees_each_event_once_and_in_order() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let records = Records::of(&database.url).await;
    let viewer = server.viewer("vera").await;
    let mut slow = viewer.subscribe(TRENDS, from_start()).await;
    let total = WRITERS * TRENDS_EACH * 2;

    let writers = async {
        let mut editors = Vec::new();
        for name in ["ada", "bob", "eve"] {
            editors.push(server.editor(name).await);
        }
        futures::future::join_all(editors.iter().map(write)).await;
    };
    let restless = come_and_go(&viewer, total);
    let ((), seen) = tokio::join!(writers, restless);

    let logged = logged(&records, "trend").await;
    let expected: Vec<_> = logged.iter().map(|event| event.0).collect();
    assert_eq!(positions(&seen), expected);
    // Who does not read for a while has missed nothing.
    let late = take(&mut slow, total).await;
    assert_eq!(positions(&late), expected);
    // No object is older than its event.
    for ((_, sequence), change) in logged.iter().zip(&seen) {
        assert!(change["trend"]["version"].as_i64().unwrap() >= *sequence, "{change}");
    }

    // The whole log, for an admin.
    let admin = server.admin().await;
    let head = records.head().await;
    let mut all = admin.subscribe(EVENTS, from_start()).await;
    let all = take(&mut all, usize::try_from(head).unwrap()).await;
    assert_eq!(positions(&all), (1..=head).collect::<Vec<_>>());
    let filter = json!({ "after": "0", "filter": { "eventTypes": ["trend.rescored"] } });
    let mut rescored = admin.subscribe(EVENTS, filter).await;
    let rescored = take(&mut rescored, total / 2).await;
    assert!(rescored.iter().all(|event| event["eventType"] == "trend.rescored"));
}

async fn write(editor: &Client) {
    for number in 0..TRENDS_EACH {
        let trend_id = editor.detect_trend(&format!("topic {number}")).await;
        let rescore = json!({ "trendId": trend_id, "score": 0.75 });
        editor.mutate("rescoreTrend", rescore, "").await.done();
    }
}

/// Watches the trends over many short connections, each resumed after the last change seen.
async fn come_and_go(viewer: &Client, total: usize) -> Vec<Value> {
    let mut seen: Vec<Value> = Vec::new();
    while seen.len() < total {
        let after = seen.last().map_or(json!("0"), |change| change["position"].clone());
        let mut socket = viewer.subscribe(TRENDS, json!({ "after": after })).await;
        let stay = STAYS_FOR.min(total - seen.len());
        seen.extend(take(&mut socket, stay).await);
    }
    seen
}

#[tokio::test]
async fn one_sees_the_changes_of_what_one_may_see() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let (ada, bob) = (server.editor("ada").await, server.editor("bob").await);
    let admin = server.admin().await;
    let trend = ada.detect_trend("a topic").await;
    let first = ada.draft_content(&trend, "first").await;
    let second = ada.draft_content(&trend, "second").await;
    ada.generate(&first).await;
    ada.generate(&second).await;
    admin.on_content("approveContent", &second).await;
    for (content_id, publish) in [(&second, "yt-1"), (&second, "yt-2")] {
        let input = json!({ "contentId": content_id, "platform": "youtube" });
        let payload = ada.mutate("publishContent", input, "publishId").await.done();
        let input = json!({ "publishId": payload["publishId"], "platformPostId": publish });
        ada.mutate("recordPublished", input, "").await.done();
    }
    let bobs = bob.draft_content(&trend, "of bob").await;

    // Bob's own is the first that he sees; an admin sees all, one's own stream has all of one's own.
    let mut seen_by_bob = bob.subscribe(CONTENTS, from_start()).await;
    assert_eq!(seen_by_bob.change().await["content"]["id"], json!(bobs));
    let mut seen_by_admin = admin.subscribe(CONTENTS, from_start()).await;
    assert_eq!(seen_by_admin.change().await["content"]["id"], json!(first));
    let of_second = json!({ "id": second, "after": "0" });
    let mut seen_by_ada = ada.subscribe(CONTENTS, of_second.clone()).await;
    let types: Vec<_> = take(&mut seen_by_ada, 7).await;
    let types: Vec<_> = types
        .iter()
        .inspect(|change| assert_eq!(change["content"]["id"], json!(second)))
        .map(|change| change["eventType"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        [
            "content.drafted",
            "content.generation_started",
            "content.stage_started",
            "content.stage_completed",
            "content.submitted_for_review",
            "content.approved",
            "content.published",
        ]
    );

    let mut runs = ada.subscribe(RUNS, of_second.clone()).await;
    let runs = take(&mut runs, 3).await;
    // Each shows the run as it is now: not older than the event, maybe newer.
    for run in &runs {
        let expected =
            json!({ "stage": "script", "status": "COMPLETED", "content": { "id": second } });
        assert_eq!(run["pipelineRun"], expected);
    }
    let mut published = ada.subscribe(RECORDS, of_second).await;
    let published = take(&mut published, 2).await;
    let posts: Vec<_> =
        published.iter().map(|change| &change["publishRecord"]["platformPostId"]).collect();
    assert_eq!(posts, ["yt-1", "yt-2"]);

    // Bob asks for what is not his by its id, and sees nothing of it before the next of his own.
    for (query, id) in [(CONTENTS, &first), (RUNS, &first), (RECORDS, &second)] {
        let mut socket = bob.subscribe(query, json!({ "id": id, "after": "0" })).await;
        socket.next_is_silence().await;
    }
}

#[tokio::test]
async fn a_subscription_that_makes_no_sense_is_refused() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let records = Records::of(&database.url).await;
    let viewer = server.viewer("vera").await;
    let head = records.head().await;
    // A cursor of a list is no position.
    let ada = server.editor("ada").await;
    ada.detect_trend("a topic").await;
    let page = ada.query("{ trends { pageInfo { endCursor } } }", json!({})).await;
    let cursor = page["trends"]["pageInfo"]["endCursor"].clone();
    assert!(cursor.is_string(), "{page}");
    let mut neighbour = ada.subscribe(TRENDS, from_start()).await;
    neighbour.change().await;
    for (query, variables, code) in [
        (TRENDS, json!({ "after": (head + 1_000).to_string() }), "POSITION_AHEAD"),
        (EVENTS, json!({ "after": "9223372036854775807" }), "FORBIDDEN"),
        (TRENDS, json!({ "after": "9223372036854775807" }), "POSITION_AHEAD"),
        (TRENDS, json!({ "after": "9223372036854775808" }), "BAD_USER_INPUT"),
        (TRENDS, json!({ "after": "x" }), "BAD_USER_INPUT"),
        (TRENDS, json!({ "after": "-1" }), "BAD_USER_INPUT"),
        (TRENDS, json!({ "after": -1 }), "BAD_USER_INPUT"),
        (TRENDS, json!({ "after": "" }), "BAD_USER_INPUT"),
        (TRENDS, json!({ "after": cursor }), "BAD_USER_INPUT"),
        (CONTENTS, json!({ "id": "x" }), "BAD_USER_INPUT"),
        ("subscription { trendChanged { colour } }", json!({}), "BAD_USER_INPUT"),
        ("subscription {", json!({}), "BAD_USER_INPUT"),
    ] {
        let mut socket = viewer.subscribe(query, variables).await;
        socket.next().await.expect("an answer").fails(code);
    }
    // The head itself is where a subscription may start.
    let head = records.head().await;
    let mut socket = viewer.subscribe(TRENDS, json!({ "after": head.to_string() })).await;
    ada.detect_trend("another topic").await;
    for socket in [&mut socket, &mut neighbour] {
        assert_eq!(socket.change().await["eventType"], "trend.detected");
    }
}

#[tokio::test]
async fn queries_and_mutations_work_on_a_socket_too() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.editor("ada").await;
    let mut socket = ada.subscribe("{ me { name } }", json!({})).await;
    assert_eq!(socket.change().await, json!({ "name": "ada" }));
    let query = "mutation { detectTrend(input: { topic: \"t\", source: \"s\" }) { projected trend { topic } } }";
    let mut socket = ada.subscribe(query, json!({})).await;
    assert_eq!(socket.change().await, json!({ "projected": true, "trend": { "topic": "t" } }));
}
