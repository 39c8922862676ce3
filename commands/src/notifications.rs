//! What a user has read of what Orion told.

use orion_domain::values::{NotificationId, UserId};
use orion_domain::{User, UserCommand};
use orion_store::Position;
use uuid::Uuid;

use crate::error::{CommandError, Refusal};
use crate::policy::Action;
use crate::unit::{Unit, UseCase};

/// Marks the own notifications as read.
#[derive(Clone, Debug)]
pub struct MarkNotificationsRead {
    /// Whose notifications.
    pub user_id: UserId,
    /// All of them up to this position.
    pub up_to: Option<Position>,
    /// And these.
    pub ids: Vec<NotificationId>,
}

impl UseCase for MarkNotificationsRead {
    fn action(&self) -> Action {
        Action::ManageOwnAccount
    }

    async fn decide(&self, unit: &mut Unit<'_>) -> Result<(), CommandError> {
        if self.up_to.is_none() && self.ids.is_empty() {
            return Err(Refusal::new("MALFORMED", "give upTo or ids").at("upTo").into());
        }
        let up_to = self.up_to.unwrap_or_default();
        // What is not told yet cannot have been read.
        if up_to > unit.store().log().head().await? {
            let message = "the position is beyond the end of the log";
            return Err(Refusal::new("POSITION_AHEAD", message).at("upTo").into());
        }
        let mut user = unit.load_to_change::<User>(self.user_id.0).await?;
        let ids = self.ids.clone();
        unit.handle(&mut user, UserCommand::MarkNotificationsRead { up_to: up_to.0, ids }).await
    }

    fn contended(&self) -> Option<Uuid> {
        Some(self.user_id.0)
    }
}
