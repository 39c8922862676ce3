//! Reactors turn events into commands. A replay never runs them: they are not projections.

mod expire_trends;
mod mark_published;
mod runner;
mod send_verification;

pub use expire_trends::expire_trends;
pub use mark_published::MarkPublished;
pub use runner::{Reactor, begin, run};
pub use send_verification::SendVerification;
