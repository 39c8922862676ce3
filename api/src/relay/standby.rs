//! A relay that does not lead, and looks on.

use orion_store::Position;
use orion_store::leadership::{Office, behind};
use orion_store::locks::{self, Lock};
use sqlx::PgConnection;

use super::Relay;
use super::error::RelayError;
use super::jetstream::JetStream;
use super::status::RelayState;

/// Whoever has the lock for so many looks relays, and does not only try to.
const LOOKS: u32 = 4;

/// Who cannot reach NATS does not stand.
pub struct Standby<'a> {
    relay: &'a mut Relay,
    jetstream: &'a JetStream,
    looks: u32,
}

impl<'a> Standby<'a> {
    pub fn new(relay: &'a mut Relay, jetstream: &'a JetStream) -> Self {
        Self { relay, jetstream, looks: 0 }
    }
}

impl Office for Standby<'_> {
    type Error = RelayError;

    // It passes on what is stored, whatever it means.
    const READS_EVENTS: bool = false;

    fn name(&self) -> &'static str {
        "relay"
    }

    fn lock(&self) -> Lock {
        Lock::Number(locks::RELAY)
    }

    async fn look_on(&mut self, _: &mut PgConnection) -> Result<Option<i64>, RelayError> {
        let position: Position = self.jetstream.unless_lost(self.jetstream.last()).await?;
        if self.looks >= LOOKS {
            self.relay.all_is_well(RelayState::Standby, position);
        }
        self.looks = self.looks.saturating_add(1);
        Ok(behind(position, &self.relay.log))
    }
}
