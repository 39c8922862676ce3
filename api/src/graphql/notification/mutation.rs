//! Notifications are marked as read.

use async_graphql::{ComplexObject, Context, ID, InputObject, Object, Result, SimpleObject};
use orion_commands::{Action, Actor, MarkNotificationsRead, Refusal};
use orion_domain::user::MARKED_READ_MAX;
use orion_domain::values::NotificationId;
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::list::unread_count;
use crate::graphql::content::acting_user;
use crate::graphql::context::{CommandArgs, ContextExt as _, Outcome};
use crate::graphql::error::internal;
use crate::graphql::scalars::{Position, uuid};
use crate::reads::Extent;

/// Which of the caller's notifications were read; at least one of `upTo` and `ids`.
#[derive(InputObject)]
pub struct MarkNotificationsReadInput {
    /// All up to this position, which the log has reached.
    up_to: Option<Position>,
    /// These, at most 100.
    ids: Option<Vec<ID>>,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
    /// The version of the user that the decision was made on.
    expected_version: Option<i32>,
}

/// What became of marking notifications as read.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct MarkNotificationsReadPayload {
    #[graphql(flatten)]
    outcome: Outcome,
}

#[ComplexObject]
impl MarkNotificationsReadPayload {
    /// How many of the caller's notifications are unread now.
    async fn unread_count(&self, ctx: &Context<'_>) -> Result<i64> {
        match ctx.caller().actor.user_id() {
            Some(user_id) => unread_count(ctx.snapshot(), user_id).await.map_err(internal),
            None => Ok(0),
        }
    }
}

/// Mutations of notifications.
#[derive(Default)]
pub struct NotificationMutation;

#[Object]
impl NotificationMutation {
    /// Marks notifications of the caller as read.
    async fn mark_notifications_read(
        &self,
        ctx: &Context<'_>,
        input: MarkNotificationsReadInput,
    ) -> Result<MarkNotificationsReadPayload> {
        let actor = ctx.allow(Action::ManageOwnAccount)?;
        let MarkNotificationsReadInput { up_to, ids, command_id, expected_version } = input;
        let ids: Vec<Uuid> = ids.iter().flatten().map(uuid).collect::<Result<_>>()?;
        if ids.len() <= MARKED_READ_MAX
            && let Some(refusal) = refuse_strange(ctx, &actor, &ids).await?
        {
            return Ok(MarkNotificationsReadPayload { outcome: Outcome::refused(refusal) });
        }
        let args = CommandArgs { command_id, expected_version };
        let build = |actor: &Actor| {
            Ok(MarkNotificationsRead {
                user_id: acting_user(actor)?,
                up_to: up_to.map(|Position(position)| position),
                ids: ids.into_iter().map(NotificationId).collect(),
            })
        };
        let mut outcome = ctx.command(Action::ManageOwnAccount, args, build).await?;
        if let Some(Position(position)) = outcome.position {
            outcome.projected &= ctx.app().notifies(position).await;
            if outcome.projected {
                let notifications = position;
                ctx.snapshot().promise(Extent { notifications, ..Extent::default() });
            }
        }
        Ok(MarkNotificationsReadPayload { outcome })
    }
}

/// Refuses ids that name no notification of the caller. The domain does not know them: they are made
/// by the projection.
async fn refuse_strange(ctx: &Context<'_>, actor: &Actor, ids: &[Uuid]) -> Result<Option<Refusal>> {
    let mut sql = QueryBuilder::new("SELECT EXISTS (SELECT FROM unnest(");
    sql.push_bind(ids).push(
        ") AS wanted (id)
          WHERE NOT EXISTS (SELECT FROM projection.notifications n
                            WHERE n.id = wanted.id AND n.user_id = ",
    );
    sql.push_bind(actor.user_id().map(|id| id.0)).push("))");
    // As it is now, not as a mutation before this one has shown it.
    ctx.snapshot().end().await;
    let is_strange: bool = ctx.snapshot().value(&mut sql).await.map_err(internal)?;
    let refusal = || Refusal::new("NOT_FOUND", "there is no such notification").at("ids");
    Ok(is_strange.then(refusal))
}
