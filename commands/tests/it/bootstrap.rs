//! The first start makes the admin once, however often and by however many it is done.

use orion_commands::{
    ADMIN_ID, Actor, Admin, Bus, Client, LogIn, Password, SYSTEM_ID, Single, first_start,
};
use orion_domain::values::{Email, Name, Personal, Role};
use orion_domain::{User, UserCommand};

use crate::fixtures::World;

fn admin_with(password: &str) -> Admin {
    Admin {
        email: Email::parse("admin@example.org").unwrap(),
        password: Password::parse(password).unwrap(),
    }
}

async fn start(world: &World, bus: &Bus, password: &str) -> bool {
    first_start(bus, &world.passwords, admin_with(password)).await.unwrap()
}

async fn can_log_in(world: &World, password: &str) -> bool {
    let (email, password) = ("admin@example.org", password.to_owned());
    let log_in =
        LogIn::new(&world.bus, &world.passwords, email, password.into(), Client::default()).await;
    match log_in {
        Ok(log_in) => world.run(Actor::Anonymous, &log_in).await.is_ok(),
        Err(_) => false,
    }
}

#[tokio::test]
async fn only_the_first_start_makes_the_admin() {
    let world = World::new().await;
    assert!(start(&world, &world.bus, "the first password").await);
    assert!(!start(&world, &world.bus, "another password").await);
    assert_eq!(world.events("user.registered").await, 2);
    assert!(can_log_in(&world, "the first password").await);
    assert!(!can_log_in(&world, "another password").await);

    let admin = world.bus.store().load::<User>(ADMIN_ID.0).await.unwrap().aggregate;
    assert_eq!(admin.active_role(), Some(Role::Admin));
    let system = world.bus.store().load::<User>(SYSTEM_ID.0).await.unwrap().aggregate;
    assert_eq!(system.password_hash(), None);
}

#[tokio::test]
async fn of_two_first_starts_one_makes_the_admin() {
    let world = World::new().await;
    let other = world.another_bus().await;
    let (one, two) = tokio::join!(
        start(&world, &world.bus, "the password of one"),
        start(&world, &other, "the password of two"),
    );
    assert!(one != two, "exactly one is told to print its password");
    assert_eq!(world.events("user.registered").await, 2);
    assert_eq!(can_log_in(&world, "the password of one").await, one);
    assert_eq!(can_log_in(&world, "the password of two").await, two);
}

#[tokio::test]
async fn a_start_that_was_interrupted_is_finished_by_the_next() {
    let world = World::new().await;
    // As far as it got.
    let system = UserCommand::Register {
        email: Personal::new(Email::parse("system@orion.local").unwrap()),
        password_hash: None,
        name: Personal::new(Name::parse("Orion").unwrap()),
        role: Role::Viewer,
        email_verified: false,
    };
    world.run(Actor::System, &Single::<User>::new(SYSTEM_ID, system)).await.unwrap();

    assert!(start(&world, &world.bus, "the next password").await);
    assert_eq!(world.events("user.registered").await, 2);
    assert!(can_log_in(&world, "the next password").await);
}
