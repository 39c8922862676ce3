//! One binary for all integration tests of the server: the real program over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in the helpers, too, a panic is the failure of the test"
)]

mod as_of;
mod authorisation;
mod client;
mod crash;
mod edge;
mod eventually;
mod faults;
mod http;
mod life;
mod limits;
mod log;
mod paging;
mod people;
mod property;
mod refusals;
mod rest;
mod schema;
mod sdl;
mod server;
mod service_rights;
mod service_tokens;
mod settings;
mod slow;
mod subscriptions;
mod websocket;
mod world;
