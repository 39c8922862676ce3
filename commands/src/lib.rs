//! The command bus: who may do what, what was answered before, and the way into the log.
//!
//! [`Bus::run`] takes a [`UseCase`] through its life: look up the receipt, load, decide, append,
//! and again from the start when a stream has changed in between.

mod accounts;
mod actor;
mod bootstrap;
mod bus;
mod contents;
mod error;
mod governed;
mod oauth;
mod passwords;
pub mod policy;
pub mod reactors;
mod turns;
mod unit;
mod users;

pub use accounts::{ChangePassword, Client, LogIn, Refresh, Register, SignedIn};
pub use actor::{Actor, Envelope};
pub use bootstrap::{ADMIN_ID, Admin, SYSTEM_ID, first_start};
pub use bus::{Bus, Done};
pub use contents::{RequestPublish, UpdateSettings};
pub use error::{CommandError, Refusal};
pub use governed::Governed;
pub use oauth::{Identity, OAuthLink, OAuthSignIn};
pub use passwords::{Password, Passwords};
pub use policy::Action;
pub use unit::{Single, Unit, UseCase};
pub use users::ManageUser;
