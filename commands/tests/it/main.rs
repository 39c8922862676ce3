//! One binary for all integration tests of the command bus, on a real PostgreSQL.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in the helpers, too, a panic is the failure of the test"
)]

mod accounts;
mod bootstrap;
mod contents;
mod deliver;
mod erasure;
mod expire_trends;
mod fixtures;
mod mail;
mod mark_published;
mod oauth;
mod people;
mod publishing;
mod reactors;
mod receipts;
mod refresh_property;
mod remove_sessions;
mod service_tokens;
mod settings;
mod smtp_sink;
mod verification;
mod versions;
mod webhook_sink;
