//! A command that is sent again gets its first answer, and happens once.

use futures::future::join_all;
use orion_commands::{Done, Envelope, Single};
use orion_domain::values::ContentId;
use orion_domain::{Trend, TrendCommand};
use serde_json::json;
use uuid::Uuid;

use crate::fixtures::{World, admin, approve, code, draft, edit, editor, named};

fn new_id() -> ContentId {
    ContentId(Uuid::now_v7())
}

/// The answer is the first one, and says that it is.
#[track_caller]
fn assert_repeated(again: &Done, first: &Done) {
    assert_eq!((again.position, &again.ids), (first.position, &first.ids));
    assert!(again.is_repeated && !first.is_repeated);
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_though_the_state_moved_on() {
    let world = World::new().await;
    let (ada, command_id, trend) = (editor(), Uuid::now_v7(), world.trend().await);
    let envelope = named(ada, command_id, "draft");
    let content = new_id();
    let first = world.bus.run(&envelope, &draft(content, trend, ada)).await.unwrap();
    assert_eq!(first.ids, json!({ "contentId": content }));

    world.run(ada, &edit(content, "Other")).await.unwrap();
    // The trend is gone: decided anew, the command would be refused.
    world.run(ada, &Single::<Trend>::new(trend, TrendCommand::Archive)).await.unwrap();
    for _ in 0..2 {
        // The server draws a new id for each try.
        let again = world.bus.run(&envelope, &draft(new_id(), trend, ada)).await.unwrap();
        assert_repeated(&again, &first);
    }
    let elsewhere = world.another_bus().await;
    let again = elsewhere.run(&envelope, &draft(new_id(), trend, ada)).await.unwrap();
    assert_repeated(&again, &first);
    assert_eq!(world.events("content.drafted").await, 1);
}

#[tokio::test]
async fn a_repeated_approval_is_not_refused() {
    let world = World::new().await;
    let boss = admin();
    let content = world.in_review(editor()).await;
    let envelope = named(boss, Uuid::now_v7(), "approve");
    let first = world.bus.run(&envelope, &approve(content)).await.unwrap();
    assert_repeated(&world.bus.run(&envelope, &approve(content)).await.unwrap(), &first);
    // Without its id it is another approval.
    assert_eq!(code(world.run(boss, &approve(content)).await), ("NOT_IN_REVIEW", None));
    assert_eq!(world.events("content.approved").await, 1);
}

#[tokio::test]
async fn a_repeat_of_what_changed_nothing_changes_nothing() {
    let world = World::new().await;
    let ada = editor();
    let content = world.draft(ada).await;
    let envelope = named(ada, Uuid::now_v7(), "same");
    let same = edit(content, "Orion");
    let first = world.bus.run(&envelope, &same).await.unwrap();
    assert_eq!(first.position, None);
    world.run(ada, &edit(content, "Other")).await.unwrap();
    assert_repeated(&world.bus.run(&envelope, &same).await.unwrap(), &first);
    assert_eq!(world.events("content.edited").await, 1);
    let reused = Envelope {
        command: Some((envelope.command.unwrap().0, b"x".to_vec())),
        ..Envelope::of(ada)
    };
    assert_eq!(code(world.bus.run(&reused, &same).await).0, "COMMAND_ID_REUSED");
}

#[tokio::test]
async fn another_input_under_the_same_id_is_refused() {
    let world = World::new().await;
    let (ada, bob, command_id) = (editor(), editor(), Uuid::now_v7());
    let content = world.draft(ada).await;
    world.bus.run(&named(ada, command_id, "one"), &edit(content, "One")).await.unwrap();
    let refused = world.bus.run(&named(ada, command_id, "two"), &edit(content, "Two")).await;
    assert_eq!(code(refused), ("COMMAND_ID_REUSED", Some("commandId")));
    assert_eq!(world.events("content.edited").await, 1);

    // The id is the sender's own: under another's name it is another command.
    let his = world.draft(bob).await;
    world.bus.run(&named(bob, command_id, "two"), &edit(his, "Two")).await.unwrap();
    assert_eq!(world.events("content.edited").await, 2);
}

#[tokio::test]
async fn a_refusal_leaves_no_receipt() {
    let world = World::new().await;
    let (ada, command_id, content) = (editor(), Uuid::now_v7(), new_id());
    let envelope = named(ada, command_id, "edit");
    let refused = world.bus.run(&envelope, &edit(content, "Other")).await;
    assert_eq!(code(refused).0, "NOT_FOUND");
    assert_eq!(world.count("SELECT count(*) FROM receipts").await, 0);

    let trend = world.trend().await;
    world.run(ada, &draft(content, trend, ada)).await.unwrap();
    world.bus.run(&envelope, &edit(content, "Other")).await.unwrap();
    assert_eq!(world.count("SELECT count(*) FROM receipts").await, 1);
}

#[tokio::test]
async fn one_command_sent_many_times_at_once_happens_once() {
    let world = World::new().await;
    let buses = [world.bus.clone(), world.another_bus().await];
    let (ada, trend) = (editor(), world.trend().await);
    let envelope = named(ada, Uuid::now_v7(), "draft");
    let drafts: Vec<_> = (0..16).map(|_| draft(new_id(), trend, ada)).collect();
    let outcomes =
        join_all(drafts.iter().enumerate().map(|(n, draft)| buses[n % 2].run(&envelope, draft)))
            .await;
    let answers: Vec<Done> = outcomes.into_iter().map(Result::unwrap).collect();
    let (repeated, first): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.is_repeated);
    assert_eq!(first.len(), 1, "{first:?}");
    for again in repeated {
        assert_repeated(&again, &first[0]);
    }
    assert_eq!(world.events("content.drafted").await, 1);
}
