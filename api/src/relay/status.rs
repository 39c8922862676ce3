//! What a server knows of its relay, for those who ask.

use orion_store::Position;
use tokio::sync::watch;

/// What a relay does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayState {
    /// Another server relays, or none does yet.
    Standby,
    /// This server relays.
    Relaying,
    /// NATS or PostgreSQL is away; it is tried again and again.
    Waiting,
    /// Nothing is relayed until somebody acts.
    Stopped,
}

impl RelayState {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::Relaying => "relaying",
            Self::Waiting => "waiting",
            Self::Stopped => "stopped",
        }
    }
}

/// How a relay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayStatus {
    /// What it does.
    pub state: RelayState,
    /// How far the log is in JetStream, as far as this server knows.
    pub position: Position,
}

/// The view of a relay's status.
#[derive(Clone, Debug)]
pub struct RelayView(pub(super) watch::Receiver<RelayStatus>);

impl RelayView {
    /// How it is now.
    pub fn now(&self) -> RelayStatus {
        *self.0.borrow()
    }
}
