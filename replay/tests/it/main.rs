//! The command line as an operator runs it: the real program, its output and its exit status.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in the helpers, too, a panic is the failure of the test"
)]

mod check;
mod embedded;
mod log;
mod program;
mod prove;
mod rebuild;
mod resume;
mod show;
mod status;
mod transfer;
mod usage;
mod verify;
mod versions;
mod world;
