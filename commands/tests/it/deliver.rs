//! Mails and webhooks about events: who gets them, how often they are tried, and whom they hold up.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use orion_commands::mail::SmtpMailer;
use orion_commands::reactors::{Deliveries, Tell, begin, run};
use orion_commands::{Actor, Single, UpdateSettings, Webhooks};
use orion_domain::content::Run;
use orion_domain::values::{
    ContentId, Email, ErrorMessage, Name, Personal, Role, RunId, SessionId, StageName, UserId,
};
use orion_domain::{Content, ContentCommand, User, UserCommand};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::fixtures::{World, eventually, request, succeed};
use crate::smtp_sink::Sink;
use crate::webhook_sink::WebhookSink;

/// A server that delivers to sinks, until the value is gone.
struct Delivering {
    world: World,
    mails: Sink,
    hooks: WebhookSink,
    _stop: DropGuard,
}

impl Delivering {
    async fn start() -> Self {
        Self::with(true).await
    }

    async fn with(private: bool) -> Self {
        let (world, mails) = (World::new().await, Sink::start().await);
        begin::<Tell>(world.bus.log()).await.unwrap();
        let stop = CancellationToken::new();
        let mailer = SmtpMailer::new(&mails.url(), "Orion <orion@example.org>").unwrap();
        let deliveries = Deliveries::new(Arc::new(mailer), Webhooks::new(private).unwrap());
        let deliveries = deliveries.backing_off(Duration::from_millis(5));
        tokio::spawn(run(world.bus.clone(), deliveries.reactor(), stop.clone()));
        tokio::spawn(deliveries.run(world.bus.clone(), stop.clone()));
        let hooks = WebhookSink::start().await;
        Self { world, mails, hooks, _stop: stop.drop_guard() }
    }

    /// A new editor with these settings about notifications.
    async fn editor(&self, name: &str, email_verified: bool, settings: Value) -> Actor {
        let id = UserId(Uuid::now_v7());
        let register = UserCommand::Register {
            email: Personal::new(Email::parse(&format!("{name}@example.org")).unwrap()),
            password_hash: None,
            name: Personal::new(Name::parse("Click http://evil.example").unwrap()),
            role: Role::Editor,
            email_verified,
        };
        self.world.run(Actor::System, &Single::<User>::new(id, register)).await.unwrap();
        let session_id = SessionId(Uuid::now_v7());
        let actor = Actor::User { id, role: Role::Editor, session_id };
        self.choose(actor, settings).await;
        actor
    }

    async fn choose(&self, actor: Actor, settings: Value) {
        let Value::Object(change) = json!({ "notification_preferences": settings }) else {
            unreachable!("an object")
        };
        let user_id = actor.user_id().unwrap();
        self.world.run(actor, &UpdateSettings { user_id, change }).await.unwrap();
    }

    /// Lets a stage of a new content fail.
    async fn fail(&self, actor: Actor, stage: &str) -> ContentId {
        let content = self.world.draft(actor).await;
        let (run_id, stage) = (RunId(Uuid::now_v7()), StageName::parse(stage).unwrap());
        for command in [
            ContentCommand::StartGeneration { runs: vec![Run { run_id, stage: stage.clone() }] },
            ContentCommand::StartStage { stage },
            ContentCommand::FailStage { run_id, error: ErrorMessage::parse("quota").unwrap() },
        ] {
            self.world.run(actor, &Single::<Content>::new(content, command)).await.unwrap();
        }
        content
    }

    /// Waits until everything in the log was told and nothing is left to send.
    async fn done(&self) {
        eventually("the reactor is done", async || {
            let sql = "SELECT position FROM reactor_checkpoints WHERE name = 'tell'";
            self.world.count(sql).await == self.world.bus.log().head().await.unwrap().0
        })
        .await;
        eventually("all is sent or given up", async || self.waiting().await == 0).await;
    }

    async fn waiting(&self) -> i64 {
        self.world.count("SELECT count(*) FROM deliveries").await
    }

    fn kinds(&self, path: &str) -> Vec<String> {
        let kind = |body: &str| {
            let body: Value = serde_json::from_str(body).unwrap();
            body["kind"].as_str().unwrap().to_owned()
        };
        self.hooks.posted(path).iter().map(|posted| kind(&posted.body)).collect()
    }
}

