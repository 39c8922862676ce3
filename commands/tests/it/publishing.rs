//! Asking for a content to be published: only what is approved, only through what is one's own.

use orion_commands::Single;
use orion_domain::values::{ContentId, SocialAccountId};
use orion_domain::{Publish, SocialAccount, SocialAccountCommand};
use orion_store::Loaded;
use uuid::Uuid;

use crate::fixtures::{World, admin, code, editor, refusal, request, succeed};

#[tokio::test]
async fn an_approved_content_goes_out_by_account_or_by_hand() {
    let world = World::new().await;
    let ada = editor();
    let content = world.approved(ada).await;
    let account = world.account(ada, "youtube").await;
    for request in [
        request(content, Some(account), None, ada),
        request(content, Some(account), Some("youtube"), ada),
        request(content, None, Some("tiktok"), ada),
    ] {
        let done = world.run(ada, &request).await.unwrap();
        assert_eq!(done.ids, serde_json::json!({ "publishId": request.publish_id }));
        let publish: Loaded<Publish> = world.bus.store().load(request.publish_id.0).await.unwrap();
        assert_eq!(publish.aggregate.content_id(), Some(content));
    }
    let nowhere = world.run(ada, &request(content, None, None, ada)).await;
    assert_eq!(code(nowhere), ("EMPTY", Some("platform")));
}

#[tokio::test]
async fn what_is_not_approved_or_not_ones_own_stays_in() {
    let world = World::new().await;
    let (ada, eve) = (editor(), editor());
    let draft = world.draft(ada).await;
    let early = world.run(ada, &request(draft, None, Some("tiktok"), ada)).await;
    assert_eq!(code(early), ("NOT_APPROVED", Some("contentId")));

    let content = world.approved(ada).await;
    let foreign = refusal(world.run(eve, &request(content, None, Some("tiktok"), eve)).await);
    let unknown = ContentId(Uuid::now_v7());
    let missing = refusal(world.run(eve, &request(unknown, None, Some("tiktok"), eve)).await);
    assert_eq!((foreign.code, foreign.field), ("NOT_FOUND", Some("contentId")));
    assert_eq!(foreign, missing);
    assert_eq!(world.events("publish.requested").await, 0);
}

#[tokio::test]
async fn an_account_must_be_ones_own_active_and_on_the_platform() {
    let world = World::new().await;
    let (ada, eve) = (editor(), editor());
    let content = world.approved(ada).await;
    let through = async |account, platform| {
        refusal(world.run(ada, &request(content, Some(account), platform, ada)).await)
    };

    let foreign = through(world.account(eve, "youtube").await, None).await;
    let missing = through(SocialAccountId(Uuid::now_v7()), None).await;
    assert_eq!((foreign.code, foreign.field), ("NOT_FOUND", Some("socialAccountId")));
    assert_eq!(foreign, missing);

    let account = world.account(ada, "youtube").await;
    let mismatch = through(account, Some("tiktok")).await;
    assert_eq!((mismatch.code, mismatch.field), ("PLATFORM_MISMATCH", Some("platform")));

    let deactivate = Single::<SocialAccount>::new(account, SocialAccountCommand::Deactivate);
    world.run(ada, &deactivate).await.unwrap();
    let inactive = through(account, None).await;
    let expected = ("SOCIAL_ACCOUNT_INACTIVE", Some("socialAccountId"));
    assert_eq!((inactive.code, inactive.field), expected);
    assert_eq!(world.events("publish.requested").await, 0);
}

#[tokio::test]
async fn only_who_asked_records_the_result() {
    let world = World::new().await;
    let (ada, eve) = (editor(), editor());
    let content = world.approved(ada).await;
    let request = request(content, None, Some("tiktok"), ada);
    world.run(ada, &request).await.unwrap();
    let foreign = world.run(eve, &succeed(request.publish_id)).await;
    assert_eq!(code(foreign), ("NOT_FOUND", None));
    world.run(admin(), &succeed(request.publish_id)).await.unwrap();
    assert_eq!(code(world.run(ada, &succeed(request.publish_id)).await).0, "NOT_PENDING");
}
