//! What the domain decides, and the shapes in which the log and the snapshots keep it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a fixture that is wrong should stop its test where it stands"
)]

mod content;
mod content_sequences;
mod fixtures;
mod given;
mod golden;
mod identity;
mod notification;
mod provider;
mod publish;
mod samples;
mod service_token;
mod session;
mod snapshot;
mod social_account;
mod trend;
mod upcast;
mod user;
mod verification;