#[tokio::test]
async fn a_webhook_gets_what_its_user_is_told() {
    let delivering = Delivering::start().await;
    let hook = |path| json!({ "webhook_url": delivering.hooks.url(path) });
    let ada = delivering.editor("ada", false, hook("/ada")).await;
    let bob = delivering.editor("bob", false, hook("/bob")).await;
    delivering.editor("eve", false, json!({})).await;
    let off = json!({ "types": { "trend.detected": { "enabled": false } } });
    delivering.choose(bob, off).await;
    let content = delivering.fail(ada, "images").await;
    delivering.done().await;
    let expected = ["content.created", "media.failed", "pipeline.stage_changed", "trend.detected"];
    let found: BTreeSet<_> = delivering.kinds("/ada").into_iter().collect();
    assert!(found.iter().eq(expected.iter()), "{found:?}");
    assert_eq!(delivering.kinds("/bob"), Vec::<String>::new());

    let posted = delivering.hooks.posted("/ada");
    let failed = posted.iter().find(|posted| posted.body.contains("media.failed")).unwrap();
    let body: Value = serde_json::from_str(&failed.body).unwrap();
    assert_eq!(body["contentId"], json!(content));
    assert_eq!((&body["stage"], &body["userId"]), (&json!("images"), &json!(ada.user_id())));
    assert_eq!(body["eventType"], "content.stage_failed");
    let ids: BTreeSet<_> = posted.iter().map(|posted| posted.header("x-orion-delivery")).collect();
    assert_eq!(ids.len(), posted.len());

    // Whoever has no webhook any more, or is kept out, gets none.
    delivering.choose(ada, json!({ "webhook_url": null })).await;
    let deactivate = Single::<User>::new(bob.user_id().unwrap(), UserCommand::Deactivate);
    delivering.world.run(Actor::System, &deactivate).await.unwrap();
    delivering.fail(bob, "images").await;
    delivering.fail(ada, "images").await;
    delivering.done().await;
    assert_eq!(delivering.hooks.posted("/ada"), posted);
    assert_eq!(delivering.kinds("/bob"), Vec::<String>::new());
}

#[tokio::test]
async fn a_failed_webhook_is_tried_again_with_the_same_id_five_times_at_most() {
    let delivering = Delivering::start().await;
    for path in ["/later", "/500", "/redirect"] {
        let hook = json!({ "webhook_url": delivering.hooks.url(path) });
        delivering.editor(&path[1..], false, hook).await;
    }
    delivering.world.trend().await;
    delivering.done().await;
    for (path, tries) in [("/later", 3), ("/500", 5), ("/redirect", 5), ("/", 0)] {
        let posted = delivering.hooks.posted(path);
        assert_eq!(posted.len(), tries, "{path}");
        let ids: BTreeSet<_> =
            posted.iter().map(|posted| posted.header("x-orion-delivery")).collect();
        assert_eq!(ids.len(), tries.min(1), "{path}");
    }
}

#[tokio::test]
async fn a_receiver_that_is_silent_holds_up_nobody_else() {
    let delivering = Delivering::start().await;
    let hook = |path| json!({ "webhook_url": delivering.hooks.url(path) });
    delivering.editor("silent", false, hook("/silent")).await;
    delivering.editor("ada", false, hook("/ada")).await;
    for _ in 0..3 {
        delivering.world.trend().await;
    }
    eventually("ada is told", async || delivering.kinds("/ada").len() == 3).await;
    // One at a time, and the first is still open or was tried again.
    eventually("only the silent one's wait", async || delivering.waiting().await == 3).await;
}

#[tokio::test]
async fn a_private_address_is_given_up_at_once_unless_it_is_allowed() {
    let delivering = Delivering::with(false).await;
    let hook = json!({ "webhook_url": delivering.hooks.url("/ada") });
    delivering.editor("ada", false, hook).await;
    let by_name = delivering.hooks.url("/bob").replace("127.0.0.1", "localhost");
    delivering.editor("bob", false, json!({ "webhook_url": by_name })).await;
    delivering.world.trend().await;
    delivering.done().await;
    assert!(
        delivering.hooks.posted("/ada").is_empty() && delivering.hooks.posted("/bob").is_empty()
    );
}

#[tokio::test]
async fn mails_go_to_verified_owners_who_want_them() {
    let delivering = Delivering::start().await;
    let ada = delivering.editor("ada", true, json!({})).await;
    let unverified = delivering.editor("bob", false, json!({})).await;
    let off = json!({ "email_on_publish": false, "email_on_failure": false });
    let unwilling = delivering.editor("eve", true, off).await;
    for actor in [ada, unverified, unwilling] {
        delivering.fail(actor, "script").await;
        let content = delivering.world.approved(actor).await;
        let request = request(content, None, Some("youtube"), actor);
        delivering.world.run(actor, &request).await.unwrap();
        delivering.world.run(actor, &succeed(request.publish_id)).await.unwrap();
        let publish_id = request.publish_id;
        let mark = Single::<Content>::new(content, ContentCommand::MarkPublished { publish_id });
        delivering.world.run(Actor::System, &mark).await.unwrap();
    }
    delivering.done().await;
    let mails = delivering.mails.mails();
    let mut subjects: Vec<_> =
        mails.iter().map(|mail| (mail.to.as_str(), mail.header("Subject"))).collect();
    subjects.sort();
    let ada = |subject: &str| ("ada@example.org", subject.to_owned());
    assert_eq!(
        subjects,
        [ada("The generation of your content failed"), ada("Your content was published")]
    );
    assert!(mails.iter().all(|mail| !mail.data.contains("evil")), "{mails:?}");
}
