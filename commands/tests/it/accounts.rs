//! From registration to logout, and everything that does not get in.

use futures::future::join_all;
use orion_commands::{
    Actor, ChangePassword, Client, CommandError, LogIn, ManageUser, Password, Passwords, Refresh,
    Single,
};
use orion_domain::values::{Role, SessionId};
use orion_domain::{Session, User, UserCommand};
use orion_store::Position;
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use crate::fixtures::{World, admin, code, refusal};
use crate::people::{
    PASSWORD, admin_of, log_in, log_out, refresh, refresh_code, refresh_later, register_as,
    registered, session_of,
};

#[tokio::test]
async fn a_registration_makes_a_viewer_and_signs_in() {
    let world = World::new().await;
    let register = register_as(&world, "ada@example.org").await;
    let done = world.run(Actor::Anonymous, &register).await.unwrap();
    assert_eq!(done.position, Some(Position(3)));
    let types: Vec<String> = sqlx::query_scalar("SELECT event_type FROM events ORDER BY position")
        .fetch_all(&world.owner)
        .await
        .unwrap();
    assert_eq!(types, ["user.registered", "session.started", "user.logged_in"]);
    let user = world.bus.store().load::<User>(register.user_id.0).await.unwrap();
    assert_eq!(user.aggregate.active_role(), Some(Role::Viewer));

    let token = register.session.refresh_token.expose_secret();
    let owner = Refresh::owner(&world.bus, token).await.unwrap();
    assert_eq!(owner, (register.session.session_id, register.user_id));
}

