//! One binary for all integration tests of the store.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in the helpers, too, a panic is the failure of the test"
)]

mod append;
mod append_only;
mod clock;
mod crash;
mod embedded;
mod erasure;
mod event_store;
mod fixtures;
mod kept;
mod keys;
mod leadership;
mod long_snapshot;
mod migrate;
mod pages;
mod people;
mod rotation;
mod seals;
mod tail;
mod vault;
mod versions;
