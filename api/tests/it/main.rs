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
mod clocks;
mod collector;
mod cop;
mod crash;
mod deliveries;
mod disk;
mod edge;
mod erasure;
mod eventually;
mod fan_out;
mod faults;
mod full_disk;
mod guard;
mod guide;
mod http;
mod in_process;
mod life;
mod limits;
mod loading;
mod log;
mod mail;
mod metrics;
mod nats;
mod notifications;
mod oauth;
mod oauth_refusals;
mod orders;
mod over_http;
mod overload;
mod paging;
mod people;
mod property;
mod provider;
mod rebuild;
mod refusals;
mod relay;
mod replay;
mod replica;
mod rest;
mod resume;
mod rights;
mod round_trips;
mod schema;
mod sdl;
mod seals;
mod secrets;
mod server;
mod servers;
mod service_rights;
mod service_tokens;
mod settings;
mod slow;
#[expect(dead_code, reason = "the tests of the mailer need more of it")]
#[path = "../../../commands/tests/it/smtp_sink.rs"]
mod smtp_sink;
mod snapshot;
mod sockets;
mod spoiled;
mod sse;
mod subscriptions;
mod taken_back;
mod traces;
mod upgrades;
#[path = "../../../commands/tests/it/webhook_sink.rs"]
mod webhook_sink;
mod websocket;
mod world;
