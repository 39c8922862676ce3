//! The link that verifies an address: whose it is, how long, how often.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use orion_commands::{
    Actor, Client, Done, Envelope, LINK_TTL, Password, Register, RequestVerification, Single,
    VerifyEmail, verification_token,
};
use orion_domain::values::{Email, Name, SessionId, UserId};
use orion_domain::{User, UserCommand};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use crate::fixtures::{World, admin, code};

const ADA: &str = "ada@example.org";
const INVALID: (&str, Option<&str>) = ("INVALID_VERIFICATION_TOKEN", Some("token"));

async fn registered(world: &World, email: &str) -> UserId {
    let (email, name) = (Email::parse(email).unwrap(), Name::parse("Ada").unwrap());
    let password = Password::parse("correct horse battery").unwrap();
    let register =
        Register::new(&world.passwords, email, password, name, Client::default()).await.unwrap();
    world.run(Actor::Anonymous, &register).await.unwrap();
    register.user_id
}

/// The token of a link that was made at some time.
fn token(world: &World, user_id: UserId, email: &str, now: DateTime<Utc>) -> String {
    let email = Email::parse(email).unwrap();
    verification_token(world.bus.keys(), user_id, &email, now).expose_secret().to_owned()
}

/// Uses a link in the name of whom it names, as the server does.
async fn verify_at(
    world: &World,
    token: &str,
    now: DateTime<Utc>,
) -> Result<Done, orion_commands::CommandError> {
    let verify = VerifyEmail::at(token, now)?;
    world.bus.run(&Envelope::of(verify.actor()), &verify).await
}

async fn refused(world: &World, token: &str) -> (&'static str, Option<&'static str>) {
    code(verify_at(world, token, Utc::now()).await)
}

async fn is_verified(world: &World, user_id: UserId) -> bool {
    world.bus.store().load::<User>(user_id.0).await.unwrap().aggregate.is_email_verified()
}

#[tokio::test]
async fn a_link_verifies_the_address_that_it_was_sent_to_once() {
    let world = World::new().await;
    let (ada, bob) = (registered(&world, ADA).await, registered(&world, "bob@example.org").await);
    let token = token(&world, ada, ADA, Utc::now());
    verify_at(&world, &format!(" {token}\n"), Utc::now()).await.unwrap();
    assert!(is_verified(&world, ada).await && !is_verified(&world, bob).await);
    let actor: String = sqlx::query_scalar(
        "SELECT metadata ->> 'actor' FROM events WHERE event_type = 'user.email_verified'",
    )
    .fetch_one(&world.owner)
    .await
    .unwrap();
    assert_eq!(actor, ada.to_string());

    let already = ("ALREADY_VERIFIED", Some("token"));
    assert_eq!(refused(&world, &token).await, already);
    // Its age does not matter any more.
    assert_eq!(code(verify_at(&world, &token, Utc::now() + LINK_TTL * 2).await), already);
    assert_eq!(world.events("user.email_verified").await, 1);
}

#[tokio::test]
async fn of_two_who_use_a_link_at_once_one_verifies() {
    let world = World::new().await;
    let ada = registered(&world, ADA).await;
    let token = token(&world, ada, ADA, Utc::now());
    let uses = (0..4).map(|_| verify_at(&world, &token, Utc::now()));
    let done = futures::future::join_all(uses).await;
    assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1, "{done:?}");
    assert_eq!(world.events("user.email_verified").await, 1);
}

#[tokio::test]
async fn a_link_is_good_for_a_day() {
    let world = World::new().await;
    let ada = registered(&world, ADA).await;
    let sent = Utc::now();
    let token = token(&world, ada, ADA, sent);
    let late = code(verify_at(&world, &token, sent + LINK_TTL).await);
    assert_eq!(late, ("VERIFICATION_EXPIRED", Some("token")));
    verify_at(&world, &token, sent + LINK_TTL - TimeDelta::seconds(2)).await.unwrap();
}

#[tokio::test]
async fn no_other_token_verifies_anything() {
    let world = World::new().await;
    let ada = registered(&world, ADA).await;
    let bob = registered(&world, "bob@example.org").await;
    let now = Utc::now();
    let good = token(&world, ada, ADA, now);
    let bytes = URL_SAFE_NO_PAD.decode(&good).unwrap();
    // Every single byte counts: the user, the expiry, the tag.
    for index in 0..bytes.len() {
        let mut bent = bytes.clone();
        bent[index] ^= 1;
        assert_eq!(refused(&world, &URL_SAFE_NO_PAD.encode(bent)).await, INVALID, "byte {index}");
    }
    // Of somebody else who once had the address.
    let former = URL_SAFE_NO_PAD.decode(token(&world, bob, ADA, now)).unwrap();
    let passed_on = URL_SAFE_NO_PAD.encode([ada.0.as_bytes(), &former[16..]].concat());
    let other = World::new().await;
    let of_other_keys = verification_token(other.bus.keys(), ada, &Email::parse(ADA).unwrap(), now);
    for (what, other) in [
        ("of another address", token(&world, ada, "eve@example.org", now)),
        ("of another user's address", token(&world, bob, ADA, now)),
        ("of a former holder of the address", passed_on),
        ("of nobody", token(&world, UserId(Uuid::now_v7()), ADA, now)),
        ("of other keys", of_other_keys.expose_secret().to_owned()),
        ("cut short", good[..good.len() - 1].to_owned()),
        ("too long", format!("{good}A")),
        ("twice", format!("{good}{good}")),
        ("not one", "x".to_owned()),
        ("empty", String::new()),
    ] {
        assert_eq!(refused(&world, &other).await, INVALID, "{what}");
    }
    assert_eq!(world.events("user.email_verified").await, 0);
    // Too old and not ours: that it is too old is not told.
    let other = token(&world, ada, "eve@example.org", now - LINK_TTL);
    assert_eq!(refused(&world, &other).await, INVALID);
}

#[tokio::test]
async fn a_closed_account_verifies_nothing() {
    let world = World::new().await;
    let ada = registered(&world, ADA).await;
    let token = token(&world, ada, ADA, Utc::now());
    world.run(Actor::System, &Single::<User>::new(ada, UserCommand::Deactivate)).await.unwrap();
    assert_eq!(refused(&world, &token).await, ("USER_INACTIVE", None));
}

#[tokio::test]
async fn another_link_may_be_asked_for_by_oneself_and_not_at_once_again() {
    let world = World::new().await;
    let ada = registered(&world, ADA).await;
    let actor = Actor::User {
        id: ada,
        role: orion_domain::values::Role::Viewer,
        session_id: SessionId(Uuid::nil()),
    };
    let request = |seconds| RequestVerification {
        user_id: ada,
        now: Utc::now() + TimeDelta::seconds(seconds),
    };
    world.run(actor, &request(0)).await.unwrap();
    assert_eq!(code(world.run(actor, &request(1)).await), ("REQUESTED_TOO_SOON", None));
    world.run(actor, &request(61)).await.unwrap();
    assert_eq!(world.events("user.verification_requested").await, 2);

    let stranger = crate::fixtures::viewer();
    assert_eq!(code(world.run(stranger, &request(600)).await).0, "NOT_FOUND");
    assert!(world.run(Actor::Anonymous, &request(600)).await.is_err());
    let token = token(&world, ada, ADA, Utc::now());
    verify_at(&world, &token, Utc::now()).await.unwrap();
    assert_eq!(code(world.run(actor, &request(600)).await).0, "ALREADY_VERIFIED");
    assert_eq!(code(world.run(admin(), &request(600)).await).0, "ALREADY_VERIFIED");
}
