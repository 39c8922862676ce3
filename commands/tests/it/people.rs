//! People with accounts: they register, sign in, refresh, and sign out.

use chrono::{TimeDelta, Utc};
use orion_commands::{
    Actor, Bus, Client, CommandError, Done, LogIn, ManageUser, Password, Refresh, Register, Single,
};
use orion_domain::values::{Email, Name, Personal, RevocationReason, Role, SessionId, UserId};
use orion_domain::{Session, SessionCommand, UserCommand};
use secrecy::ExposeSecret as _;

use crate::fixtures::{World, code};

fn personal(text: &str) -> Personal<String> {
    Personal::new(text.to_owned())
}

pub const PASSWORD: &str = "correct horse battery";

pub async fn register_as(world: &World, email: &str) -> Register {
    let (email, name) = (Email::parse(email).unwrap(), Name::parse("Ada").unwrap());
    let password = Password::parse(PASSWORD).unwrap();
    let client = Client { ip: Some(personal("::1")), user_agent: Some(personal("test")) };
    Register::new(&world.passwords, email, password, name, client).await.unwrap()
}

/// Registers a person; returns who it is, and the refresh token.
pub async fn registered(world: &World, email: &str) -> (Actor, String) {
    let register = register_as(world, email).await;
    world.run(Actor::Anonymous, &register).await.unwrap();
    let (id, session_id) = (register.user_id, register.session.session_id);
    let token = register.session.refresh_token.expose_secret().to_owned();
    (Actor::User { id, role: Role::Viewer, session_id }, token)
}

pub async fn log_in(world: &World, email: &str, password: &str) -> Result<UserId, CommandError> {
    let (bus, password) = (&world.bus, password.to_owned());
    let log_in =
        LogIn::new(bus, &world.passwords, email, password.into(), Client::default()).await?;
    world.run(Actor::Anonymous, &log_in).await.map(|_| log_in.user_id())
}

/// Shows a refresh token; returns the next one.
pub async fn refresh(bus: &Bus, token: &str) -> Result<String, CommandError> {
    let refresh = Refresh::new(bus.keys(), token)?;
    bus.run(&orion_commands::Envelope::of(Actor::Anonymous), &refresh).await?;
    Ok(refresh.session().refresh_token.expose_secret().to_owned())
}

pub async fn refresh_code(world: &World, token: &str) -> (&'static str, Option<&'static str>) {
    let done = refresh(&world.bus, token).await;
    code(done.map(|_| Done { position: None, ids: serde_json::Value::Null, is_repeated: false }))
}

pub fn log_out(session_id: SessionId) -> Single<Session> {
    Single::new(session_id, SessionCommand::Revoke { reason: RevocationReason::Logout })
}

pub fn session_of(actor: Actor) -> SessionId {
    match actor {
        Actor::User { session_id, .. } => session_id,
        Actor::Anonymous | Actor::Service { .. } | Actor::System => {
            panic!("{actor:?} has no session")
        }
    }
}

/// Refreshes as if it were later.
pub async fn refresh_later(bus: &Bus, token: &str, seconds: i64) -> Result<String, CommandError> {
    let now = Utc::now() + TimeDelta::seconds(seconds);
    let refresh = Refresh::at(bus.keys(), token, now)?;
    bus.run(&orion_commands::Envelope::of(Actor::Anonymous), &refresh).await?;
    Ok(refresh.session().refresh_token.expose_secret().to_owned())
}

/// Registers a person and makes an admin of it.
pub async fn admin_of(world: &World, email: &str) -> Actor {
    let (actor, _) = registered(world, email).await;
    let Actor::User { id, session_id, .. } = actor else { unreachable!("a person") };
    let promote =
        ManageUser { user_id: id, command: UserCommand::ChangeRole { role: Role::Admin } };
    world.run(Actor::System, &promote).await.unwrap();
    Actor::User { id, session_id, role: Role::Admin }
}
