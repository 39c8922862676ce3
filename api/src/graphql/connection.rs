//! A page of a list, as Relay's specification of connections has it, resolved in place.

use std::borrow::Cow;
use std::pin::Pin;

use async_graphql::connection::{CursorType, Edge as EdgeFields, PageInfo};
use async_graphql::{Context, Object, ObjectType, Result, TypeName};

use super::inline::{Inline, Items};

/// A page of nodes `N`, each with its place `C` in the list.
pub type Connection<C, N> = Inline<ConnectionFields<C, N>>;

/// A node and its place.
type Edge<C, N> = Inline<EdgeFields<C, N, async_graphql::connection::EmptyFields>>;

/// What a connection has.
pub struct ConnectionFields<C, N>
where
    C: CursorType + Send + Sync,
    N: ObjectType,
{
    edges: Vec<Edge<C, N>>,
    has_previous: bool,
    has_next: bool,
    total: Total,
}

/// Counts a list.
pub type Count = Box<
    dyn for<'a> Fn(&'a Context<'a>) -> Pin<Box<dyn Future<Output = Result<i64>> + Send + 'a>>
        + Send
        + Sync,
>;

/// How long a whole list is.
pub enum Total {
    /// It was counted with the page, if it was asked for.
    Known(Option<i64>),
    /// It is counted when asked for.
    Unknown(Count),
}

impl<C, N> Connection<C, N>
where
    C: CursorType + Send + Sync,
    N: ObjectType,
{
    /// A page with these nodes; whether there are more before and behind it.
    pub fn new(
        (has_previous, has_next): (bool, bool),
        total: Total,
        nodes: impl IntoIterator<Item = (C, N)>,
    ) -> Self {
        let edge = |(cursor, node)| Inline(EdgeFields::new(cursor, node));
        let edges = nodes.into_iter().map(edge).collect();
        Self(ConnectionFields { edges, has_previous, has_next, total })
    }
}

impl<C, N> TypeName for ConnectionFields<C, N>
where
    C: CursorType + Send + Sync,
    N: ObjectType,
{
    fn type_name() -> Cow<'static, str> {
        format!("{}Connection", N::type_name()).into()
    }
}

/// A page of a list.
#[Object(name_type)]
impl<C, N> ConnectionFields<C, N>
where
    C: CursorType + Send + Sync,
    N: ObjectType,
{
    /// Where the page begins and ends, and whether there are others.
    async fn page_info(&self) -> PageInfo {
        let cursor = |edge: &Edge<C, N>| edge.cursor.encode_cursor();
        PageInfo {
            has_previous_page: self.has_previous,
            has_next_page: self.has_next,
            start_cursor: self.edges.first().map(cursor),
            end_cursor: self.edges.last().map(cursor),
        }
    }

    /// The nodes of the page with their cursors.
    async fn edges(&self) -> Items<'_, Edge<C, N>> {
        self.edges.iter().collect()
    }

    /// The nodes of the page.
    async fn nodes(&self) -> Items<'_, N> {
        self.edges.iter().map(|edge| &edge.node).collect()
    }

    /// How many nodes the whole list has; counted only when asked for.
    async fn total_count(&self, ctx: &Context<'_>) -> Result<i64> {
        match &self.total {
            Total::Known(count) => Ok(count.unwrap_or_default()),
            Total::Unknown(count) => count(ctx).await,
        }
    }
}
