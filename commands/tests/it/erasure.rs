//! Erasure: who may forget whom, what is left of a person, and how often passwords are hashed for
//! whoever knocks.

use futures::future::join_all;
use orion_commands::reactors::{EraseBelongings, Reactor as _, begin, run};
use orion_commands::{
    Actor, Bus, CommandError, ConnectSocialAccount, Done, Envelope, EraseUser, ManageUser,
    RotateCredentials, credentials_place,
};
use orion_domain::user::ProfileChange;
use orion_domain::values::{
    Ciphertext, DisplayName, Email, Name, Patch, Personal, PlatformName, Role, SocialAccountId,
    UserId, Username,
};
use orion_domain::{Event, Session, SocialAccountEvent, User, UserCommand};
use orion_store::{Fact, Position, StoreError};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::fixtures::{World, code, eventually, refusal, viewer};
use crate::people::{
    PASSWORD, admin_of, log_in, log_out, refresh, refresh_code, registered, session_of,
};

const ADA: &str = "ada@example.org";

fn erase(actor: Actor) -> EraseUser {
    EraseUser { user_id: actor.user_id().unwrap() }
}

async fn user(world: &World, actor: Actor) -> User {
    world.bus.store().load::<User>(actor.user_id().unwrap().0).await.unwrap().aggregate
}

/// An editor with a session of her own.
async fn editor_of(world: &World, email: &str) -> (Actor, String) {
    let (actor, token) = registered(world, email).await;
    let (id, session_id) = (actor.user_id().unwrap(), session_of(actor));
    let promote = UserCommand::ChangeRole { role: Role::Editor };
    world.run(Actor::System, &ManageUser { user_id: id, command: promote }).await.unwrap();
    (Actor::User { id, session_id, role: Role::Editor }, token)
}

async fn name(world: &World, actor: Actor, username: &str) -> Result<Done, CommandError> {
    let username = Patch::Set(Personal::new(Username::parse(username).unwrap()));
    let change = ProfileChange { username, ..ProfileChange::default() };
    let command = UserCommand::UpdateProfile(change);
    world.run(actor, &orion_commands::Single::<User>::new(actor.user_id().unwrap(), command)).await
}

fn connect(id: SocialAccountId) -> ConnectSocialAccount {
    ConnectSocialAccount {
        id,
        platform: PlatformName::parse("youtube").unwrap(),
        display_name: DisplayName::parse("Channel").unwrap(),
        credentials: "a token of the platform".into(),
    }
}

/// The reactor of a server; it ends with the guard.
async fn reacting(bus: &Bus) -> DropGuard {
    let stop = CancellationToken::new();
    begin::<EraseBelongings>(bus.log()).await.unwrap();
    tokio::spawn(run(bus.clone(), EraseBelongings, stop.clone()));
    stop.drop_guard()
}

/// Waits until the reactor has done everything that is in the log, its own events as well.
async fn all_done(world: &World) {
    eventually("the reactor is done", async || {
        let behind =
            "SELECT (SELECT max(position) FROM events) - position FROM reactor_checkpoints";
        world.count(behind).await == 0
    })
    .await;
}

async fn facts(world: &World) -> Vec<Fact> {
    let events = world.bus.log().read(Position::START, 10_000).await.unwrap();
    world.bus.log().read_facts(&events).await.unwrap()
}

#[tokio::test]
async fn one_may_forget_oneself_and_nobody_else() {
    let world = World::new().await;
    let (ada, token) = registered(&world, ADA).await;
    let (eve, _) = registered(&world, "eve@example.org").await;
    // To others there is no such user.
    let foreign = refusal(world.run(eve, &erase(ada)).await);
    let missing = refusal(world.run(eve, &erase(viewer())).await);
    assert_eq!((foreign.code, &foreign), ("NOT_FOUND", &missing));
    let anonymous = world.run(Actor::Anonymous, &erase(ada)).await;
    assert!(matches!(anonymous, Err(CommandError::Unauthenticated)), "{anonymous:?}");
    assert!(!user(&world, ada).await.is_erased());

    world.run(ada, &erase(ada)).await.unwrap();
    assert!(user(&world, ada).await.is_erased());
    assert!(!user(&world, eve).await.is_erased());
    assert_eq!(code(world.run(ada, &erase(ada)).await), ("USER_ERASED", None));
    // At once, before any reactor.
    assert_eq!(refresh_code(&world, &token).await.0, "USER_INACTIVE");
    let refused = log_in(&world, ADA, PASSWORD).await.map(|_| panic!("got in"));
    assert_eq!(refusal(refused).code, "INVALID_CREDENTIALS");
}

