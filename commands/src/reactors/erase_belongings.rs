//! When a user is erased, so is what the user owned in streams of its own.

use orion_domain::values::SocialAccountId;
use orion_domain::{Event, Session, SessionCommand, UserEvent};
use orion_store::Fact;
use uuid::Uuid;

use super::runner::{Reactor, envelope_for};
use crate::bus::Bus;
use crate::erasure::EraseSocialAccount;
use crate::error::CommandError;
use crate::unit::{Single, UseCase};

/// The reactor: ends the sessions, and erases the social accounts with their keys.
#[derive(Clone, Copy, Debug)]
pub struct EraseBelongings;

impl Reactor for EraseBelongings {
    const NAME: &'static str = "erase_belongings";

    async fn react(&self, bus: &Bus, fact: &Fact) -> Result<(), CommandError> {
        let Event::User(UserEvent::Erased { .. }) = &fact.event else { return Ok(()) };
        let user_id = fact.aggregate_id;
        for session in bus.log().owned_by("session", user_id).await? {
            erase(bus, fact, session, &Single::<Session>::new(session, SessionCommand::Erase))
                .await?;
        }
        for account in bus.log().owned_by("social_account", user_id).await? {
            let id = SocialAccountId(account);
            erase(bus, fact, account, &EraseSocialAccount { id }).await?;
        }
        Ok(())
    }
}

async fn erase(
    bus: &Bus,
    fact: &Fact,
    target: Uuid,
    use_case: &impl UseCase,
) -> Result<(), CommandError> {
    bus.run(&envelope_for(EraseBelongings::NAME, fact.position, target), use_case).await?;
    Ok(())
}
