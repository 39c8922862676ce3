//! Signing in by an identity: who it is, who may not, and two at once on two servers.

use futures::future::join;
use orion_commands::{
    Actor, Bus, Client, CommandError, Done, Envelope, Identity, OAuthLink, OAuthSignIn, Single,
};
use orion_domain::values::{Email, OAuthProvider, RevocationReason, Role, SessionId, UserId};
use orion_domain::{AggregateRoot as _, Session, SessionCommand, User, UserCommand};
use uuid::Uuid;

use crate::fixtures::{World, code};

/// How often two arrive at once.
const ROUNDS: usize = 10;

fn identity(id: &str, email: &str) -> Identity {
    Identity {
        provider: OAuthProvider::GitHub,
        provider_user_id: id.to_owned(),
        email: Some(Email::parse(email).unwrap()),
        email_verified: true,
        name: None,
        access_token: "an access token".to_owned(),
        refresh_token: Some("a refresh token".to_owned()),
        token_expires_at: None,
    }
}

/// Signs in on a server; gives who it is, with the session.
async fn sign_in(bus: &Bus, identity: &Identity) -> Result<Actor, CommandError> {
    let sign_in = OAuthSignIn::new(identity, Client::default());
    sign_in.run(bus, &Envelope::of(Actor::Anonymous)).await?;
    let session_id = sign_in.session.session_id;
    let session = bus.store().load::<Session>(session_id.0).await?;
    let id = session.aggregate.owner().unwrap();
    Ok(Actor::User { id, role: Role::Viewer, session_id })
}

fn parts(actor: Actor) -> (UserId, SessionId) {
    match actor {
        Actor::User { id, session_id, .. } => (id, session_id),
        Actor::Anonymous | Actor::Service { .. } | Actor::System => {
            panic!("{actor:?} has no session")
        }
    }
}

fn refused(result: Result<Actor, CommandError>) -> (&'static str, Option<&'static str>) {
    code(result.map(|_| Done { position: None, ids: serde_json::Value::Null, is_repeated: false }))
}

#[tokio::test]
async fn who_comes_twice_is_one_viewer_without_a_password() {
    let world = World::new().await;
    let ada = identity("1815", "ada@example.org");
    let first = parts(sign_in(&world.bus, &ada).await.unwrap());
    let second = parts(sign_in(&world.bus, &ada).await.unwrap());
    assert_eq!(first.0, second.0);
    assert_ne!(first.1, second.1);
    let user = world.bus.store().load::<User>(first.0.0).await.unwrap();
    assert_eq!(user.aggregate.password_hash(), None);
    assert_eq!(user.aggregate.active_role(), Some(Role::Viewer));
}

#[tokio::test]
async fn two_at_once_on_two_servers_are_one_user() {
    let world = World::new().await;
    let other = world.another_bus().await;
    for round in 0..ROUNDS {
        let ada = identity(&round.to_string(), &format!("ada{round}@example.org"));
        let (here, there) = join(sign_in(&world.bus, &ada), sign_in(&other, &ada)).await;
        assert_eq!(parts(here.unwrap()).0, parts(there.unwrap()).0, "round {round}");
    }
    let linked = world.events("user.oauth_account_linked").await;
    assert_eq!(linked, i64::try_from(ROUNDS).unwrap());
}

#[tokio::test]
async fn of_two_identities_with_one_address_one_gets_in() {
    let world = World::new().await;
    let other = world.another_bus().await;
    for round in 0..ROUNDS {
        let email = format!("ada{round}@example.org");
        let (mine, hers) =
            (identity(&format!("{round}a"), &email), identity(&format!("{round}b"), &email));
        let (here, there) = join(sign_in(&world.bus, &mine), sign_in(&other, &hers)).await;
        assert_ne!(here.is_ok(), there.is_ok(), "round {round}");
        let loser = if here.is_ok() { there } else { here };
        assert_eq!(refused(loser), ("EMAIL_TAKEN", Some("email")), "round {round}");
    }
}

#[tokio::test]
async fn an_identity_that_two_link_at_once_goes_to_one() {
    let world = World::new().await;
    let other = world.another_bus().await;
    for round in 0..ROUNDS {
        let person = async |name: &str| {
            let email = format!("{name}{round}@example.org");
            sign_in(&world.bus, &identity(&email, &email)).await.unwrap()
        };
        let (ada, bob) = (person("ada").await, person("bob").await);
        let shared = identity(&format!("shared {round}"), "shared@example.org");
        let link = async |bus: &Bus, actor: Actor| {
            let (user_id, session_id) = parts(actor);
            let link = OAuthLink::new(&shared, user_id, session_id);
            bus.run(&Envelope::of(actor), &link).await
        };
        let (here, there) = join(link(&world.bus, ada), link(&other, bob)).await;
        assert_ne!(here.is_ok(), there.is_ok(), "round {round}");
        let loser = if here.is_ok() { there } else { here };
        assert_eq!(code(loser), ("OAUTH_ACCOUNT_TAKEN", Some("provider")), "round {round}");
    }
}

#[tokio::test]
async fn a_link_needs_the_session_that_has_asked_for_it() {
    let world = World::new().await;
    let ada = sign_in(&world.bus, &identity("1815", "ada@example.org")).await.unwrap();
    let bob = sign_in(&world.bus, &identity("1912", "bob@example.org")).await.unwrap();
    let google = Identity { provider: OAuthProvider::Google, ..identity("1", "x@example.org") };
    let link = async |user_id, session_id| {
        let link = OAuthLink::new(&google, user_id, session_id);
        code(world.run(Actor::User { id: user_id, role: Role::Viewer, session_id }, &link).await)
    };
    let over = ("SESSION_REVOKED", None);
    assert_eq!(link(parts(ada).0, parts(bob).1).await, over);
    assert_eq!(link(parts(ada).0, SessionId(Uuid::nil())).await, over);
    let revoke = SessionCommand::Revoke { reason: RevocationReason::Logout };
    world.run(ada, &Single::<Session>::new(parts(ada).1, revoke)).await.unwrap();
    assert_eq!(link(parts(ada).0, parts(ada).1).await, over);
    world
        .run(Actor::System, &Single::<User>::new(parts(bob).0, UserCommand::Deactivate))
        .await
        .unwrap();
    assert_eq!(link(parts(bob).0, parts(bob).1).await, ("USER_INACTIVE", None));
    assert_eq!(world.events("user.oauth_account_linked").await, 2);
}
