//! A row that was found, with what was read together with it.

use std::fmt;
use std::sync::Arc;

use async_graphql::{Context, ObjectType, OutputType, Result};
use serde::Deserializer as _;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::connection::Total;
use super::context::ContextExt as _;
use super::error::internal;
use super::page::{List, Nodes, PageArgs};
use super::plan::{Branch, BranchRows, Plan, ToMany, ToOne};
use super::reader::Entity;
use super::selection::response_key;
use super::sparse::Sparse;

/// A row that the caller may see.
#[derive(Clone, Debug)]
pub struct Found<T> {
    /// The row. Columns that were not selected are blank.
    pub row: T,
    /// The version of the aggregate, where the row is one and it was asked for.
    pub version: Option<i64>,
    /// What was read together with it; nothing when the row was not planned.
    below: Option<Below>,
}

/// The rows of other tables that were read together with a row.
#[derive(Clone)]
struct Below {
    plan: Arc<Plan>,
    /// What each branch of the plan has led to, as PostgreSQL said it.
    branches: Vec<Box<RawValue>>,
}

impl fmt::Debug for Below {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.plan.branches.iter().map(|branch| &branch.key);
        f.debug_set().entries(keys).finish()
    }
}

/// A list as it was read: each row with its place, in the order of reading.
#[derive(Debug)]
pub struct Listed<T> {
    /// The rows, one more than asked for if there are more.
    pub rows: Vec<(String, Found<T>)>,
    /// How long the whole list is, if it was asked for.
    pub count: Option<i64>,
}

impl<T: Entity> Found<T> {
    /// A whole row that was read by itself.
    pub fn alone(row: T, version: Option<i64>) -> Self {
        Self { row, version, below: None }
    }

    /// The row of another table that the field shows which is resolved: the one of this id.
    pub async fn one<R: Entity>(
        &self,
        ctx: &Context<'_>,
        _: ToOne<R>,
        id: impl Into<Option<Uuid>>,
    ) -> Result<Option<Found<R>>> {
        match (self.branch::<R>(ctx), id.into()) {
            (Some((branch, json)), _) => read_row(&branch.plan, json).map_err(internal),
            (None, Some(id)) => ctx.load(id).await,
            (None, None) => Ok(None),
        }
    }

    /// A page of the list that the field shows which is resolved.
    pub async fn many<R: Entity, N>(
        &self,
        ctx: &Context<'_>,
        relation: ToMany<R>,
        args: PageArgs,
    ) -> Result<Nodes<N>>
    where
        N: OutputType + ObjectType + From<Found<R>>,
    {
        let list = List::<R>::of(relation.column, self.row.id(), relation.order);
        let Some((branch, json)) = self.branch::<R>(ctx) else { return list.load(ctx, args).await };
        let BranchRows::Many(_, planned) = &branch.rows else { return list.load(ctx, args).await };
        let Listed { rows, count } =
            read_list(&branch.plan, planned.wants.cursors, json).map_err(internal)?;
        Ok(list.connection(&planned.page, rows, Total::Known(count)))
    }

    /// What the plan has for the field that is resolved, if it has something of this table.
    fn branch<R: Entity>(&self, ctx: &Context<'_>) -> Option<(&Branch, &RawValue)> {
        let below = self.below.as_ref()?;
        let key = response_key(&ctx.item.node);
        let mut branches = below.plan.branches.iter().zip(&below.branches);
        let (branch, json) = branches.find(|(branch, _)| branch.key == key)?;
        (branch.plan.noun.table == R::NAME).then_some((branch, json))
    }
}

/// Reads a row as `statement.rs` writes it; null is none.
pub fn read_row<T: Entity>(
    plan: &Arc<Plan>,
    json: &RawValue,
) -> serde_json::Result<Option<Found<T>>> {
    if json.get() == "null" {
        return Ok(None);
    }
    Ok(Some(read(plan, false, json)?.1))
}

/// Reads a list as `statement.rs` writes it.
pub fn read_list<T: Entity>(
    plan: &Arc<Plan>,
    has_places: bool,
    json: &RawValue,
) -> serde_json::Result<Listed<T>> {
    let (count, rows): (Option<i64>, Option<Vec<&RawValue>>) = serde_json::from_str(json.get())?;
    let rows = rows.unwrap_or_default().into_iter().map(|row| read(plan, has_places, row));
    Ok(Listed { rows: rows.collect::<Result<_, _>>()?, count })
}

fn read<T: Entity>(
    plan: &Arc<Plan>,
    has_place: bool,
    json: &RawValue,
) -> serde_json::Result<(String, Found<T>)> {
    let mut deserializer = serde_json::Deserializer::from_str(json.get());
    deserializer.deserialize_seq(RowVisitor { plan, has_place, row: std::marker::PhantomData })
}

/// Reads one row with its place.
struct RowVisitor<'p, T> {
    plan: &'p Arc<Plan>,
    has_place: bool,
    row: std::marker::PhantomData<T>,
}

impl<'de, T: Entity> Visitor<'de> for RowVisitor<'_, T> {
    type Value = (String, Found<T>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a row of {}", T::NAME)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let row = T::deserialize(Sparse::new(&mut seq, &self.plan.columns))?;
        let version = if self.plan.version { next(&mut seq)? } else { None };
        let place = if self.has_place { next(&mut seq)? } else { String::new() };
        let branches = self.plan.branches.iter().map(|_| next(&mut seq));
        let branches = branches.collect::<Result<_, _>>()?;
        let below = Some(Below { plan: self.plan.clone(), branches });
        Ok((place, Found { row, version, below }))
    }
}

fn next<'de, A: SeqAccess<'de>, V: serde::Deserialize<'de>>(seq: &mut A) -> Result<V, A::Error> {
    seq.next_element()?.ok_or_else(|| A::Error::custom("the row ends too early"))
}
