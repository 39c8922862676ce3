//! The command bus: who may do what, what was answered before, and the way into the log.
//!
//! [`Bus::run`] takes a [`UseCase`] through its life: look up the receipt, load, decide, append,
//! and again from the start when a stream has changed in between.

mod accounts;
mod actor;
mod bootstrap;
mod bus;
mod contents;
mod erasure;
mod error;
mod governed;
pub mod mail;
mod notifications;
mod oauth;
mod passwords;
pub mod policy;
pub mod reactors;
mod service_tokens;
mod social_accounts;
mod turns;
mod unit;
mod users;
mod verification;
mod webhook;

pub use accounts::{ChangePassword, Client, LogIn, Refresh, Register, SignedIn};
pub use actor::{Actor, Envelope};
pub use bootstrap::{ADMIN_ID, Admin, SYSTEM_ID, first_start};
pub use bus::{Bus, Done};
pub use contents::{RequestPublish, UpdateSettings};
pub use erasure::EraseUser;
pub use error::{CommandError, Refusal};
pub use governed::Governed;
pub use notifications::MarkNotificationsRead;
pub use oauth::{Identity, OAuthLink, OAuthSignIn};
pub use passwords::{Password, Passwords};
pub use policy::Action;
pub use service_tokens::ServiceSecret;
pub use social_accounts::{ConnectSocialAccount, RotateCredentials, credentials_place};
pub use unit::{Single, Unit, UseCase};
pub use users::ManageUser;
pub use verification::{LINK_TTL, RequestVerification, VerifyEmail, verification_token};
pub use webhook::{Webhooks, webhook_secret};