#[tokio::test]
async fn an_admin_forgets_others_and_never_the_own_account() {
    let world = World::new().await;
    let (ada, _) = registered(&world, ADA).await;
    let boss = admin_of(&world, "boss@example.org").await;
    assert_eq!(code(world.run(boss, &erase(boss)).await), ("OWN_ACCOUNT", Some("userId")));
    assert_eq!(code(world.run(boss, &erase(viewer())).await), ("NOT_FOUND", None));
    world.run(boss, &erase(ada)).await.unwrap();
    assert!(user(&world, ada).await.is_erased());
    assert_eq!(code(world.run(boss, &erase(ada)).await), ("USER_ERASED", None));
    // Nothing brings her back.
    for command in [UserCommand::Reactivate, UserCommand::ChangeRole { role: Role::Admin }] {
        let manage = ManageUser { user_id: ada.user_id().unwrap(), command };
        assert_eq!(code(world.run(boss, &manage).await).0, "USER_ERASED");
    }
    // Who is no admin any more forgets nobody, whatever the token says.
    let (bob, _) = registered(&world, "bob@example.org").await;
    let Actor::User { id, session_id, .. } = bob else { unreachable!("a person") };
    let pretender = Actor::User { id, session_id, role: Role::Admin };
    let refused = world.run(pretender, &erase(boss)).await;
    assert!(matches!(refused, Err(CommandError::Forbidden)), "{refused:?}");
}

#[tokio::test]
async fn of_two_admins_who_forget_each_other_one_stays() {
    for _ in 0..5 {
        let world = World::new().await;
        let one = admin_of(&world, "one@example.org").await;
        let two = admin_of(&world, "two@example.org").await;
        let other = world.another_bus().await;
        let (of_two, of_one, by_two) = (erase(two), erase(one), Envelope::of(two));
        let (first, second) = tokio::join!(world.run(one, &of_two), other.run(&by_two, &of_one));
        assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
        assert_eq!(world.events("user.erased").await, 1);
    }
}

#[tokio::test]
async fn what_was_unique_is_free_again() {
    let world = World::new().await;
    let (ada, _) = registered(&world, ADA).await;
    let (eve, _) = registered(&world, "eve@example.org").await;
    name(&world, ada, "countess").await.unwrap();
    assert_eq!(code(name(&world, eve, "countess").await), ("USERNAME_TAKEN", Some("username")));
    world.run(ada, &erase(ada)).await.unwrap();
    name(&world, eve, "countess").await.unwrap();
    let (again, _) = registered(&world, ADA).await;
    assert_ne!(again.user_id(), ada.user_id());
    assert_eq!(Some(log_in(&world, ADA, PASSWORD).await.unwrap()), again.user_id());
    // The new Ada has nothing to do with the old one.
    world.run(again, &erase(again)).await.unwrap();
    assert_eq!(world.events("user.erased").await, 2);
}

/// The newest ciphertext of a social account's credentials.
async fn credentials(world: &World, id: SocialAccountId) -> Ciphertext {
    let mut found = None;
    for fact in facts(world).await.into_iter().filter(|fact| fact.aggregate_id == id.0) {
        let Event::SocialAccount(event) = fact.event else { panic!("{fact:?}") };
        match event {
            SocialAccountEvent::Connected { credentials, .. }
            | SocialAccountEvent::CredentialsRotated { credentials } => found = Some(credentials),
            SocialAccountEvent::Deactivated {} | SocialAccountEvent::Erased {} => {}
        }
    }
    found.unwrap()
}

