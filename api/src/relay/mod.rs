//! The relay: publishes every event of the log to NATS JetStream, in order, for those who do not speak to PostgreSQL.
//!
//! Message number `n` of the stream is the event at position `n`. So JetStream says itself where to go on, and each
//! message carries the number of the one before: whoever publishes too late, too early or twice is refused. The
//! lock that makes one server the leader saves work; that nothing is lost or doubled does not hang on it.

mod error;
mod jetstream;
mod message;
mod on_the_way;
mod servers;
mod standby;
mod status;

use std::convert::Infallible;
use std::time::Duration;

use orion_store::leadership::{Leader, elected, in_time};
use orion_store::{Log, LogReader, Position, RecordedEvent};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::error::RelayError;
use self::jetstream::JetStream;
use self::on_the_way::OnTheWay;
pub use self::servers::{NatsServers, NatsUrlError};
use self::standby::Standby;
pub use self::status::{RelayState, RelayStatus, RelayView};

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
        let start = RelayStatus { state: RelayState::Standby, position: Position::START };
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
    fn all_is_well(&mut self, state: RelayState, position: Position) {
        self.status.send_replace(RelayStatus { state, position });
        self.back_off = BACK_OFF;
        if !std::mem::take(&mut self.told).is_empty() {
            info!("the log is relayed again");
        }
    }

    /// Waits to be the leader, then relays; ends only with an error.
    async fn lead(&mut self) -> Result<Infallible, RelayError> {
        let jetstream = JetStream::connect(&self.servers).await?;
        let log = self.log.clone();
        let mut leader = elected(&log, &mut Standby::new(self, &jetstream)).await?;
        let position = jetstream.position(&log, &mut leader).await?;
        if self.told.is_empty() {
            info!(%position, "relay leads");
        }
        // Where there is something to publish, only its arrival shows that all is well.
        if self.log.tail().head() <= position {
            self.reached(position);
        } else {
            self.status.send_modify(|status| status.position = position);
        }
        self.relay(&mut leader, &jetstream, position).await
    }

    /// Publishes what comes after a position; ends only with an error.
    async fn relay(
        &mut self,
        leader: &mut Leader,
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
            if let Some(stored) = leader.at_work(jetstream.unless_lost(woken)).await? {
                self.reached(stored);
                continue;
            }
            let events: Vec<RecordedEvent> = read(leader, &mut log).await?;
            if events.is_empty() {
                leader.at_work(pause(LOOK_AGAIN)).await?;
            }
            for event in events {
                while on_the_way.is_full() {
                    let oldest = async { on_the_way.next().await.transpose() };
                    if let Some(stored) = leader.at_work(jetstream.unless_lost(oldest)).await? {
                        self.reached(stored);
                    }
                }
                let sent = leader.at_work(jetstream.unless_lost(jetstream.publish(&event)));
                on_the_way.push(&event, sent.await?);
            }
        }
    }

    /// JetStream has the log up to a position.
    fn reached(&mut self, position: Position) {
        self.all_is_well(RelayState::Relaying, position);
    }
}

/// The next events, read on the connection that has the lock: who lost the one cannot go on with the other.
async fn read(leader: &mut Leader, log: &mut LogReader) -> Result<Vec<RecordedEvent>, RelayError> {
    in_time(async { Ok(log.next(&mut leader.connection).await?) }).await
}

async fn pause(time: Duration) -> Result<(), RelayError> {
    sleep(time).await;
    Ok(())
}
