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
mod eventually;
mod faults;
mod http;
mod life;
mod log;
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
mod settings;
mod subscriptions;
mod websocket;
mod world;
