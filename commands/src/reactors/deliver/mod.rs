//! Mails and webhooks about events: [`Tell`] queues what an event asks for, [`Deliveries`] sends it.
//!
//! One server sends, for all. Each user has a lane for mails and one for webhooks: a receiver that does
//! not answer holds up its own lane and no other. Everything is sent at least once.

mod message;
mod queue;
mod tell;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use orion_domain::User;
use orion_store::leadership::{Office, elected, in_time};
use orion_store::locks::Lock;
use orion_store::{Fact, StoreError};
use sqlx::PgConnection;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::message::{mail, webhook};
use self::queue::{Channel, Delivery, Lane};
pub use self::tell::Tell;
use crate::bus::Bus;
use crate::mail::{MailError, Mailer};
use crate::webhook::Webhooks;

/// Names the leader's lock; the reactor that fills the queue has another.
const NAME: &str = "deliver";

/// How long to wait after the first failure of a delivery; each further one waits four times as long.
const BACK_OFF: Duration = Duration::from_secs(1);

/// How often a delivery is tried whose receiver works, or could.
const ATTEMPTS_MAX: u32 = 5;

/// How long to wait while the mail server takes no mail at all.
const MAIL_AGAIN: Duration = Duration::from_mins(1);

/// How long a delivery may wait, for whatever reason.
const STALE_AFTER: Duration = Duration::from_hours(24);

/// How many are sent at the same time.
const OPEN_MAX: usize = 32;

/// How often the queue is looked at when nothing wakes it.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long to wait after a failure of the database.
const AGAIN: Duration = Duration::from_secs(1);

/// Sends what is in the queue. Cheap to clone.
#[derive(Clone)]
pub struct Deliveries {
    mailer: Arc<dyn Mailer>,
    webhooks: Webhooks,
    back_off: Duration,
    wake: Arc<Notify>,
}

/// What became of a try.
enum Tried {
    /// Sent.
    Done,
    /// Nobody wants it any more.
    Unwanted,
    /// Not sent, for this reason; another try may help, and counts.
    Failed(String),
    /// Not sent, through no fault of the receiver.
    Away(String),
    /// Another try cannot help.
    Hopeless(String),
}

impl Deliveries {
    /// Sends by a mailer and by webhooks.
    pub fn new(mailer: Arc<dyn Mailer>, webhooks: Webhooks) -> Self {
        Self { mailer, webhooks, back_off: BACK_OFF, wake: Arc::default() }
    }

    /// The same with another wait after the first failure.
    #[must_use]
    pub fn backing_off(self, back_off: Duration) -> Self {
        Self { back_off, ..self }
    }

    /// The reactor that fills the queue and wakes this one.
    pub fn reactor(&self) -> Tell {
        Tell::new(self.wake.clone())
    }

