//! Preferences merge into what is there.

use futures::future::join_all;
use orion_commands::{Actor, Envelope, Single, UpdateSettings};
use orion_domain::values::{Email, Name, Personal, Role, SessionId, UserId};
use orion_domain::{User, UserCommand};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::fixtures::{World, code};

async fn registered(world: &World) -> Actor {
    let id = UserId(Uuid::now_v7());
    let register = UserCommand::Register {
        email: Personal::new(Email::parse(&format!("{id}@example.org")).unwrap()),
        password_hash: None,
        name: Personal::new(Name::parse("Ada").unwrap()),
        role: Role::Viewer,
        email_verified: false,
    };
    world.run(Actor::System, &Single::<User>::new(id, register)).await.unwrap();
    Actor::User { id, role: Role::Viewer, session_id: SessionId(Uuid::now_v7()) }
}

fn update(of: Actor, change: Value) -> UpdateSettings {
    let Value::Object(change) = change else { panic!("not an object: {change}") };
    UpdateSettings { user_id: of.user_id().unwrap(), change }
}

async fn settings(world: &World, of: Actor) -> Value {
    let user = world.bus.store().load::<User>(of.user_id().unwrap().0).await.unwrap().aggregate;
    user.settings().unwrap().as_value().clone()
}

#[tokio::test]
async fn a_change_keeps_what_it_does_not_name() {
    let world = World::new().await;
    let ada = registered(&world).await;
    let first = json!({
        "dashboard_preferences": { "theme": "dark", "items_per_page": 10 },
        "pipeline_config": { "default_tone": "dry" },
    });
    world.run(ada, &update(ada, first.clone())).await.unwrap();
    assert_eq!(settings(&world, ada).await, first);

    let change = json!({
        "dashboard_preferences": { "theme": "light", "items_per_page": null }, "pipeline_config": null,
    });
    world.run(ada, &update(ada, change.clone())).await.unwrap();
    let merged = json!({ "dashboard_preferences": { "theme": "light" } });
    assert_eq!(settings(&world, ada).await, merged);

    let same = world.run(ada, &update(ada, change)).await.unwrap();
    assert_eq!(same.position, None, "a change that changes nothing is no event");
}

#[tokio::test]
async fn concurrent_changes_of_different_keys_all_hold() {
    let world = World::new().await;
    let ada = registered(&world).await;
    let keys = ["default_niche", "default_tone", "default_platform", "visual_style"];
    let changes = keys.map(|key| update(ada, json!({ "pipeline_config": { key: "chosen" } })));
    let envelope = Envelope::of(ada);
    let done = join_all(changes.iter().map(|change| world.bus.run(&envelope, change))).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    let settings = settings(&world, ada).await;
    assert!(keys.iter().all(|key| settings["pipeline_config"][key] == "chosen"), "{settings}");
}

#[tokio::test]
async fn settings_are_ones_own_and_have_the_documented_shape() {
    let world = World::new().await;
    let (ada, eve) = (registered(&world).await, registered(&world).await);
    let theme = |theme: &str| json!({ "dashboard_preferences": { "theme": theme } });
    let foreign = world.run(eve, &update(ada, theme("light"))).await;
    assert_eq!(code(foreign), ("NOT_FOUND", None));
    for (bad, expected) in [
        (theme("pink"), "MALFORMED"),
        (json!({ "pipeline_config": { "default_tone": "\0" } }), "MALFORMED"),
        (json!({ "pipeline_config": { "default_tone": "x".repeat(257) } }), "MALFORMED"),
        (json!({ "theme": "light" }), "UNKNOWN_SETTING"),
    ] {
        assert_eq!(code(world.run(ada, &update(ada, bad)).await), (expected, Some("settings")));
    }
    assert_eq!(world.events("user.settings_updated").await, 0);
}
