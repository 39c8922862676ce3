//! One binary for all integration tests of the server: the real program over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in the helpers, too, a panic is the failure of the test"
)]

mod as_of;
mod authorisation;
mod browser;
mod client;
mod crash;
mod edge;
mod eventually;
mod faults;
mod http;
mod life;
mod limits;
mod loading;
mod loading_bench;
mod log;
mod mail;
mod oauth;
mod oauth_refusals;
mod paging;
mod people;
mod property;
mod provider;
mod refusals;
mod rest;
mod schema;
mod sdl;
mod server;
mod service_rights;
mod service_tokens;
mod settings;
mod slow;
#[expect(dead_code, reason = "the tests of the mailer need more of it")]
#[path = "../../../commands/tests/it/smtp_sink.rs"]
mod smtp_sink;
mod subscriptions;
mod websocket;
mod world;
