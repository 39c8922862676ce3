//! The relay: publishes every event of the log to NATS JetStream, in order, for those who do not speak to PostgreSQL.
//!
//! Message number `n` of the stream is the event at position `n`. So JetStream says itself where to go on, and each
//! message carries the number of the one before: whoever publishes too late, too early or twice is refused. The
//! lock that makes one server the leader saves work; that nothing is lost or doubled does not hang on it.

mod error;
mod jetstream;
mod lead;
mod message;
mod on_the_way;
mod servers;
mod status;

use std::convert::Infallible;
use std::time::Duration;

use orion_store::{Log, LogReader, Position, RecordedEvent};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::error::RelayError;
use self::jetstream::JetStream;
use self::lead::Lead;
use self::on_the_way::OnTheWay;
pub use self::servers::{NatsServers, NatsUrlError};
pub use self::status::{RelayState, RelayStatus, RelayView};

/// How often a standby looks at the lock.
const STANDBY_EVERY: Duration = Duration::from_millis(250);

/// Who has the lock for so many looks relays, and does not only try to.
const STANDBY_LOOKS: u32 = 8;

/// How long to wait where the log has not grown although something said so.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// How long to wait after a failure: twice as long after each, at most the longer time.
const BACK_OFF: Duration = Duration::from_millis(250);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// Relays a log.
pub struct Relay {
    log: Log,
    servers: NatsServers,
    status: watch::Sender<RelayStatus>,
    /// The trouble that was told of last, until it is over.
    told: String,
    /// How long to wait after the next failure.
    back_off: Duration,
}

impl Relay {
    /// A relay to these servers, and the view of its status.
    pub fn new(log: Log, servers: NatsServers) -> (Self, RelayView) {
        let start = RelayStatus { state: RelayState::Standby, position: None };
        let (status, receiver) = watch::channel(start);
        let relay = Self { log, servers, status, told: String::new(), back_off: BACK_OFF };
        (relay, RelayView(receiver))
    }

    /// Runs until `stop`, as the leader or waiting to be it. Never ends because of a failure.
    pub async fn run(mut self, stop: CancellationToken) {
        // Boxed: what goes to NATS and back is large.
        stop.run_until_cancelled(Box::pin(self.run_forever())).await;
    }

    async fn run_forever(&mut self) {
        loop {
            let Err(error) = self.lead().await;
            self.tell(&error);
            let wait = if error.needs_somebody() { BACK_OFF_MAX } else { self.back_off() };
            sleep(wait).await;
        }
    }

    fn back_off(&mut self) -> Duration {
        let wait = self.back_off;
        self.back_off = (wait * 2).min(BACK_OFF_MAX);
        wait
    }

    /// Says why nothing is relayed; once, however often it is tried.
    fn tell(&mut self, error: &RelayError) {
        let needs_somebody = error.needs_somebody();
        let state = if needs_somebody { RelayState::Stopped } else { RelayState::Waiting };
        self.status.send_modify(|status| status.state = state);
        let text = error.to_string();
        if self.told == text {
            return;
        }
        self.told = text;
        let error: &dyn std::error::Error = error;
        if needs_somebody {
            error!(error, "relay stopped");
        } else {
            warn!(error, "relay failed, trying again");
        }
    }

    /// Events are relayed, by this server or by another one.
    fn all_is_well(&mut self, state: RelayState, position: Option<Position>) {
        self.status.send_replace(RelayStatus { state, position });
        self.back_off = BACK_OFF;
        if !std::mem::take(&mut self.told).is_empty() {
            info!("the log is relayed again");
        }
    }

    /// Waits to be the leader, then relays; ends only with an error. Who cannot reach NATS does not stand.
    async fn lead(&mut self) -> Result<Infallible, RelayError> {
        let jetstream = JetStream::connect(&self.servers).await?;
        let mut lead = Lead::stand(&self.log).await?;
        let mut looks = 0_u32;
        while !lead.try_take().await? {
            looks = looks.saturating_add(1);
            if looks == STANDBY_LOOKS {
                self.all_is_well(RelayState::Standby, None);
            }
            jetstream.unless_lost(pause(STANDBY_EVERY)).await?;
        }
        let position = jetstream.position(&self.log, &mut lead).await?;
        if self.told.is_empty() {
            info!(%position, "relay leads");
        }
        // Where there is something to publish, only its arrival shows that all is well.
        if self.log.tail().head() <= position {
            self.reached(position);
        } else {
            self.status.send_modify(|status| status.position = Some(position));
        }
        self.relay(&mut lead, &jetstream, position).await
    }

    /// Publishes what comes after a position; ends only with an error.
    async fn relay(
        &mut self,
        lead: &mut Lead,
        jetstream: &JetStream,
        from: Position,
    ) -> Result<Infallible, RelayError> {
        let tail = self.log.tail().clone();
        let mut log = LogReader::new(from, Position(i64::MAX));
        let mut on_the_way = OnTheWay::default();
        loop {
            let woken = async {
                tokio::select! {
                    biased;
                    Some(stored) = on_the_way.next() => stored.map(Some),
                    grown = tail.beyond(log.position()) => match grown {
                        Some(_) => Ok(None),
                        // The tail was stopped, and with it soon this task.
                        None => std::future::pending().await,
                    },
                }
            };
            if let Some(stored) = lead.during(jetstream.unless_lost(woken)).await? {
                self.reached(stored);
                continue;
            }
            let events: Vec<RecordedEvent> = lead.read(&mut log).await?;
            if events.is_empty() {
                lead.during(pause(LOOK_AGAIN)).await?;
            }
            for event in events {
                while on_the_way.is_full() {
                    let oldest = async { on_the_way.next().await.transpose() };
                    if let Some(stored) = lead.during(jetstream.unless_lost(oldest)).await? {
                        self.reached(stored);
                    }
                }
                let sent = lead.during(jetstream.unless_lost(jetstream.publish(&event)));
                on_the_way.push(&event, sent.await?);
            }
        }
    }

    /// JetStream has the log up to a position.
    fn reached(&mut self, position: Position) {
        self.all_is_well(RelayState::Relaying, Some(position));
    }
}

async fn pause(time: Duration) -> Result<(), RelayError> {
    sleep(time).await;
    Ok(())
}