#[tokio::test]
async fn who_knows_the_password_gets_in() {
    let world = World::new().await;
    let (ada, _) = registered(&world, "ada@example.org").await;
    registered(&world, "bob@example.org").await;
    for email in ["ada@example.org", " ADA@Example.org "] {
        assert_eq!(Some(log_in(&world, email, PASSWORD).await.unwrap()), ada.user_id());
    }
    assert_eq!(world.events("session.started").await, 4);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_mail_are_refused_alike() {
    let world = World::new().await;
    registered(&world, "ada@example.org").await;
    let mut refusals = Vec::new();
    for (email, password) in [
        ("ada@example.org", "wrong horse battery"),
        ("eve@example.org", PASSWORD),
        ("no mail at all", PASSWORD),
        ("ada@example.org", ""),
    ] {
        let done = log_in(&world, email, password).await;
        refusals.push(refusal(done.map(|_| panic!("{email} got in"))));
    }
    assert!(refusals.iter().all(|refusal| *refusal == refusals[0]), "{refusals:?}");
    assert_eq!((refusals[0].code, refusals[0].field), ("INVALID_CREDENTIALS", None));
    assert_eq!(world.events("user.logged_in").await, 1);
}

#[tokio::test]
async fn a_mail_is_taken_in_every_spelling() {
    let world = World::new().await;
    registered(&world, "ada@example.org").await;
    let again = register_as(&world, "  Ada@EXAMPLE.org").await;
    let refused = world.run(Actor::Anonymous, &again).await;
    assert_eq!(code(refused), ("EMAIL_TAKEN", Some("email")));
    // All of it is refused: no session without a user.
    assert_eq!(world.events("session.started").await, 1);
    let session = again.session.session_id.0;
    assert_eq!(world.bus.store().load::<Session>(session).await.unwrap().version, 0);
}

#[tokio::test]
async fn of_many_registrations_of_one_mail_one_succeeds() {
    let world = World::new().await;
    let buses = [world.bus.clone(), world.another_bus().await];
    let registers = join_all((0..8).map(|_| register_as(&world, "ada@example.org"))).await;
    let anonymous = orion_commands::Envelope::of(Actor::Anonymous);
    let outcomes =
        join_all(registers.iter().enumerate().map(|(n, r)| buses[n % 2].run(&anonymous, r))).await;
    let (done, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(done.len(), 1);
    for refused in refused {
        assert_eq!(code(refused), ("EMAIL_TAKEN", Some("email")));
    }
    assert_eq!(world.events("user.registered").await, 1);
}

#[tokio::test]
async fn a_refresh_token_is_replaced_by_one_successor() {
    let world = World::new().await;
    let (ada, first) = registered(&world, "ada@example.org").await;
    let second = refresh(&world.bus, &first).await.unwrap();
    assert_ne!(first, second);
    let owner = Refresh::owner(&world.bus, &second).await.unwrap();
    assert_eq!(Some(owner.1), ada.user_id());
    assert!(Refresh::owner(&world.bus, &first).await.is_err());
    // Within the grace the same successor is given out again, and it is alive.
    assert_eq!(refresh_later(&world.bus, &first, 9).await.unwrap(), second);
    assert_eq!(world.events("session.rotated").await, 1);
    refresh(&world.bus, &second).await.unwrap();
}

#[tokio::test]
async fn what_was_never_a_token_is_not_valid_and_harms_nobody() {
    let world = World::new().await;
    let (_, first) = registered(&world, "ada@example.org").await;
    let second = refresh(&world.bus, &first).await.unwrap();
    let (session, rest) = first.split_once('.').unwrap();
    let (_, secret) = rest.split_once('.').unwrap();
    let forged = [
        format!("{}.{rest}", Uuid::now_v7()),
        format!("{session}.0.AAAA{}", &secret[4..]),
        format!("{session}.1.{secret}"),
        format!("{session}.7.{secret}"),
        format!("{session}.-1.{secret}"),
        format!("{session}.0"),
        String::new(),
        "no token".to_owned(),
        "..".to_owned(),
    ];
    for token in &forged {
        let expected = ("INVALID_REFRESH_TOKEN", Some("refreshToken"));
        assert_eq!(refresh_code(&world, token).await, expected, "{token:?}");
    }
    assert_eq!(world.events("session.revoked").await, 0);
    refresh(&world.bus, &second).await.unwrap();
}

#[tokio::test]
async fn a_token_that_was_replaced_long_ago_ends_the_session() {
    for (rotations, seconds) in [(1, 11), (2, 11), (5, 11)] {
        let world = World::new().await;
        let (_, first) = registered(&world, "ada@example.org").await;
        let mut newest = first.clone();
        for _ in 0..rotations {
            newest = refresh(&world.bus, &newest).await.unwrap();
        }
        let Err(CommandError::Refused(refused)) = refresh_later(&world.bus, &first, seconds).await
        else {
            panic!("a thief got in")
        };
        assert_eq!(refused.code, "REFRESH_TOKEN_REUSED");
        assert_eq!(world.events("session.reuse_detected").await, 1);
        assert_eq!(world.events("session.revoked").await, 1);
        // The thief may have the newest one: it is over too, and the attempt is told once.
        assert_eq!(refresh_code(&world, &newest).await.0, "SESSION_REVOKED");
        assert_eq!(refresh_code(&world, &first).await.0, "SESSION_REVOKED");
        assert_eq!(world.events("session.reuse_detected").await, 1);
    }
}

#[tokio::test]
async fn all_who_show_one_token_at_once_get_the_same_successor() {
    let world = World::new().await;
    let other = world.another_bus().await;
    let (_, mut token) = registered(&world, "ada@example.org").await;
    for round in 1..=5 {
        let buses = [&world.bus, &other, &world.bus, &other];
        let answers = join_all(buses.map(|bus| refresh(bus, &token))).await;
        let answers: Vec<String> = answers.into_iter().map(Result::unwrap).collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert_eq!(world.events("session.rotated").await, round);
        token.clone_from(&answers[0]);
    }
    assert_eq!(world.events("session.revoked").await, 0);
}

#[tokio::test]
async fn after_the_logout_the_session_is_over() {
    let world = World::new().await;
    let (ada, token) = registered(&world, "ada@example.org").await;
    let (eve, _) = registered(&world, "eve@example.org").await;
    // To others there is no such session.
    let session = session_of(ada);
    let foreign = refusal(world.run(eve, &log_out(session)).await);
    let missing = refusal(world.run(eve, &log_out(SessionId(Uuid::now_v7()))).await);
    assert_eq!((foreign.code, &foreign), ("NOT_FOUND", &missing));
    let anonymous = world.run(Actor::Anonymous, &log_out(session)).await;
    assert!(matches!(anonymous, Err(CommandError::Unauthenticated)), "{anonymous:?}");

    world.run(ada, &log_out(session)).await.unwrap();
    assert_eq!(refresh_code(&world, &token).await.0, "SESSION_REVOKED");
    assert!(Refresh::owner(&world.bus, &token).await.is_err());
    assert_eq!(code(world.run(ada, &log_out(session)).await).0, "SESSION_REVOKED");
}

#[tokio::test]
async fn a_deactivated_user_stays_out() {
    let world = World::new().await;
    let (ada, _) = registered(&world, "ada@example.org").await;
    let id = ada.user_id().unwrap();
    let deactivate = Single::<User>::new(id, UserCommand::Deactivate);
    let by_herself = world.run(ada, &deactivate).await;
    assert!(matches!(by_herself, Err(CommandError::Forbidden)), "{by_herself:?}");
    world.run(admin(), &deactivate).await.unwrap();
    let refused = log_in(&world, "ada@example.org", PASSWORD).await;
    assert_eq!(refusal(refused.map(|_| panic!("got in"))).code, "USER_INACTIVE");
    // Whoever does not know the password learns nothing of that.
    let refused = log_in(&world, "ada@example.org", "wrong horse battery").await;
    assert_eq!(refusal(refused.map(|_| panic!("got in"))).code, "INVALID_CREDENTIALS");
}

#[tokio::test]
async fn a_refused_refresh_writes_nothing() {
    let world = World::new().await;
    let (ada, token) = registered(&world, "ada@example.org").await;
    let id = ada.user_id().unwrap();
    let admin = admin_of(&world, "boss@example.org").await;
    let manage = async |command| {
        world.run(admin, &ManageUser { user_id: id, command }).await.unwrap();
    };
    manage(UserCommand::Deactivate).await;
    assert_eq!(refresh_code(&world, &token).await.0, "USER_INACTIVE");
    assert_eq!(world.events("session.rotated").await, 0);
    manage(UserCommand::Reactivate).await;
    let refresh = Refresh::new(world.bus.keys(), &token).unwrap();
    world.run(Actor::Anonymous, &refresh).await.unwrap();
}

#[tokio::test]
async fn of_two_admins_who_demote_each_other_one_stays() {
    for _ in 0..5 {
        let world = World::new().await;
        let one = admin_of(&world, "one@example.org").await;
        let two = admin_of(&world, "two@example.org").await;
        let demote = |of: Actor| ManageUser {
            user_id: of.user_id().unwrap(),
            command: UserCommand::ChangeRole { role: Role::Viewer },
        };
        let (of_two, of_one) = (demote(two), demote(one));
        let (first, second) = tokio::join!(world.run(one, &of_two), world.run(two, &of_one));
        assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
        assert_eq!(world.events("user.role_changed").await, 1 + 2);
    }
}

#[tokio::test]
async fn nobody_manages_the_own_account() {
    let world = World::new().await;
    let boss = admin_of(&world, "boss@example.org").await;
    let user_id = boss.user_id().unwrap();
    let manage = ManageUser { user_id, command: UserCommand::Deactivate };
    assert_eq!(code(world.run(boss, &manage).await), ("OWN_ACCOUNT", Some("userId")));
}

#[tokio::test]
async fn a_changed_password_replaces_the_old_one() {
    let world = World::new().await;
    let (ada, _) = registered(&world, "ada@example.org").await;
    let change = async |current: &str| {
        let change = ChangePassword {
            passwords: world.passwords.clone(),
            user_id: ada.user_id().unwrap(),
            current: current.into(),
            new: Password::parse("another horse battery").unwrap(),
        };
        world.run(ada, &change).await
    };
    let refused = refusal(change("wrong horse battery").await);
    assert_eq!((refused.code, refused.field), ("INVALID_CREDENTIALS", Some("currentPassword")));

    change(PASSWORD).await.unwrap();
    assert!(log_in(&world, "ada@example.org", PASSWORD).await.is_err());
    assert!(log_in(&world, "ada@example.org", "another horse battery").await.is_ok());
}

#[tokio::test]
async fn a_hash_of_an_older_cost_is_renewed_at_login() {
    let world = World::new().await;
    registered(&world, "ada@example.org").await;
    let dearer = Passwords::new(5).unwrap();
    let log_in = async || {
        let (bus, client) = (&world.bus, Client::default());
        let password = PASSWORD.to_owned();
        let log_in =
            LogIn::new(bus, &dearer, "ada@example.org", password.into(), client).await.unwrap();
        world.run(Actor::Anonymous, &log_in).await.unwrap();
    };
    log_in().await;
    assert_eq!(world.events("user.password_changed").await, 1);
    log_in().await;
    assert_eq!(world.events("user.password_changed").await, 1, "renewed twice");
}

#[tokio::test]
async fn secrets_stay_out_of_the_tables() {
    let world = World::new().await;
    let (_, token) = registered(&world, "ada@example.org").await;
    log_in(&world, "ada@example.org", PASSWORD).await.unwrap();
    let everything: String = sqlx::query_scalar(
        "SELECT string_agg(line, '') FROM (
           SELECT events::text AS line FROM events UNION ALL SELECT claims::text FROM claims
           UNION ALL SELECT receipts::text FROM receipts UNION ALL SELECT snapshots::text FROM snapshots) all_of_it",
    )
    .fetch_one(&world.owner)
    .await
    .unwrap();
    let secret = token.split_once('.').unwrap().1;
    assert!(!everything.contains(secret) && !everything.contains(PASSWORD));
    assert_eq!(world.count("SELECT count(*) FROM claims WHERE claims::text LIKE '%ada%'").await, 0);
}