#[tokio::test]
async fn with_a_person_go_the_sessions_and_the_social_accounts() {
    let world = World::new().await;
    let _reactor = reacting(&world.bus).await;
    let (ada, token) = editor_of(&world, ADA).await;
    let (bob, bobs_token) = editor_of(&world, "bob@example.org").await;
    log_in(&world, ADA, PASSWORD).await.unwrap();
    world.run(ada, &log_out(session_of(ada))).await.unwrap();
    let (kept, rotated, inactive) = (
        world.account(ada, "youtube").await,
        world.account(ada, "tiktok").await,
        world.account(ada, "vimeo").await,
    );
    let bobs = world.account(bob, "youtube").await;
    let rotate = RotateCredentials { id: rotated, credentials: "another token".into() };
    world.run(ada, &rotate).await.unwrap();
    let deactivate = orion_commands::Single::<orion_domain::SocialAccount>::new(
        inactive,
        orion_domain::SocialAccountCommand::Deactivate,
    );
    world.run(ada, &deactivate).await.unwrap();

    let vault = world.bus.log().vault();
    let open =
        async |id| vault.open_text(&credentials_place(id), &credentials(&world, id).await).await;
    for (id, clear) in [
        (kept, "a token of the platform"),
        (rotated, "another token"),
        (inactive, "a token of the platform"),
        (bobs, "a token of the platform"),
    ] {
        assert_eq!(open(id).await.unwrap(), clear);
        // Under another account's name they do not open.
        let elsewhere = credentials_place(SocialAccountId(Uuid::now_v7()));
        assert!(vault.open_text(&elsewhere, &credentials(&world, id).await).await.is_err());
    }

    world.run(ada, &erase(ada)).await.unwrap();
    all_done(&world).await;
    // One had ended before; now both are over and gone.
    assert_eq!(world.events("session.revoked").await, 2);
    assert_eq!(world.events("session.removed").await, 2);
    assert_eq!(world.events("social_account.erased").await, 3);
    for id in [kept, rotated, inactive] {
        let closed = open(id).await;
        assert!(matches!(closed, Err(StoreError::Open(_))), "{closed:?}");
        let rotate = RotateCredentials { id, credentials: "a third token".into() };
        assert_eq!(code(world.run(ada, &rotate).await).0, "SOCIAL_ACCOUNT_INACTIVE");
    }
    assert_eq!(open(bobs).await.unwrap(), "a token of the platform");
    refresh(&world.bus, &bobs_token).await.unwrap();
    assert_eq!(refresh_code(&world, &token).await.0, "SESSION_REVOKED");
    let names = facts(&world).await.into_iter().filter_map(|fact| {
        let Event::SocialAccount(SocialAccountEvent::Connected { user_id, display_name, .. }) =
            fact.event
        else {
            return None;
        };
        Some((Some(user_id) == ada.user_id(), display_name.expose().is_none()))
    });
    let (of_ada, erased): (Vec<bool>, Vec<bool>) = names.unzip();
    assert_eq!((of_ada.len(), &of_ada), (4, &erased));
    let keys = "SELECT count(*) FROM data_keys WHERE wrapped IS NULL";
    assert_eq!(world.count(keys).await, 1 + 3);
}

#[tokio::test]
async fn what_the_reactor_has_done_it_does_not_do_again() {
    let world = World::new().await;
    let (ada, _) = editor_of(&world, ADA).await;
    world.account(ada, "youtube").await;
    world.run(ada, &erase(ada)).await.unwrap();
    let erasure = facts(&world).await.pop().unwrap();
    EraseBelongings.react(&world.bus, &erasure).await.unwrap();
    let head = world.bus.log().head().await.unwrap();
    assert_eq!(head, Position(erasure.position.0 + 3));
    let other = world.another_bus().await;
    // As the same event, as one that it does not know, on this server and another, and at once.
    let unknown = Fact { position: Position(9_999), ..erasure.clone() };
    let again =
        [(&world.bus, &erasure), (&other, &erasure), (&other, &unknown), (&world.bus, &unknown)];
    for done in join_all(again.map(|(bus, fact)| EraseBelongings.react(bus, fact))).await {
        done.unwrap();
    }
    assert_eq!(world.bus.log().head().await.unwrap(), head);
    // Other events are nothing to it.
    for fact in facts(&world).await.iter().filter(|fact| fact.position != erasure.position) {
        EraseBelongings.react(&world.bus, fact).await.unwrap();
    }
    assert_eq!(world.bus.log().head().await.unwrap(), head);
}

