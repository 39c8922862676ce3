//! Relay connections: keyset paging on a stable order with the id as the tie-breaker.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use async_graphql::connection::CursorType;
use async_graphql::{Context, Name, ObjectType, OutputType, Result, Value};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike as _};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::connection::{Connection, Total};
use super::context::ContextExt as _;
use super::error::{bad_input, internal};
use super::found::Found;
use super::plan::{ListPlan, Plan};
use super::reader::{Condition, CountKey, Entity, ListKey};

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

    /// The list that a table makes in this order, as cursors name it.
    pub fn list_of(&self, table: &str) -> String {
        format!("{table}.{}", self.column)
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
            "uuid" => Uuid::parse_str(&self.value).is_ok_and(|id| self.value == id.to_string()),
            // As PostgreSQL writes it, in UTC. It has no year 0, and writes those before it otherwise.
            "timestamptz" => {
                let time = DateTime::parse_from_str(&self.value, "%Y-%m-%d %H:%M:%S%.f%#z");
                time.is_ok_and(|time| {
                    time.offset().local_minus_utc() == 0 && (1..=9999).contains(&time.year())
                })
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
    /// The arguments of a list field that is not resolved yet; `None` if they are no such.
    pub fn of(arguments: &BTreeMap<Name, Value>) -> Option<Self> {
        let mut args = Self::default();
        for (name, value) in arguments {
            match (name.as_str(), value) {
                ("after", Value::String(cursor)) => args.after = Some(cursor.clone()),
                ("before", Value::String(cursor)) => args.before = Some(cursor.clone()),
                ("first", Value::Number(size)) => args.first = size.as_i64()?.try_into().ok(),
                ("last", Value::Number(size)) => args.last = size.as_i64()?.try_into().ok(),
                _ => return None,
            }
        }
        Some(args)
    }

    /// Checks the arguments for the list of one table in one order.
    pub fn parse(self, list: &str, sql_type: &str) -> Result<Page> {
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
#[derive(Clone)]
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

    /// Reads a page as a connection, with all that is selected below it.
    pub async fn page<N>(self, ctx: &Context<'_>, args: PageArgs) -> Result<Nodes<N>>
    where
        N: OutputType + ObjectType + From<Found<T>>,
    {
        let page = self.check(args)?;
        let (wants, plan) = Plan::of_list::<T>(ctx);
        let list = ListPlan { order: self.order, page, wants };
        let reader = ctx.loader().loader();
        let listed = reader.list(&plan, &list, &self.conditions).await.map_err(internal)?;
        Ok(self.connection(&list.page, listed.rows, Total::Known(listed.count)))
    }

    /// Loads a page together with those of other parents, without what is below it.
    pub async fn load<N>(self, ctx: &Context<'_>, args: PageArgs) -> Result<Nodes<N>>
    where
        N: OutputType + ObjectType + From<Found<T>>,
    {
        let page = self.check(args)?;
        let Self { conditions, order, parent, table } = self.clone();
        let count = CountKey { conditions, parent, table };
        let key = ListKey { count: count.clone(), order, page: page.clone() };
        let loaded = ctx.loader().load_one(key).await.map_err(internal)?;
        let total = Total::Unknown(Box::new(move |ctx| {
            let count = count.clone();
            Box::pin(async move { count.load(ctx).await })
        }));
        Ok(self.connection(&page, loaded.unwrap_or_default(), total))
    }

    fn check(&self, args: PageArgs) -> Result<Page> {
        let page = args.parse(&self.order.list_of(T::NAME), self.order.sql_type)?;
        if !self.conditions.iter().all(Condition::is_sound) {
            return Err(bad_input("a filter must not contain the character U+0000"));
        }
        Ok(page)
    }

    /// A page as a connection, of rows in the order of reading.
    pub fn connection<N>(
        &self,
        page: &Page,
        mut rows: Vec<(String, Found<T>)>,
        total: Total,
    ) -> Nodes<N>
    where
        N: OutputType + ObjectType + From<Found<T>>,
    {
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
        let list = self.order.list_of(T::NAME);
        let nodes = rows.into_iter().map(|(value, found)| {
            (Cursor { list: list.clone(), value, id: found.row.id() }, N::from(found))
        });
        Connection::new((has_previous, has_next), total, nodes)
    }
}

/// A page of nodes.
pub type Nodes<N> = Connection<Cursor, N>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_cursor_is_refused_before_postgresql_sees_it() {
        let is_of = |sql_type, value: &str| {
            let value = value.to_owned();
            Cursor { list: String::new(), value, id: Uuid::nil() }.is_of(sql_type)
        };
        for good in ["2026-11-21 18:36:49.995786+00", "0001-01-01 00:00:00+00"] {
            assert!(is_of("timestamptz", good), "{good}");
        }
        for bad in [
            "0000-01-01 00:00:00+00",
            "-2026-01-01 00:00:00+00",
            "+12026-01-01 00:00:00+00",
            "2026-01-01 00:00:00+23",
            "2026-01-01",
            "now",
            "",
        ] {
            assert!(!is_of("timestamptz", bad), "{bad}");
        }
        assert!(is_of("uuid", "0197a000-0000-7000-8000-000000000001"));
        for bad in ["urn:uuid:0197a000-0000-7000-8000-000000000001", "0197a000", ""] {
            assert!(!is_of("uuid", bad), "{bad}");
        }
        assert!(!is_of("text", "a\0b"));
    }
}
