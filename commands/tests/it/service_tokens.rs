//! The tokens of machines: their names, and what a machine does with contents that are not its own.

use orion_commands::{Actor, CommandError, ServiceSecret, Single};
use orion_domain::content::Run;
use orion_domain::values::{
    ContentStatus, Patch, RunId, Scope, Scopes, ScriptBody, ServiceTokenId, ServiceTokenName,
    StageName,
};
use orion_domain::{Content, ContentCommand, Publish, PublishCommand, ServiceToken};
use orion_domain::{ServiceTokenCommand, values::UserId};
use uuid::Uuid;

use crate::fixtures::{World, admin, approve, code, detect, edit, editor, request, succeed};

fn machine(scope: Scope) -> Actor {
    let scopes = Scopes::parse(&[scope]).unwrap();
    Actor::Service { id: ServiceTokenId(Uuid::now_v7()), scopes }
}

fn issue(secret: &ServiceSecret, name: &str) -> Single<ServiceToken> {
    let command = ServiceTokenCommand::Issue {
        name: ServiceTokenName::parse(name).unwrap(),
        scopes: Scopes::parse(&[Scope::Pipeline]).unwrap(),
        token_hash: secret.hash(),
        issued_by: UserId(Uuid::now_v7()),
        expires_at: None,
        now: chrono::Utc::now(),
    };
    Single::new(secret.id(), command)
}

fn revoke(id: ServiceTokenId) -> Single<ServiceToken> {
    Single::new(id, ServiceTokenCommand::Revoke)
}

#[tokio::test]
async fn a_name_is_one_living_token_s() {
    let world = World::new().await;
    let (first, second) = (ServiceSecret::draw(), ServiceSecret::draw());
    world.run(admin(), &issue(&first, "gpu")).await.unwrap();
    let taken = world.run(admin(), &issue(&second, "gpu")).await;
    assert_eq!(code(taken), ("NAME_TAKEN", Some("name")));
    world.run(admin(), &issue(&second, "cpu")).await.unwrap();
    world.run(admin(), &revoke(first.id())).await.unwrap();
    world.run(admin(), &issue(&ServiceSecret::draw(), "gpu")).await.unwrap();
    let again = world.run(admin(), &revoke(first.id())).await;
    assert_eq!(code(again), ("ALREADY_REVOKED", None));
}

#[tokio::test]
async fn only_admins_hand_tokens_out() {
    let world = World::new().await;
    let secret = ServiceSecret::draw();
    world.run(admin(), &issue(&secret, "gpu")).await.unwrap();
    let all = Actor::Service { id: secret.id(), scopes: Scopes::parse(Scope::ALL).unwrap() };
    for actor in [editor(), all] {
        for command in [issue(&ServiceSecret::draw(), "cpu"), revoke(secret.id())] {
            let refused = world.run(actor, &command).await;
            assert!(matches!(refused, Err(CommandError::Forbidden)), "{refused:?}");
        }
    }
}

#[tokio::test]
async fn the_log_has_the_hash_and_not_the_token() {
    let world = World::new().await;
    let secret = ServiceSecret::draw();
    world.run(admin(), &issue(&secret, "gpu")).await.unwrap();
    let count = async |needle: &str| {
        let sql = "SELECT count(*) FROM events WHERE strpos(payload::text, $1) > 0";
        sqlx::query_scalar::<_, i64>(sql).bind(needle).fetch_one(&world.owner).await.unwrap()
    };
    assert_eq!(count(secret.hash().as_str()).await, 1);
    let text = secret.into_text();
    let (_, random) = text.rsplit_once(&text[..42]).unwrap();
    assert_eq!(random.len(), 43);
    assert_eq!(count(random).await, 0);
}

#[tokio::test]
async fn a_machine_of_the_pipeline_runs_the_stages_of_anyone_s_content() {
    let world = World::new().await;
    let (ada, worker) = (editor(), machine(Scope::Pipeline));
    let content = world.draft(ada).await;
    let run = |command| Single::<Content>::new(content, command);
    let (run_id, stage) = (RunId(Uuid::now_v7()), StageName::parse("script").unwrap());
    let begin =
        ContentCommand::StartGeneration { runs: vec![Run { run_id, stage: stage.clone() }] };

    let forbidden = world.run(worker, &run(begin.clone())).await;
    assert!(matches!(forbidden, Err(CommandError::Forbidden)), "{forbidden:?}");
    world.run(ada, &run(begin)).await.unwrap();
    for command in [
        ContentCommand::StartStage { stage },
        ContentCommand::WriteScript {
            script_body: ScriptBody::parse("Enter the loom.").unwrap(),
            hook: Patch::Keep,
            visual_prompts: Patch::Keep,
        },
        ContentCommand::CompleteStage { run_id },
    ] {
        for other in [machine(Scope::Trends), machine(Scope::Publish)] {
            let forbidden = world.run(other, &run(command.clone())).await;
            assert!(matches!(forbidden, Err(CommandError::Forbidden)), "{forbidden:?}");
        }
        world.run(worker, &run(command)).await.unwrap();
    }
    let by_worker: i64 =
        sqlx::query_scalar("SELECT count(*) FROM events WHERE metadata ->> 'actor' = $1")
            .bind(worker.name())
            .fetch_one(&world.owner)
            .await
            .unwrap();
    assert_eq!(by_worker, 3);
    assert!(worker.name().starts_with("service:"), "{}", worker.name());

    for decision in [edit(content, "Mine"), run(ContentCommand::SubmitForReview), approve(content)]
    {
        let forbidden = world.run(worker, &decision).await;
        assert!(matches!(forbidden, Err(CommandError::Forbidden)), "{forbidden:?}");
    }
    world.run(ada, &run(ContentCommand::SubmitForReview)).await.unwrap();
    assert_eq!(world.content(content).await.status(), Some(ContentStatus::Review));
}

#[tokio::test]
async fn a_machine_that_publishes_records_results_and_asks_for_nothing() {
    let world = World::new().await;
    let (ada, publisher) = (editor(), machine(Scope::Publish));
    let content = world.approved(ada).await;
    let wanted = request(content, None, Some("tiktok"), ada);
    world.run(ada, &wanted).await.unwrap();

    let retry = Single::<Publish>::new(wanted.publish_id, PublishCommand::Retry);
    let another = request(content, None, Some("youtube"), ada);
    for forbidden in [
        world.run(publisher, &another).await,
        world.run(publisher, &retry).await,
        world.run(publisher, &detect(Uuid::now_v7())).await,
        world.run(machine(Scope::Pipeline), &succeed(wanted.publish_id)).await,
    ] {
        assert!(matches!(forbidden, Err(CommandError::Forbidden)), "{forbidden:?}");
    }
    world.run(publisher, &succeed(wanted.publish_id)).await.unwrap();
    assert_eq!(world.events("publish.succeeded").await, 1);
}
