//! The list of a user's notifications, newest first.

use async_graphql::connection::CursorType;
use async_graphql::{Context, ID, InputObject, Object, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use orion_commands::policy::{Area, may_touch};
use orion_commands::{Action, Actor};
use orion_domain::values::{NotificationKind as DomainKind, UserId};
use sqlx::{FromRow, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{COLUMNS, Notification, NotificationKind, NotificationRow};
use crate::graphql::connection::{Connection, Total};
use crate::graphql::context::{App, ContextExt as _};
use crate::graphql::error::{bad_input, coded, internal};
use crate::graphql::page::page_size;
use crate::graphql::scalars::{Position, uuid};
use crate::graphql::snapshot::Snapshot;

/// Which notifications a list shows.
#[derive(InputObject, Clone, Debug, Default)]
pub struct NotificationFilter {
    /// Of these kinds.
    kinds: Option<Vec<NotificationKind>>,
    /// True for those that are unread, false for those that were read.
    unread: Option<bool>,
    /// Of this user instead of the caller; for admins, to others the list is empty.
    user_id: Option<ID>,
}

/// A list: whose notifications, and which.
#[derive(Clone, Debug)]
struct Selection {
    user_id: UserId,
    kinds: Option<Vec<&'static str>>,
    unread: Option<bool>,
}

impl Selection {
    /// What the caller asks for; `None` where there is nothing that the caller may see.
    fn of(actor: &Actor, filter: NotificationFilter) -> Result<Option<Self>> {
        let wanted = filter.user_id.as_ref().map(uuid).transpose()?.map(UserId);
        let Some(user_id) = wanted.or(actor.user_id()) else { return Ok(None) };
        if !may_touch(actor, Area::Accounts, Some(user_id)) {
            return Ok(None);
        }
        let label = |kind: NotificationKind| DomainKind::from(kind).as_str();
        let kinds = filter.kinds.map(|kinds| kinds.into_iter().map(label).collect());
        Ok(Some(Self { user_id, kinds, unread: filter.unread }))
    }

    fn push(&self, sql: &mut QueryBuilder<'_, Postgres>) {
        sql.push(" FROM projection.notifications WHERE user_id = ").push_bind(self.user_id.0);
        if let Some(kinds) = &self.kinds {
            sql.push(" AND kind = ANY (").push_bind(kinds.clone()).push(")");
        }
        if let Some(unread) = self.unread {
            sql.push(if unread { " AND read_at IS NULL" } else { " AND read_at IS NOT NULL" });
        }
    }

    async fn count(&self, snapshot: &Snapshot) -> Result<i64, sqlx::Error> {
        let mut sql = QueryBuilder::new("SELECT count(*)");
        self.push(&mut sql);
        snapshot.value(&mut sql).await
    }

    /// The rows between two places, the newest first or, counted from the end, last.
    async fn rows(
        &self,
        snapshot: &Snapshot,
        (after, before): (Option<i64>, Option<i64>),
        from_end: bool,
        limit: i64,
    ) -> Result<Vec<NotificationRow>, sqlx::Error> {
        let mut sql = QueryBuilder::new(format!("SELECT {COLUMNS}"));
        self.push(&mut sql);
        if let Some(after) = after {
            sql.push(" AND position < ").push_bind(after);
        }
        if let Some(before) = before {
            sql.push(" AND position > ").push_bind(before);
        }
        sql.push(if from_end {
            " ORDER BY position LIMIT "
        } else {
            " ORDER BY position DESC LIMIT "
        });
        sql.push_bind(limit);
        snapshot.rows(&mut sql).await?.iter().map(FromRow::from_row).collect()
    }
}

/// How many notifications of a user are unread.
pub(super) async fn unread_count(snapshot: &Snapshot, user_id: UserId) -> Result<i64, sqlx::Error> {
    Selection { user_id, kinds: None, unread: Some(true) }.count(snapshot).await
}

/// A notification by its id, if the caller may see it.
pub async fn find(ctx: &Context<'_>, id: Uuid) -> Result<Option<Notification>> {
    let mut sql =
        QueryBuilder::new(format!("SELECT {COLUMNS} FROM projection.notifications WHERE id = "));
    sql.push_bind(id);
    let rows = ctx.snapshot().rows(&mut sql).await.map_err(internal)?;
    let row = rows.first().map(NotificationRow::from_row).transpose().map_err(internal)?;
    let actor = ctx.caller().actor;
    let visible =
        |row: &NotificationRow| may_touch(&actor, Area::Accounts, Some(UserId(row.user_id)));
    Ok(row.filter(visible).and_then(Notification::of))
}

/// What the cursors of this list begin with, and those of no other.
const CURSOR: &str = "notifications:";

/// A place in a list of notifications, opaque to clients.
pub struct NotificationCursor(i64);

impl CursorType for NotificationCursor {
    type Error = &'static str;

    fn decode_cursor(text: &str) -> Result<Self, Self::Error> {
        let decode = || {
            let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
            text.strip_prefix(CURSOR)?.parse().ok().map(Self)
        };
        decode().ok_or("the cursor belongs to another list")
    }

    fn encode_cursor(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{CURSOR}{}", self.0))
    }
}

/// Refuses where the notifications have not reached a position that was waited for.
fn reached(app: &App, min_position: Option<Position>) -> Result<()> {
    let Some(Position(position)) = min_position else { return Ok(()) };
    if app.notified.now().position >= position {
        Ok(())
    } else {
        Err(coded("the notifications have not reached the position in time", "TIMEOUT"))
    }
}

/// Queries on notifications.
#[derive(Default)]
pub struct NotificationQuery;

#[Object]
impl NotificationQuery {
    /// What the caller was told, newest first; to a machine nothing.
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the field")]
    async fn notifications(
        &self,
        ctx: &Context<'_>,
        filter: Option<NotificationFilter>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
        min_position: Option<Position>,
    ) -> Result<Connection<NotificationCursor, Notification>> {
        let actor = ctx.allow(Action::Read)?;
        // It refuses what is beyond the end of the log, too.
        ctx.reach(min_position).await?;
        reached(ctx.app(), min_position)?;
        let (size, from_end) = page_size(first, last)?;
        let place = |text: Option<String>| {
            text.map(|text| NotificationCursor::decode_cursor(&text).map_err(bad_input))
                .transpose()
                .map(|cursor| cursor.map(|NotificationCursor(position)| position))
        };
        let (after, before) = (place(after)?, place(before)?);
        let selection = Selection::of(&actor, filter.unwrap_or_default())?;
        let limit = i64::from(size) + 1;
        let mut rows = match &selection {
            Some(selection) => {
                let rows = selection.rows(ctx.snapshot(), (after, before), from_end, limit);
                rows.await.map_err(internal)?
            }
            None => Vec::new(),
        };
        // One more than asked for was read, to know whether there are more.
        let has_more = i64::try_from(rows.len()).unwrap_or(limit) == limit;
        if has_more {
            rows.pop();
        }
        let (has_previous, has_next) =
            if from_end { (has_more, before.is_some()) } else { (after.is_some(), has_more) };
        if from_end {
            rows.reverse();
        }
        let total = Total::Unknown(Box::new(move |ctx| {
            let selection = selection.clone();
            Box::pin(async move {
                match selection {
                    Some(selection) => selection.count(ctx.snapshot()).await.map_err(internal),
                    None => Ok(0),
                }
            })
        }));
        let node = |notification: Notification| {
            (NotificationCursor(notification.row.position), notification)
        };
        let nodes = rows.into_iter().filter_map(Notification::of).map(node);
        Ok(Connection::new((has_previous, has_next), total, nodes))
    }
}
