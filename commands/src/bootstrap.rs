//! The first start: the system user and the first admin, as events like all others.

pub use orion_domain::user::SYSTEM_ID;
use orion_domain::values::{Email, Name, Personal, Role, UserId};
use orion_domain::{User, UserCommand, UserError};
use uuid::Uuid;

use crate::actor::{Actor, Envelope};
use crate::bus::Bus;
use crate::error::CommandError;
use crate::passwords::{Password, Passwords};
use crate::unit::Single;

/// The first admin. The id is fixed, so that a second start finds the first one's account.
pub const ADMIN_ID: UserId = UserId(Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0002));

/// The first admin's login.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The login identifier.
    pub email: Email,
    /// The password.
    pub password: Password,
}

/// Makes the system user and the admin where they are missing.
/// True when the admin was made now: then, and only then, the password holds.
pub async fn first_start(
    bus: &Bus,
    passwords: &Passwords,
    admin: Admin,
) -> Result<bool, CommandError> {
    if bus.store().load::<User>(ADMIN_ID.0).await?.version > 0 {
        return Ok(false);
    }
    let system = UserCommand::Register {
        email: Personal::new(fixed(Email::parse("system@orion.local"))?),
        password_hash: None,
        name: Personal::new(fixed(Name::parse("Orion"))?),
        role: Role::Viewer,
        email_verified: false,
    };
    register(bus, SYSTEM_ID, system).await?;
    let admin = UserCommand::Register {
        email: Personal::new(admin.email),
        password_hash: Some(passwords.hash(&admin.password).await?),
        name: Personal::new(fixed(Name::parse("Administrator"))?),
        role: Role::Admin,
        email_verified: true,
    };
    register(bus, ADMIN_ID, admin).await
}

/// False when another start was faster.
async fn register(bus: &Bus, id: UserId, command: UserCommand) -> Result<bool, CommandError> {
    match bus.run(&Envelope::of(Actor::System), &Single::<User>::new(id, command)).await {
        Ok(_) => Ok(true),
        Err(CommandError::Refused(refusal)) if refusal == UserError::AlreadyExists.into() => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn fixed<T>(parsed: Result<T, orion_domain::values::ValueError>) -> Result<T, CommandError> {
    parsed.map_err(|error| CommandError::Refused(error.into()))
}