    /// Sends until `stop`. Never ends because of a failure.
    pub async fn run(self, bus: Bus, stop: CancellationToken) {
        let forever = async {
            loop {
                if let Err(error) = self.lead(&bus).await {
                    let error: &dyn std::error::Error = &error;
                    warn!(error, "deliveries failed, trying again");
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        stop.run_until_cancelled(forever).await;
    }

    async fn lead(&self, bus: &Bus) -> Result<(), sqlx::Error> {
        let mut leader = elected(bus.log(), &mut Standby).await?;
        info!("deliveries lead");
        let mut open: JoinSet<bool> = JoinSet::new();
        let mut busy: HashMap<tokio::task::Id, Lane> = HashMap::new();
        loop {
            // Also without room, for the look shows that the leader works.
            let room = OPEN_MAX.saturating_sub(open.len());
            let due = queue::due(&mut leader.connection, busy.values(), STALE_AFTER, room);
            for due in in_time(due).await? {
                let (deliveries, bus) = (self.clone(), bus.clone());
                let task = open.spawn(async move { deliveries.deliver(&bus, due).await });
                busy.insert(task.id(), (due.user_id, due.channel));
            }
            tokio::select! {
                Some(ended) = open.join_next_with_id() => {
                    let (id, can_go_on) = ended.unwrap_or_else(|error| (error.id(), true));
                    busy.remove(&id);
                    if !can_go_on {
                        return Ok(());
                    }
                }
                () = self.wake.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// False when the program is too old to tell what is to be sent.
    async fn deliver(&self, bus: &Bus, delivery: Delivery) -> bool {
        let settled = match self.attempt(bus, &delivery).await {
            Ok(tried) => self.settle(bus, &delivery, tried).await,
            Err(error) => Err(error),
        };
        let mut can_go_on = true;
        if let Err(error) = settled {
            if let Some((event_type, version)) = error.unknown_event() {
                bus.log().outdated().met(event_type, version);
                can_go_on = false;
            }
            let position = delivery.position.0;
            warn!(
                error = &error as &dyn std::error::Error,
                position, "delivery failed, trying again"
            );
            // Not at once, and if that fails as well, as soon as the database is back.
            let pool = bus.log().pool();
            let _ = queue::postpone(pool, &delivery, delivery.attempts, AGAIN).await;
        }
        can_go_on
    }

    /// Sends it as its user wants it now: since it was queued the user may have changed settings, or
    /// may be gone.
    async fn attempt(&self, bus: &Bus, delivery: &Delivery) -> Result<Tried, StoreError> {
        let Some(fact) = fact(bus, delivery).await? else { return Ok(Tried::Unwanted) };
        let user = bus.store().load::<User>(delivery.user_id).await?.aggregate;
        match delivery.channel {
            Channel::Mail => match mail(&fact, delivery, &user) {
                Some(mail) => Ok(self.mailer.send(&mail).await.into()),
                None => Ok(Tried::Unwanted),
            },
            Channel::Webhook => match webhook(bus.keys(), &fact, delivery, &user) {
                Some(message) => Ok(match self.webhooks.post(&message).await {
                    Ok(()) => Tried::Done,
                    Err(error) if error.is_final() => Tried::Hopeless(error.to_string()),
                    Err(error) => Tried::Failed(error.to_string()),
                }),
                None => Ok(Tried::Unwanted),
            },
        }
    }

    async fn settle(&self, bus: &Bus, delivery: &Delivery, tried: Tried) -> Result<(), StoreError> {
        let Delivery { user_id, channel, position, attempts, is_stale } = *delivery;
        let (channel, position) = (channel.as_str(), position.0);
        let pool = bus.log().pool();
        let settled = match tried {
            Tried::Done => {
                debug!(%user_id, channel, position, "delivered");
                queue::remove(pool, delivery).await
            }
            Tried::Unwanted => queue::remove(pool, delivery).await,
            Tried::Failed(reason) if attempts + 1 < ATTEMPTS_MAX && !is_stale => {
                let wait = self.back_off * 4_u32.pow(attempts);
                debug!(%user_id, channel, position, reason, wait_s = wait.as_secs(), "not delivered, trying again");
                queue::postpone(pool, delivery, attempts + 1, wait).await
            }
            Tried::Away(reason) if !is_stale => {
                warn!(%user_id, channel, position, reason, wait_s = MAIL_AGAIN.as_secs(), "not delivered, trying again");
                queue::postpone(pool, delivery, attempts, MAIL_AGAIN).await
            }
            Tried::Failed(reason) | Tried::Away(reason) | Tried::Hopeless(reason) => {
                warn!(%user_id, channel, position, reason, "delivery given up");
                queue::remove(pool, delivery).await
            }
        };
        settled.map_err(|source| StoreError::Database { doing: "settling a delivery", source })
    }
}

/// A server that does not send.
struct Standby;

impl Office for Standby {
    type Error = sqlx::Error;

    fn name(&self) -> &'static str {
        NAME
    }

    fn lock(&self) -> Lock {
        Lock::Reactor(NAME)
    }

    async fn look_on(&mut self, connection: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
        queue::longest_due(connection).await
    }
}

impl From<Result<(), MailError>> for Tried {
    fn from(sent: Result<(), MailError>) -> Self {
        let Err(error) = sent else { return Self::Done };
        match error {
            MailError::Unavailable { .. } => Self::Away(error.to_string()),
            MailError::Deferred { .. } => Self::Failed(error.to_string()),
            MailError::Refused { .. } => Self::Hopeless(error.to_string()),
        }
    }
}

/// The event of a delivery.
async fn fact(bus: &Bus, delivery: &Delivery) -> Result<Option<Fact>, StoreError> {
    let before = orion_store::Position(delivery.position.0 - 1);
    let events = bus.log().read(before, 1).await?;
    Ok(bus.log().read_facts(&events).await?.into_iter().next())
}
