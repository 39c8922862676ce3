//! `show`: one aggregate as it was, and what happened to it.

use orion_domain::Session;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{World, score_after};

#[tokio::test]
async fn an_aggregate_is_shown_as_it_was() {
    let (world, trend) = World::with_trend(4).await;
    let trend = trend.to_string();
    for (at, position) in [("2", 2), ("2999-01-01T00:00:00Z", 4)] {
        let said = world
            .orion_replay(["show", "trend", &trend, "--at", at, "--format", "json"])
            .exits(0)
            .await;
        let shown: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(shown["position"], position);
        assert_eq!(shown["events"].as_array().unwrap().len(), position);
        let row = shown["rows"].as_array().unwrap();
        let row = row.iter().find(|row| row["table"] == "orion.trends").unwrap();
        assert_eq!(row["row"]["score"], score_after(i64::try_from(position).unwrap()));
        assert_eq!(row["row"]["topic"], "Orion");
    }
    let said = world.orion_replay(["show", "trend", &trend, "--diff"]).exits(0).await;
    assert!(said.contains(&format!("+ orion.trends {trend}")), "{said}");
    let change = format!("score: {} -> {}", score_after(2), score_after(3));
    assert!(said.contains(&change), "{said}");
}

#[tokio::test]
async fn personal_values_are_hidden_unless_asked_for() {
    let world = World::new().await;
    let user = Uuid::now_v7();
    let registered = json!({ "email": "ada@example.org", "name": "Ada", "role": "viewer", "email_verified": true });
    let change = json!({ "change": { "bio": "Poetical science.", "timezone": "Europe/London" } });
    world
        .of_user(user, 0, &[("user.registered", registered), ("user.profile_updated", change)])
        .await;
    let user = user.to_string();
    for format in ["text", "json"] {
        let args = ["show", "user", &user, "--diff", "--format", format];
        let said = world.orion_replay(args).exits(0).await;
        for personal in ["ada@example.org", "Ada", "Poetical"] {
            assert!(!said.contains(personal), "{personal} in {said}");
        }
        assert!(said.contains("***") && said.contains("viewer"), "{said}");
        assert!(said.contains("*** (changed)"), "{said}");
    }
    let said = world.orion_replay(["show", "user", &user, "--show-personal"]).exits(0).await;
    for personal in ["ada@example.org", "Ada", "Poetical science."] {
        assert!(said.contains(personal), "{personal} not in {said}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_told() {
    let (world, trend) = World::with_trend(1).await;
    let (trend, nobody) = (trend.to_string(), Uuid::nil().to_string());
    for (noun, id) in [("trend", &nobody), ("content", &trend), ("nonsense", &trend)] {
        let said = world.orion_replay(["show", noun, id]).exits(2).await;
        assert_eq!(said, format!("orion-replay: there is no {noun} {id} at position 1\n"));
    }
    let said = world.orion_replay(["show", "trend", &trend, "--at", "7"]).exits(2).await;
    assert_eq!(said, "orion-replay: the log ends at 1, before 7\n");
}

#[tokio::test]
async fn secrets_are_hidden_also_from_who_asks_for_personal_values() {
    let world = World::new().await;
    let (user, session) = (Uuid::now_v7(), Uuid::now_v7());
    world.of_user(user, 0, &with_secrets()).await;
    let token = json!({ "token_id": Uuid::now_v7(), "token_hash": "hash-5f2c", "expires_at": "2036-03-01T12:00:00Z" });
    let started = json!({ "user_id": user, "token": token });
    world.as_earlier::<Session>(session, &[("session.started", "1", started)]).await;
    for (noun, id) in [("user", user), ("session", session)] {
        for more in [&["--diff"][..], &["--diff", "--show-personal"]] {
            for format in ["text", "json"] {
                let id = id.to_string();
                let mut program = world.orion_replay(["show", noun, &id, "--format", format]);
                program.add(more.iter().copied());
                let said = program.exits(0).await;
                assert!(said.contains("***"), "{said}");
                for secret in ["hash-", "access-1", "refresh-1"] {
                    assert!(!said.contains(secret), "{secret} in {said}");
                }
            }
        }
    }
}

/// A user with secrets of every kind that users have.
pub fn with_secrets() -> [(&'static str, Value); 2] {
    let registered = json!({
        "email": "ada@example.org", "name": "Ada", "role": "viewer", "email_verified": true,
        "password_hash": "hash-2b04",
    });
    let account = json!({
        "account_id": Uuid::now_v7(), "provider": "github", "provider_user_id": "1815",
        "access_token": "access-1", "refresh_token": "refresh-1",
    });
    [("user.registered", registered), ("user.oauth_account_linked", json!({ "account": account }))]
}
