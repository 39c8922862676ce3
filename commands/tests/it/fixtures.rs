//! A bus over a fresh database, people, and what they ask for, in one line each.

use std::time::Duration;

use orion_commands::{
    Actor, Bus, CommandError, ConnectSocialAccount, Done, Envelope, Passwords, Refusal,
    RequestPublish, Single, UseCase,
};
use orion_domain::content::Run;
use orion_domain::values::{
    ContentId, DisplayName, Patch, PlatformName, PublishId, PublishRecordId, Role, RunId, Score,
    SessionId, SocialAccountId, Source, StageName, Title, Topic, TrendId, UserId,
};
use orion_domain::{Content, ContentCommand, Publish, PublishCommand, Trend, TrendCommand};
use orion_store::connect;
use orion_store::testing::{TestDatabase, database, log};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

/// What takes longer than this does not come.
const PATIENCE: Duration = Duration::from_mins(1);

/// The cheapest bcrypt.
const COST: u32 = 4;

/// A server's bus, and its database as the superuser sees it.
pub struct World {
    pub bus: Bus,
    pub passwords: Passwords,
    pub owner: PgPool,
    stop: CancellationToken,
    _stop_at_the_end: DropGuard,
    db: TestDatabase,
}

impl World {
    pub async fn new() -> Self {
        let db = database().await;
        let stop = CancellationToken::new();
        let bus = bus(&db.url, stop.clone()).await;
        let owner = PgPoolOptions::new().max_connections(2).connect(&db.url).await.unwrap();
        let passwords = Passwords::new(COST).unwrap();
        Self { bus, passwords, owner, _stop_at_the_end: stop.clone().drop_guard(), stop, db }
    }

    /// The bus of another server on the same database.
    pub async fn another_bus(&self) -> Bus {
        bus(&self.db.url, self.stop.clone()).await
    }

    pub async fn run(&self, actor: Actor, use_case: &impl UseCase) -> Result<Done, CommandError> {
        self.bus.run(&Envelope::of(actor), use_case).await
    }

    /// A trend that was just detected.
    pub async fn trend(&self) -> TrendId {
        let id = Uuid::now_v7();
        self.run(Actor::System, &detect(id)).await.unwrap();
        TrendId(id)
    }

    /// A draft of a new trend.
    pub async fn draft(&self, actor: Actor) -> ContentId {
        let id = ContentId(Uuid::now_v7());
        let draft = draft(id, self.trend().await, actor);
        self.run(actor, &draft).await.unwrap();
        id
    }

    /// A content that went all the way to its approval.
    pub async fn approved(&self, actor: Actor) -> ContentId {
        let id = self.in_review(actor).await;
        self.run(admin(), &approve(id)).await.unwrap();
        id
    }

    /// A content that waits for a decision.
    pub async fn in_review(&self, actor: Actor) -> ContentId {
        let id = self.draft(actor).await;
        let (run_id, stage) = (RunId(Uuid::now_v7()), StageName::parse("script").unwrap());
        for command in [
            ContentCommand::StartGeneration { runs: vec![Run { run_id, stage: stage.clone() }] },
            ContentCommand::StartStage { stage },
            ContentCommand::CompleteStage { run_id },
            ContentCommand::SubmitForReview,
        ] {
            self.run(actor, &Single::<Content>::new(id, command)).await.unwrap();
        }
        id
    }

    /// A connected account on a platform.
    pub async fn account(&self, actor: Actor, platform: &str) -> SocialAccountId {
        let id = SocialAccountId(Uuid::now_v7());
        let connect = ConnectSocialAccount {
            id,
            platform: PlatformName::parse(platform).unwrap(),
            display_name: DisplayName::parse("Channel").unwrap(),
            credentials: "a token of the platform".into(),
        };
        self.run(actor, &connect).await.unwrap();
        id
    }

    /// How many events of a type there are.
    pub async fn events(&self, event_type: &str) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = $1")
            .bind(event_type)
            .fetch_one(&self.owner)
            .await
            .unwrap()
    }

    pub async fn count(&self, sql: &str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.owner).await.unwrap()
    }

    pub async fn content(&self, id: ContentId) -> Content {
        self.bus.store().load(id.0).await.unwrap().aggregate
    }
}

async fn bus(url: &str, stop: CancellationToken) -> Bus {
    Bus::new(log(connect(url, 6).await.unwrap(), stop).await)
}

/// A person with a role, whom nothing else is known of.
fn person(role: Role) -> Actor {
    let (id, session_id) = (UserId(Uuid::now_v7()), SessionId(Uuid::now_v7()));
    Actor::User { id, role, session_id }
}

pub fn viewer() -> Actor {
    person(Role::Viewer)
}

pub fn editor() -> Actor {
    person(Role::Editor)
}

pub fn admin() -> Actor {
    person(Role::Admin)
}

pub fn detect(id: Uuid) -> Single<Trend> {
    let detect = TrendCommand::Detect {
        topic: Topic::parse("Orion").unwrap(),
        source: Source::parse("test").unwrap(),
        score: Score::parse(0.5).unwrap(),
        raw_data: None,
    };
    Single::new(id, detect)
}

pub fn draft(id: ContentId, trend_id: TrendId, actor: Actor) -> Single<Content> {
    let draft = ContentCommand::Draft {
        trend_id,
        created_by: actor.user_id().unwrap_or(UserId(Uuid::nil())),
        title: Title::parse("Orion").unwrap(),
        hook: None,
        script_body: None,
        visual_prompts: None,
    };
    Single::new(id, draft).with_ids(serde_json::json!({ "contentId": id }))
}

pub fn edit(id: ContentId, title: &str) -> Single<Content> {
    let edit = ContentCommand::Edit {
        title: Some(Title::parse(title).unwrap()),
        hook: Patch::Keep,
        script_body: Patch::Keep,
        visual_prompts: Patch::Keep,
    };
    Single::new(id, edit)
}

pub fn approve(id: ContentId) -> Single<Content> {
    Single::new(id, ContentCommand::Approve { by: UserId(Uuid::now_v7()) })
}

pub fn request(
    content_id: ContentId,
    account: Option<SocialAccountId>,
    platform: Option<&str>,
    actor: Actor,
) -> RequestPublish {
    RequestPublish {
        publish_id: PublishId(Uuid::now_v7()),
        content_id,
        social_account_id: account,
        platform: platform.map(|platform| PlatformName::parse(platform).unwrap()),
        requested_by: actor.user_id().unwrap(),
    }
}

pub fn succeed(publish_id: PublishId) -> Single<Publish> {
    let record_id = PublishRecordId(Uuid::now_v7());
    Single::new(publish_id, PublishCommand::RecordPublished { record_id, platform_post_id: None })
}

/// An envelope with a command id; the input is told from others by its text.
pub fn named(actor: Actor, command_id: Uuid, input: &str) -> Envelope {
    Envelope { command: Some((command_id, input.as_bytes().to_vec())), ..Envelope::of(actor) }
}

/// The refusal that a command met.
#[track_caller]
pub fn refusal(result: Result<Done, CommandError>) -> Refusal {
    match result {
        Err(CommandError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// The code of that refusal, and the field that it is about.
#[track_caller]
pub fn code(result: Result<Done, CommandError>) -> (&'static str, Option<&'static str>) {
    let refusal = refusal(result);
    (refusal.code, refusal.field)
}

/// Waits until a condition holds, but not for ever.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let done = tokio::time::timeout(PATIENCE, wait).await;
    assert!(done.is_ok(), "{what}: not in {PATIENCE:?}");
}
