//! Who may do what with contents, and which trends they may be made of.

use orion_commands::{Actor, CommandError, Envelope, Single};
use orion_domain::values::{ContentId, ContentStatus, Reason, TrendId, UserId};
use orion_domain::{Content, ContentCommand, Trend, TrendCommand};
use uuid::Uuid;

use crate::fixtures::{World, admin, approve, code, detect, draft, edit, editor, refusal, viewer};

fn new_id() -> ContentId {
    ContentId(Uuid::now_v7())
}

#[tokio::test]
async fn roles_decide_before_anything_is_looked_at() {
    let world = World::new().await;
    let content = world.draft(editor()).await;
    let trend = world.trend().await;
    let before = world.count("SELECT max(position) FROM events").await;

    for actor in [viewer(), Actor::Anonymous] {
        for refused in [
            world.run(actor, &draft(new_id(), trend, actor)).await,
            world.run(actor, &edit(content, "Other")).await,
            world.run(actor, &edit(new_id(), "Other")).await,
            world.run(actor, &approve(content)).await,
            world.run(actor, &detect(Uuid::now_v7())).await,
        ] {
            match actor {
                Actor::Anonymous => {
                    assert!(matches!(refused, Err(CommandError::Unauthenticated)), "{refused:?}");
                }
                Actor::User { .. } | Actor::Service { .. } | Actor::System => {
                    assert!(matches!(refused, Err(CommandError::Forbidden)), "{refused:?}");
                }
            }
        }
    }
    // Reviews are the admins', and marking contents published is Orion's own.
    let approved = world.run(editor(), &approve(content)).await;
    assert!(matches!(approved, Err(CommandError::Forbidden)), "{approved:?}");
    let publish_id = orion_domain::values::PublishId(Uuid::now_v7());
    let mark = Single::<Content>::new(content, ContentCommand::MarkPublished { publish_id });
    let marked = world.run(admin(), &mark).await;
    assert!(matches!(marked, Err(CommandError::Forbidden)), "{marked:?}");
    assert_eq!(world.count("SELECT max(position) FROM events").await, before);
}

#[tokio::test]
async fn anothers_content_is_as_if_it_were_not_there() {
    let world = World::new().await;
    let (ada, eve) = (editor(), editor());
    let foreign = world.draft(ada).await;
    let missing = new_id();
    let commands = |id| {
        [
            edit(id, "Mine now"),
            Single::new(id, ContentCommand::SubmitForReview),
            Single::new(id, ContentCommand::ReturnToDraft),
        ]
    };
    for (foreign, missing) in commands(foreign).into_iter().zip(commands(missing)) {
        let of_foreign = refusal(world.run(eve, &foreign).await);
        let of_missing = refusal(world.run(eve, &missing).await);
        assert_eq!((of_foreign.code, &of_foreign), ("NOT_FOUND", &of_missing));
        // A version that is expected does not tell either.
        let expecting = Envelope { expected_version: Some(7), ..Envelope::of(eve) };
        assert_eq!(refusal(world.bus.run(&expecting, &foreign).await), of_missing);
    }
    assert_eq!(world.bus.store().load::<Content>(foreign.0).await.unwrap().version, 1);

    world.run(ada, &edit(foreign, "Hers")).await.unwrap();
    world.run(admin(), &edit(foreign, "The admin's")).await.unwrap();
}

#[tokio::test]
async fn a_content_needs_a_trend_that_is_active() {
    let world = World::new().await;
    let ada = editor();
    let unknown = world.run(ada, &draft(new_id(), TrendId(Uuid::now_v7()), ada)).await;
    assert_eq!(code(unknown), ("NOT_FOUND", Some("trendId")));
    // A content's id is no trend's id.
    let content = world.draft(ada).await;
    let mistaken = world.run(ada, &draft(new_id(), TrendId(content.0), ada)).await;
    assert_eq!(code(mistaken), ("NOT_FOUND", Some("trendId")));

    for (command, status) in
        [(TrendCommand::Expire, "expired"), (TrendCommand::Archive, "archived")]
    {
        let trend = world.trend().await;
        world.run(ada, &Single::<Trend>::new(trend, command)).await.unwrap();
        let refused = refusal(world.run(ada, &draft(new_id(), trend, ada)).await);
        assert_eq!((refused.code, refused.field), ("TREND_NOT_ACTIVE", Some("trendId")));
        assert!(refused.message.contains(status), "{}", refused.message);
    }
    assert_eq!(world.events("content.drafted").await, 1);
}

#[tokio::test]
async fn a_content_goes_from_draft_to_approval_or_back() {
    let world = World::new().await;
    let ada = editor();
    let approved = world.approved(ada).await;
    assert_eq!(world.content(approved).await.status(), Some(ContentStatus::Approved));
    let reject = ContentCommand::Reject {
        by: UserId(Uuid::now_v7()),
        reason: Reason::parse("too late").unwrap(),
    };
    let rejected = world.run(admin(), &Single::<Content>::new(approved, reject)).await;
    assert_eq!(code(rejected), ("NOT_IN_REVIEW", None));
}

#[tokio::test]
async fn events_say_who_caused_them_and_why() {
    let world = World::new().await;
    let ada = editor();
    let content = world.draft(ada).await;
    let command_id = Uuid::now_v7();
    let envelope = Envelope {
        command: Some((command_id, b"input".to_vec())),
        correlation_id: Some("request 1".to_owned()),
        causation_id: Some(orion_store::Position(1)),
        traceparent: Some("00-trace".to_owned()),
        ..Envelope::of(ada)
    };
    let done = world.bus.run(&envelope, &edit(content, "Other")).await.unwrap();
    let metadata: serde_json::Value =
        sqlx::query_scalar("SELECT metadata FROM events WHERE position = $1")
            .bind(done.position.unwrap().0)
            .fetch_one(&world.owner)
            .await
            .unwrap();
    let expected = serde_json::json!({
        "actor": ada.user_id().unwrap(),
        "command_id": command_id,
        "correlation_id": "request 1",
        "causation_id": "1",
        "traceparent": "00-trace",
    });
    assert_eq!(metadata, expected);
}
