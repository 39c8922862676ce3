//! Reactors turn events into commands. A replay never runs them: they are not projections.

mod deliver;
mod erase_belongings;
mod expire_trends;
mod mark_published;
mod remove_sessions;
mod resting;
mod runner;
mod send_verification;

pub use deliver::{Deliveries, Tell};
pub use erase_belongings::EraseBelongings;
pub use expire_trends::expire_trends;
pub use mark_published::MarkPublished;
pub use remove_sessions::{SESSION_RESTS, remove_sessions};
pub use runner::{Reactor, begin, run};
pub use send_verification::SendVerification;
