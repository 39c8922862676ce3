//! Decides who is told of an event beyond Orion, and queues it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use orion_domain::notification::kinds_of;
use orion_domain::values::UserId;
use orion_domain::{
    AggregateRoot as _, Content, ContentEvent, Event, NotificationPreferences, PublishEvent,
    Session, User, UserEvent,
};
use orion_store::{Fact, Position, StoreError};
use tokio::sync::{Mutex, Notify};
use uuid::Uuid;

use super::queue::{self, Channel, Lane};
use crate::bus::Bus;
use crate::error::CommandError;
use crate::reactors::runner::Reactor;

/// The reactor: queues mails and webhooks.
#[derive(Debug)]
pub struct Tell {
    wake: Arc<Notify>,
    subscribers: Mutex<Subscribers>,
    /// The last event for which something was queued.
    queued: AtomicI64,
}

/// The active users who want webhooks, as they were after the event at a position or later.
#[derive(Debug, Default)]
struct Subscribers {
    /// The event that this has seen; `None` before the first.
    seen: Option<Position>,
    users: HashMap<Uuid, NotificationPreferences>,
}

impl Tell {
    pub(super) fn new(wake: Arc<Notify>) -> Self {
        Self { wake, subscribers: Mutex::default(), queued: AtomicI64::default() }
    }
}

impl Reactor for Tell {
    const NAME: &'static str = "tell";

    async fn react(&self, bus: &Bus, fact: &Fact) -> Result<(), CommandError> {
        let mut subscribers = self.subscribers.lock().await;
        subscribers.follow(bus, fact).await?;
        let mut lanes = mails(bus, fact).await?;
        lanes.extend(subscribers.webhooks(bus, fact).await?);
        if lanes.is_empty() {
            return Ok(());
        }
        let doing = "queueing deliveries";
        queue::put(bus.log().pool(), fact.position, &lanes)
            .await
            .map_err(|source| StoreError::Database { doing, source })?;
        self.queued.store(fact.position.0, Ordering::Relaxed);
        self.wake.notify_one();
        Ok(())
    }

    /// What was queued may be sent and gone from the queue by the time that it is queued again.
    fn leaves_orion(&self, fact: &Fact) -> bool {
        self.queued.load(Ordering::Relaxed) == fact.position.0
    }
}

impl Subscribers {
    /// Learns what an event changes. Whoever has missed some events, because another server led
    /// meanwhile, begins anew.
    async fn follow(&mut self, bus: &Bus, fact: &Fact) -> Result<(), StoreError> {
        if self.seen != Some(Position(fact.position.0 - 1)) && self.seen != Some(fact.position) {
            self.seen = None;
            self.users.clear();
            // Nobody has a webhook who never chose anything.
            for user in bus.log().with_event("user", "user.settings_updated").await? {
                self.learn(bus, user).await?;
            }
        }
        if let Event::User(event) = &fact.event
            && changes_subscription(event)
        {
            self.learn(bus, fact.aggregate_id).await?;
        }
        self.seen = Some(fact.position);
        Ok(())
    }

    async fn learn(&mut self, bus: &Bus, user_id: Uuid) -> Result<(), StoreError> {
        let user = bus.store().load::<User>(user_id).await?.aggregate;
        let preferences = user.notification_preferences();
        if user.active_role().is_some() && preferences.webhook_url.is_some() {
            self.users.insert(user_id, preferences);
        } else {
            self.users.remove(&user_id);
        }
        Ok(())
    }

    async fn webhooks(&self, bus: &Bus, fact: &Fact) -> Result<Vec<Lane>, StoreError> {
        let kinds = kinds_of(&fact.event);
        if kinds.is_empty() || self.users.is_empty() {
            return Ok(Vec::new());
        }
        let whom: Vec<Uuid> = match &fact.event {
            Event::Trend(_) => self.users.keys().copied().collect(),
            Event::Content(_) => owner_of_content(bus, fact.aggregate_id).await?,
            Event::Session(_) => {
                let session = bus.store().load::<Session>(fact.aggregate_id).await?;
                session.aggregate.owner().map(Uuid::from).into_iter().collect()
            }
            Event::User(_)
            | Event::Publish(_)
            | Event::SocialAccount(_)
            | Event::Provider(_)
            | Event::ServiceToken(_) => Vec::new(),
        };
        let wants = |user: &Uuid| {
            self.users.get(user).is_some_and(|chosen| chosen.first_wanted(kinds).is_some())
        };
        Ok(whom.into_iter().filter(wants).map(|user| (user, Channel::Webhook)).collect())
    }
}

fn changes_subscription(event: &UserEvent) -> bool {
    match event {
        UserEvent::SettingsUpdated { .. }
        | UserEvent::Deactivated {}
        | UserEvent::Reactivated {}
        | UserEvent::Erased { .. } => true,
        UserEvent::Registered { .. }
        | UserEvent::ProfileUpdated { .. }
        | UserEvent::EmailVerified {}
        | UserEvent::VerificationRequested { .. }
        | UserEvent::PasswordChanged { .. }
        | UserEvent::NotificationsRead { .. }
        | UserEvent::RoleChanged { .. }
        | UserEvent::LoggedIn { .. }
        | UserEvent::OAuthAccountLinked { .. }
        | UserEvent::OAuthAccountUnlinked { .. } => false,
    }
}

/// Whether the event is one that a mail may follow, and what kind of news it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The content is on a platform.
    Published,
    /// A stage of its generation failed.
    GenerationFailed,
    /// A platform did not take it.
    PublishFailed,
}

impl News {
    /// The content that an event brings news of.
    pub fn of(fact: &Fact) -> Option<(Self, Uuid)> {
        match &fact.event {
            Event::Content(ContentEvent::Published { .. }) => {
                Some((Self::Published, fact.aggregate_id))
            }
            Event::Content(ContentEvent::GenerationFailed { .. }) => {
                Some((Self::GenerationFailed, fact.aggregate_id))
            }
            Event::Publish(PublishEvent::Failed { destination, .. }) => {
                Some((Self::PublishFailed, destination.content_id.0))
            }
            Event::Content(_)
            | Event::Publish(_)
            | Event::User(_)
            | Event::Session(_)
            | Event::Trend(_)
            | Event::SocialAccount(_)
            | Event::Provider(_)
            | Event::ServiceToken(_) => None,
        }
    }

    /// True where the user wants a mail of it.
    pub fn is_wanted(self, preferences: &NotificationPreferences) -> bool {
        match self {
            Self::Published => preferences.email_on_publish,
            Self::GenerationFailed | Self::PublishFailed => preferences.email_on_failure,
        }
    }
}

async fn mails(bus: &Bus, fact: &Fact) -> Result<Vec<Lane>, StoreError> {
    let Some((_, content_id)) = News::of(fact) else { return Ok(Vec::new()) };
    // Whether the owner wants it is asked when it is sent.
    let owner = owner_of_content(bus, content_id).await?;
    Ok(owner.into_iter().map(|user| (user, Channel::Mail)).collect())
}

async fn owner_of_content(bus: &Bus, content_id: Uuid) -> Result<Vec<Uuid>, StoreError> {
    let content = bus.store().load::<Content>(content_id).await?;
    Ok(content.aggregate.owner().map(|UserId(id)| id).into_iter().collect())
}