#[tokio::test]
async fn who_comes_in_while_being_forgotten_leaves_nothing_behind() {
    let world = World::new().await;
    let other = world.another_bus().await;
    let _reactor = reacting(&world.bus).await;
    let (mut connected, mut rotated, mut came_in) = (0, 0, 0);
    for round in 0..24 {
        let email = format!("ada{round}@example.org");
        let (ada, token) = editor_of(&world, &email).await;
        let account = world.account(ada, "youtube").await;
        let late = connect(SocialAccountId(Uuid::now_v7()));
        let rotate = RotateCredentials { id: account, credentials: "another".into() };
        let (forget, envelope) = (erase(ada), Envelope::of(ada));
        // The one and the other has a head start by turns.
        let start = async |turns: usize| {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
        };
        let (erased, connect, rotate, refresh, log_in) = tokio::join!(
            async {
                start(round % 8 * 4).await;
                world.run(ada, &forget).await
            },
            async {
                start((round + 3) % 8 * 4).await;
                other.run(&envelope, &late).await
            },
            async { other.run(&envelope, &rotate).await },
            async { refresh(&other, &token).await },
            async { log_in(&world, &email, PASSWORD).await },
        );
        erased.unwrap();
        connected += usize::from(connect.is_ok());
        rotated += usize::from(rotate.is_ok());
        came_in += usize::from(log_in.is_ok()) + usize::from(refresh.is_ok());
        if let Err(error) = connect {
            assert!(matches!(error, CommandError::Unauthenticated), "{error:?}");
        }
    }
    all_done(&world).await;
    println!("{connected} connected, {rotated} rotated, {came_in} came in");
    let living = "SELECT count(*) FROM data_keys WHERE wrapped IS NOT NULL";
    assert_eq!(world.count(living).await, 0);
    assert_eq!(
        world.events("social_account.connected").await,
        world.events("social_account.erased").await
    );
    for fact in facts(&world).await {
        if fact.sequence == 1 && matches!(fact.event, Event::Session(_)) {
            let session = world.bus.store().load::<Session>(fact.aggregate_id).await.unwrap();
            assert!(session.aggregate.is_over(), "{fact:?}");
        }
    }
    assert_eq!(world.events("session.started").await, world.events("session.removed").await);
}

/// A user who signs in by no password.
async fn without_password(world: &World, email: &str) {
    let register = UserCommand::Register {
        email: Personal::new(Email::parse(email).unwrap()),
        password_hash: None,
        name: Personal::new(Name::parse("Bob").unwrap()),
        role: Role::Viewer,
        email_verified: true,
    };
    let id = UserId(Uuid::now_v7());
    world.run(Actor::System, &orion_commands::Single::<User>::new(id, register)).await.unwrap();
}

#[tokio::test]
async fn whoever_knocks_one_password_is_hashed() {
    let world = World::new().await;
    registered(&world, ADA).await;
    let (gone, _) = registered(&world, "gone@example.org").await;
    world.run(gone, &erase(gone)).await.unwrap();
    let (out, _) = registered(&world, "out@example.org").await;
    let manage = ManageUser { user_id: out.user_id().unwrap(), command: UserCommand::Deactivate };
    world.run(Actor::System, &manage).await.unwrap();
    without_password(&world, "bob@example.org").await;
    let long = "a".repeat(73);
    for (email, password, gets_in) in [
        (ADA, PASSWORD, true),
        (ADA, "wrong horse battery", false),
        (ADA, "", false),
        (ADA, "with\0nul and more", false),
        (ADA, long.as_str(), false),
        ("unknown@example.org", PASSWORD, false),
        ("no mail at all", PASSWORD, false),
        ("unknown@example.org", long.as_str(), false),
        ("gone@example.org", PASSWORD, false),
        ("out@example.org", PASSWORD, false),
        ("out@example.org", "wrong horse battery", false),
        ("bob@example.org", PASSWORD, false),
        ("bob@example.org", "", false),
    ] {
        let before = world.passwords.hashes();
        let outcome = log_in(&world, email, password).await;
        assert_eq!(outcome.is_ok(), gets_in, "{email} {password:?}: {outcome:?}");
        assert_eq!(world.passwords.hashes() - before, 1, "{email} {password:?}");
    }
}
