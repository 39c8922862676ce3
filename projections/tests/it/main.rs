//! What the read models show, and the tables that hold it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a fixture that is wrong should stop its test where it stands"
)]

mod crash;
mod folds;
mod golden;
mod history;
mod materialize;
mod notifications;
mod rebuild;
mod schema;
mod standby;
mod tables;
mod world;
