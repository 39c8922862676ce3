//! Relay connections: keyset paging on a stable order with the id as the tie-breaker.

use std::marker::PhantomData;

use async_graphql::connection::{Connection, CursorType, Edge};
use async_graphql::{Context, ObjectType, OutputType, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::context::ContextExt as _;
use super::error::{bad_input, internal};
use super::reader::{Condition, CountKey, Entity, Found, ListKey};

/// The most nodes in one page.
pub const PAGE_MAX: i32 = 100;

/// The nodes in a page of which nobody said how long it is.
pub const PAGE_DEFAULT: i32 = 25;

/// An order of a list. The column must not be nullable; the id breaks ties in the same direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Order {
    /// The column of the table.
    pub column: &'static str,
    /// Its type in SQL, to read a cursor's value back.
    pub sql_type: &'static str,
    /// Newest or greatest first.
    pub descending: bool,
}

impl Order {
    /// Greatest first.
    pub const fn descending(column: &'static str, sql_type: &'static str) -> Self {
        Self { column, sql_type, descending: true }
    }

    /// Smallest first.
    pub const fn ascending(column: &'static str, sql_type: &'static str) -> Self {
        Self { column, sql_type, descending: false }
    }
}

/// A place in a list: the ordered column's value and the id, opaque to clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cursor {
    /// The list that it belongs to: table and ordered column.
    #[serde(rename = "l")]
    pub list: String,
    /// The column's value as PostgreSQL prints it.
    #[serde(rename = "v")]
    pub value: String,
    /// The row.
    #[serde(rename = "i")]
    pub id: Uuid,
}

impl Cursor {
    /// True when PostgreSQL can read the value as this type: a cursor may be forged.
    fn is_of(&self, sql_type: &str) -> bool {
        match sql_type {
            "uuid" => Uuid::parse_str(&self.value).is_ok(),
            "timestamptz" => {
                chrono::DateTime::parse_from_str(&self.value, "%Y-%m-%d %H:%M:%S%.f%#z").is_ok()
            }
            _ => !self.value.contains('\0'),
        }
    }
}

impl CursorType for Cursor {
    type Error = &'static str;

    fn decode_cursor(text: &str) -> Result<Self, Self::Error> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| "malformed cursor")?;
        serde_json::from_slice(&bytes).map_err(|_| "malformed cursor")
    }

    fn encode_cursor(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::json!(self).to_string())
    }
}

/// The paging arguments of a list field.
#[derive(Clone, Debug, Default)]
pub struct PageArgs {
    /// Nodes after this cursor.
    pub after: Option<String>,
    /// Nodes before this cursor.
    pub before: Option<String>,
    /// The first of them.
    pub first: Option<i32>,
    /// The last of them.
    pub last: Option<i32>,
}

/// A page, checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Page {
    /// Nodes after this place.
    pub after: Option<Cursor>,
    /// Nodes before this place.
    pub before: Option<Cursor>,
    /// How many.
    pub size: i64,
    /// Counted from the end.
    pub from_end: bool,
}

impl PageArgs {
    /// Checks the arguments for the list of one table in one order.
    fn parse(self, list: &str, sql_type: &str) -> Result<Page> {
        let (size, from_end) = page_size(self.first, self.last)?;
        let cursor = |text: Option<String>| match text.as_deref().map(Cursor::decode_cursor) {
            None => Ok(None),
            Some(Ok(cursor)) if cursor.list == list && cursor.is_of(sql_type) => Ok(Some(cursor)),
            Some(Ok(_)) => Err(bad_input("the cursor belongs to another list or order")),
            Some(Err(error)) => Err(bad_input(error)),
        };
        let (after, before) = (cursor(self.after)?, cursor(self.before)?);
        Ok(Page { after, before, size: size.into(), from_end })
    }
}

/// How many nodes a page has, and whether they are counted from the end.
pub fn page_size(first: Option<i32>, last: Option<i32>) -> Result<(i32, bool)> {
    let (size, from_end) = match (first, last) {
        (Some(_), Some(_)) => return Err(bad_input("give first or last, not both")),
        (None, Some(last)) => (last, true),
        (first, None) => (first.unwrap_or(PAGE_DEFAULT), false),
    };
    if (0..=PAGE_MAX).contains(&size) {
        Ok((size, from_end))
    } else {
        Err(bad_input(format!("first and last are 0 to {PAGE_MAX}, not {size}")))
    }
}

/// A list as a client asks for it.
pub struct List<T> {
    /// What the rows must fulfil.
    pub conditions: Vec<Condition>,
    /// The order.
    pub order: Order,
    /// The column that names the parent, and the parent, where the list belongs to one.
    pub parent: Option<(&'static str, Uuid)>,
    /// The table.
    pub table: PhantomData<T>,
}

impl<T: Entity> List<T> {
    /// All rows that the caller may see.
    pub fn all(order: Order) -> Self {
        Self { conditions: Vec::new(), order, parent: None, table: PhantomData }
    }

    /// The rows that belong to a parent; the lists of many parents are loaded together.
    pub fn of(column: &'static str, parent: Uuid, order: Order) -> Self {
        Self { parent: Some((column, parent)), ..Self::all(order) }
    }

    /// The same, of the rows that fulfil a condition, if there is one.
    #[must_use]
    pub fn and(mut self, condition: Option<Condition>) -> Self {
        self.conditions.extend(condition);
        self
    }

    /// Loads a page as a connection.
    pub async fn page<N>(self, ctx: &Context<'_>, args: PageArgs) -> Result<Nodes<N>>
    where
        N: OutputType + ObjectType + From<Found<T>>,
    {
        let list = format!("{}.{}", T::NAME, self.order.column);
        let page = args.parse(&list, self.order.sql_type)?;
        let Self { conditions, order, parent, table } = self;
        if !conditions.iter().all(Condition::is_sound) {
            return Err(bad_input("a filter must not contain the character U+0000"));
        }
        let count = CountKey { conditions, parent, table };
        let key = ListKey { count: count.clone(), order, page: page.clone() };
        let loaded = ctx.loader().load_one(key).await.map_err(internal)?;
        let mut rows = loaded.unwrap_or_default();
        // One more than asked for was read, to know whether there are more.
        let size = usize::try_from(page.size).unwrap_or_default();
        let has_more = rows.len() > size;
        rows.truncate(size);
        let (has_previous, has_next) = if page.from_end {
            rows.reverse();
            (has_more, page.before.is_some())
        } else {
            (page.after.is_some(), has_more)
        };
        let total = TotalCount(Box::new(move |ctx| {
            let count = count.clone();
            Box::pin(async move { count.load(ctx).await })
        }));
        let mut connection = Connection::with_additional_fields(has_previous, has_next, total);
        connection.edges = rows
            .into_iter()
            .map(|(value, found)| {
                let cursor = Cursor { list: list.clone(), value, id: found.row.id() };
                Edge::new(cursor, N::from(found))
            })
            .collect();
        Ok(connection)
    }
}

/// A page of nodes.
pub type Nodes<N> = Connection<Cursor, N, TotalCount>;

type Count = Box<
    dyn for<'a> Fn(
            &'a Context<'a>,
        ) -> std::pin::Pin<Box<dyn Future<Output = Result<i64>> + Send + 'a>>
        + Send
        + Sync,
>;

/// Counts a list, when asked.
pub struct TotalCount(pub(super) Count);

/// What a connection has beside its edges.
#[async_graphql::Object]
impl TotalCount {
    /// How many nodes the whole list has; counted only when asked for.
    async fn total_count(&self, ctx: &Context<'_>) -> Result<i64> {
        (self.0)(ctx).await
    }
}
