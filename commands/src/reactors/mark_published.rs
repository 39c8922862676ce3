//! When the first publish request of a content succeeds, the content is published.

use orion_domain::values::PublishId;
use orion_domain::{Content, ContentCommand, Event, PublishEvent};
use orion_store::Fact;

use super::runner::{Reactor, envelope};
use crate::bus::Bus;
use crate::error::CommandError;
use crate::unit::Single;

/// The reactor.
#[derive(Clone, Copy, Debug)]
pub struct MarkPublished;

impl Reactor for MarkPublished {
    const NAME: &'static str = "mark_published";

    async fn react(&self, bus: &Bus, fact: &Fact) -> Result<(), CommandError> {
        let Event::Publish(PublishEvent::Succeeded { destination, .. }) = &fact.event else {
            return Ok(());
        };
        let publish_id = PublishId(fact.aggregate_id);
        let mark = Single::<Content>::new(
            destination.content_id,
            ContentCommand::MarkPublished { publish_id },
        );
        match bus.run(&envelope(Self::NAME, fact.position), &mark).await {
            // A later success, or one that comes too late: the content has gone its way.
            Ok(_) | Err(CommandError::Refused(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
