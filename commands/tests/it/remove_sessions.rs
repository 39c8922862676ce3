//! The timer that removes sessions whose last token has expired.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use orion_commands::reactors::remove_sessions;
use orion_commands::{Actor, Bus, Refresh, Single};
use orion_domain::session::Token;
use orion_domain::values::{Personal, RefreshTokenId, SessionId, TokenHash};
use orion_domain::{Event, Session, SessionCommand, SessionEvent};
use orion_store::Position;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::fixtures::{World, eventually};
use crate::people::{log_out, refresh, refresh_code, registered, session_of};

/// How long a session rests here before it is looked at.
const RESTS: Duration = Duration::from_millis(100);

fn removing(buses: &[Bus]) -> DropGuard {
    let stop = CancellationToken::new();
    for bus in buses {
        tokio::spawn(remove_sessions(bus.clone(), RESTS, stop.clone()));
    }
    stop.drop_guard()
}

/// Begins a session whose first token ends at a time.
async fn started(
    world: &World,
    user: Actor,
    expires_at: DateTime<Utc>,
) -> (SessionId, RefreshTokenId) {
    let (id, token_id) = (SessionId(Uuid::now_v7()), RefreshTokenId(Uuid::now_v7()));
    let token_hash = TokenHash::new("00".repeat(32));
    let start = SessionCommand::Start {
        user_id: user.user_id().unwrap(),
        token: Token { token_id, token_hash, expires_at },
        ip: Some(Personal::new("203.0.113.7".to_owned())),
        user_agent: None,
    };
    world.run(Actor::System, &Single::<Session>::new(id, start)).await.unwrap();
    (id, token_id)
}

/// The sessions that were removed, with the tokens that went.
async fn removed(world: &World) -> Vec<(SessionId, Vec<RefreshTokenId>)> {
    let events = world.bus.log().read(Position::START, 10_000).await.unwrap();
    let facts = world.bus.log().read_facts(&events).await.unwrap();
    let removed = facts.into_iter().filter_map(|fact| {
        let Event::Session(SessionEvent::Removed { token_ids }) = fact.event else { return None };
        Some((SessionId(fact.aggregate_id), token_ids))
    });
    removed.collect()
}

#[tokio::test]
async fn an_expired_session_is_removed_once_and_a_living_one_stays() {
    let world = World::new().await;
    let (ada, token) = registered(&world, "ada@example.org").await;
    let past = Utc::now() - TimeDelta::seconds(1);
    let (expired, first) = started(&world, ada, past).await;
    let (ended, second) = started(&world, ada, past).await;
    world.run(ada, &log_out(ended)).await.unwrap();
    // Ended, but its token would still be good: it is kept, to say so.
    let (revoked, _) = started(&world, ada, Utc::now() + TimeDelta::days(1)).await;
    world.run(ada, &log_out(revoked)).await.unwrap();
    let _timers = removing(&[world.bus.clone(), world.another_bus().await]);
    eventually("both are removed", async || removed(&world).await.len() >= 2).await;

    // One that expires later shows that the search goes on, and that the others were left alone.
    let (later, third) = started(&world, ada, Utc::now() + TimeDelta::milliseconds(300)).await;
    eventually("the third is removed", async || removed(&world).await.len() >= 3).await;
    let expected = [(expired, vec![first]), (ended, vec![second]), (later, vec![third])];
    let found = removed(&world).await;
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(expected.iter().all(|one| found.contains(one)), "{found:?}");
    assert_eq!(world.events("session.started").await, 1 + 4);
    refresh(&world.bus, &token).await.unwrap();
}

#[tokio::test]
async fn a_removed_session_lets_nobody_in() {
    let world = World::new().await;
    let (ada, token) = registered(&world, "ada@example.org").await;
    let month = Utc::now() + TimeDelta::days(30) + TimeDelta::seconds(1);
    let remove = Single::<Session>::new(session_of(ada), SessionCommand::Remove { now: month });
    world.run(Actor::System, &remove).await.unwrap();
    assert!(Refresh::owner(&world.bus, &token).await.is_err());
    let shown = Refresh::at(world.bus.keys(), &token, month).unwrap();
    let refused = world.run(Actor::Anonymous, &shown).await;
    assert_eq!(crate::fixtures::code(refused), ("REFRESH_TOKEN_EXPIRED", Some("refreshToken")));
    // Whatever the clock of another server says.
    assert_eq!(refresh_code(&world, &token).await.0, "REFRESH_TOKEN_EXPIRED");
    assert_eq!(world.events("session.rotated").await, 0);
}
