//! Reads the tables for one caller: what the caller may not see is not there.

use std::collections::HashMap;
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;

use async_graphql::dataloader::Loader;
use async_graphql::{Context, ID, Result};
use chrono::{DateTime, Utc};
use orion_commands::Actor;
use orion_commands::policy::Area;
use orion_projections::Table;
use orion_projections::tables::{
    ContentRow, MediaAssetRow, OAuthAccountRow, PipelineRunRow, ProviderRow, PublishRecordRow,
    PublishRow, ServiceTokenRow, SessionRow, SocialAccountRow, TrendRow, UserRow,
};
use serde_json::Value;
use serde_json::value::RawValue;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, Postgres, QueryBuilder, Row as _};
use uuid::Uuid;

use super::context::ContextExt as _;
use super::error::internal;
pub use super::found::Found;
use super::found::{Listed, read_list, read_row};
use super::page::{Order, Page};
use super::plan::{ListPlan, Noun, Plan, Relation};
use super::scalars::uuid;
use super::snapshot::Snapshot;
use super::statement::{Statement, push_page, push_visible, version_of};

/// A table that GraphQL shows.
pub trait Entity: Table {
    /// The part of Orion that it is in, which says who sees which rows.
    const AREA: Area;

    /// SQL that gives the id of a row's owner, where its area has owners; the row is called `{t}`.
    const OWNER: Option<&'static str>;

    /// The fields that show rows of other tables. Other fields show the column of their name; one
    /// that does not, and is not `version`, makes its row be read whole.
    const RELATIONS: &'static [Relation] = &[];
}

/// What a row must fulfil.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// The column has this value of this type in SQL.
    Is(&'static str, &'static str, String),
    /// The text column contains this text, in any case.
    Contains(&'static str, String),
    /// The column's time is this or later.
    Since(&'static str, DateTime<Utc>),
    /// The column's time is earlier.
    Before(&'static str, DateTime<Utc>),
    /// The column has no value, or has one.
    IsNull(&'static str, bool),
}

impl Condition {
    /// False of a text that PostgreSQL cannot read.
    pub fn is_sound(&self) -> bool {
        match self {
            Self::Is(_, _, text) | Self::Contains(_, text) => !text.contains('\0'),
            Self::Since(..) | Self::Before(..) | Self::IsNull(..) => true,
        }
    }

    /// The column is this id.
    pub fn is_id(column: &'static str, id: Option<&ID>) -> Result<Option<Self>> {
        id.map(|id| Ok(Self::Is(column, "uuid", uuid(id)?.to_string()))).transpose()
    }

    /// Pushes the condition on rows of this name.
    pub fn push(&self, sql: &mut QueryBuilder<'_, Postgres>, name: &str) {
        match self {
            Self::Is(column, sql_type, value) => {
                sql.push(format!(" AND {name}.{column} = "));
                sql.push_bind(value.clone()).push(format!("::{sql_type}"));
            }
            Self::Contains(column, text) => {
                let escaped = text.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_");
                sql.push(format!(" AND {name}.{column} ILIKE ")).push_bind(format!("%{escaped}%"));
            }
            Self::Since(column, time) => {
                sql.push(format!(" AND {name}.{column} >= ")).push_bind(*time);
            }
            Self::Before(column, time) => {
                sql.push(format!(" AND {name}.{column} < ")).push_bind(*time);
            }
            Self::IsNull(column, is_null) => {
                let not = if *is_null { "" } else { "NOT " };
                sql.push(format!(" AND {name}.{column} IS {not}NULL"));
            }
        }
    }
}

/// Names a row for the loader.
pub struct RowKey<T>(pub Uuid, pub PhantomData<T>);

/// Names the rows that are counted, for the loader.
pub struct CountKey<T> {
    /// What they fulfil.
    pub conditions: Vec<Condition>,
    /// The column of the parent, and the parent.
    pub parent: Option<(&'static str, Uuid)>,
    /// The table.
    pub table: PhantomData<T>,
}

impl<T: Entity> CountKey<T> {
    /// Counts the rows that the caller may see.
    pub async fn load(&self, ctx: &Context<'_>) -> Result<i64> {
        let count = ctx.loader().load_one(self.clone()).await.map_err(internal)?;
        Ok(count.unwrap_or_default())
    }
}

/// Names a page of rows for the loader.
pub struct ListKey<T> {
    /// The whole list.
    pub count: CountKey<T>,
    /// In this order.
    pub order: Order,
    /// This part of it.
    pub page: Page,
}

// Derived instances would ask the same of T, which is only a name here.
macro_rules! key {
    ($name:ident by $($field:tt),*) => {
        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                Self { $($field: self.$field.clone()),* }
            }
        }
        impl<T> PartialEq for $name<T> {
            fn eq(&self, other: &Self) -> bool {
                $(self.$field == other.$field)&&*
            }
        }
        impl<T> Eq for $name<T> {}
        impl<T> Hash for $name<T> {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                $(self.$field.hash(state);)*
            }
        }
    };
}
key!(RowKey by 0, 1);
key!(CountKey by conditions, parent, table);
key!(ListKey by count, order, page);

/// Reads for one caller in one snapshot, and batches what is not planned.
#[derive(Clone, Debug)]
pub struct Reader {
    /// The state that is read.
    pub snapshot: Arc<Snapshot>,
    /// Who asks.
    pub actor: Actor,
}

impl Reader {
    /// Reads the row of an id with what the plan wants below it, in one statement.
    pub async fn row<T: Entity>(
        &self,
        plan: &Arc<Plan>,
        id: Uuid,
    ) -> Result<Option<Found<T>>, sqlx::Error> {
        let mut sql = Statement::row(&self.actor, plan, id);
        let row = self.planned(plan, &mut sql).await?;
        let Some(found) = json(&row)? else { return Ok(None) };
        read_row(plan, found).map_err(undecodable)
    }

    /// Reads a list with what the plan wants below its rows, in one statement.
    pub async fn list<T: Entity>(
        &self,
        plan: &Arc<Plan>,
        list: &ListPlan,
        conditions: &[Condition],
    ) -> Result<Listed<T>, sqlx::Error> {
        let mut sql = Statement::list(&self.actor, plan, list, conditions);
        let row = self.planned(plan, &mut sql).await?;
        let found = json(&row)?.ok_or(sqlx::Error::RowNotFound)?;
        read_list(plan, list.wants.cursors, found).map_err(undecodable)
    }

    /// The only row of a planned statement.
    async fn planned(
        &self,
        plan: &Plan,
        sql: &mut QueryBuilder<'_, Postgres>,
    ) -> Result<PgRow, sqlx::Error> {
        if plan.is_all {
            return self.snapshot.only(sql).await;
        }
        self.snapshot.rows(sql).await?.pop().ok_or(sqlx::Error::RowNotFound)
    }

    /// Finds the row of an id among all tables in one statement: the table, the row, its version.
    ///
    /// The settings share their id with their user; the user is found.
    pub async fn find(
        &self,
        id: Uuid,
    ) -> Result<Option<(String, Value, Option<i64>)>, sqlx::Error> {
        let mut sql = QueryBuilder::new("");
        self.push_candidate::<UserRow>(&mut sql, id);
        macro_rules! candidates {
            ($($row:ty),* $(,)?) => {
                $(sql.push(" UNION ALL "); self.push_candidate::<$row>(&mut sql, id);)*
            };
        }
        candidates!(
            SessionRow,
            OAuthAccountRow,
            TrendRow,
            ContentRow,
            MediaAssetRow,
            PipelineRunRow,
            ProviderRow,
            SocialAccountRow,
            PublishRow,
            PublishRecordRow,
            ServiceTokenRow,
        );
        let rows = self.snapshot.rows(&mut sql).await?;
        rows.first().map(FromRow::from_row).transpose()
    }

    fn push_candidate<T: Entity>(&self, sql: &mut QueryBuilder<'_, Postgres>, id: Uuid) {
        let table = T::NAME;
        let version = version_of("t");
        sql.push(format!(
            "SELECT '{table}', to_json(t) AS row, {version} AS version FROM {table} t WHERE t.id = "
        ));
        sql.push_bind(id);
        self.push_visible::<T>(sql);
    }

    fn push_visible<T: Entity>(&self, sql: &mut QueryBuilder<'_, Postgres>) {
        push_visible(sql, &self.actor, &Noun::of::<T>(), "t");
    }

    /// Pushes everything that a row of the list must fulfil, but for its parent.
    fn push_conditions<T: Entity>(&self, sql: &mut QueryBuilder<'_, Postgres>, key: &CountKey<T>) {
        self.push_visible::<T>(sql);
        for condition in &key.conditions {
            condition.push(sql, "t");
        }
    }

    fn push_page<T: Entity>(&self, sql: &mut QueryBuilder<'_, Postgres>, key: &ListKey<T>) {
        self.push_conditions(sql, &key.count);
        push_page(sql, key.order, &key.page, "t");
    }

    async fn rows<R: for<'r> FromRow<'r, PgRow>>(
        &self,
        sql: &mut QueryBuilder<'_, Postgres>,
    ) -> Result<Vec<R>, sqlx::Error> {
        self.snapshot.rows(sql).await?.iter().map(R::from_row).collect()
    }
}

/// The last column, as PostgreSQL wrote it; none if it is null.
fn json(row: &PgRow) -> Result<Option<&RawValue>, sqlx::Error> {
    let column: Option<Json<&RawValue>> = row.try_get(row.len() - 1)?;
    Ok(column.map(|Json(raw)| raw))
}

fn undecodable(error: serde_json::Error) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

impl<T: Entity> Loader<RowKey<T>> for Reader {
    type Value = Found<T>;
    type Error = Arc<sqlx::Error>;

    async fn load(&self, keys: &[RowKey<T>]) -> Result<HashMap<RowKey<T>, Found<T>>, Self::Error> {
        let version = version_of("t");
        let mut sql = QueryBuilder::new(format!(
            "SELECT to_json(t) AS row, {version} AS version FROM {} t WHERE t.id = ANY (",
            T::NAME
        ));
        sql.push_bind(keys.iter().map(|key| key.0).collect::<Vec<_>>()).push(")");
        self.push_visible::<T>(&mut sql);
        let rows: Vec<(Json<T>, Option<i64>)> = self.rows(&mut sql).await?;
        let found = |(Json(row), version): (Json<T>, _)| {
            (RowKey(row.id(), PhantomData), Found::alone(row, version))
        };
        Ok(rows.into_iter().map(found).collect())
    }
}

impl<T: Entity> Loader<ListKey<T>> for Reader {
    /// Each row with its ordered column as text, in the order of reading.
    type Value = Vec<(String, Found<T>)>;
    type Error = Arc<sqlx::Error>;

    /// One statement for all lists that differ only by their parent.
    async fn load(
        &self,
        keys: &[ListKey<T>],
    ) -> Result<HashMap<ListKey<T>, Self::Value>, Self::Error> {
        let mut found = HashMap::new();
        for (like, alike) in group(keys, |key| &key.count.parent, |key| &mut key.count.parent) {
            let (column, version) = (like.order.column, version_of("t"));
            let page = format!(
                "SELECT to_json(t) AS row, {version} AS version, t.{column}::text AS sort FROM {} t WHERE true",
                T::NAME
            );
            let mut sql = QueryBuilder::new("");
            if let Some((parent, _)) = like.count.parent {
                sql.push("SELECT p.id, page.row, page.version, page.sort FROM unnest(");
                sql.push_bind(parents(&alike, |key| key.count.parent));
                sql.push(format!(") AS p (id) CROSS JOIN LATERAL ({page} AND t.{parent} = p.id"));
                self.push_page(&mut sql, &like);
                sql.push(") page");
            } else {
                sql.push(format!("SELECT NULL::uuid AS id, page.* FROM ({page}"));
                self.push_page(&mut sql, &like);
                sql.push(") page");
            }
            let mut lists: HashMap<Option<Uuid>, Self::Value> = HashMap::new();
            for row in self.snapshot.rows(&mut sql).await? {
                let Json(entity) = row.try_get("row")?;
                let entry = Found::alone(entity, row.try_get("version")?);
                lists.entry(row.try_get("id")?).or_default().push((row.try_get("sort")?, entry));
            }
            for key in alike {
                let parent = key.count.parent.map(|(_, id)| id);
                found.insert(key, lists.remove(&parent).unwrap_or_default());
            }
        }
        Ok(found)
    }
}

impl<T: Entity> Loader<CountKey<T>> for Reader {
    type Value = i64;
    type Error = Arc<sqlx::Error>;

    async fn load(&self, keys: &[CountKey<T>]) -> Result<HashMap<CountKey<T>, i64>, Self::Error> {
        let mut counts = HashMap::new();
        for (like, alike) in group(keys, |key| &key.parent, |key| &mut key.parent) {
            let parent =
                like.parent.map_or("NULL::uuid".to_owned(), |(column, _)| format!("t.{column}"));
            let mut sql = QueryBuilder::new(format!(
                "SELECT {parent} AS id, count(*) FROM {} t WHERE true",
                T::NAME
            ));
            if like.parent.is_some() {
                sql.push(format!(" AND {parent} = ANY ("));
                sql.push_bind(parents(&alike, |key| key.parent)).push(")");
            }
            self.push_conditions(&mut sql, &like);
            sql.push(" GROUP BY 1");
            let rows: Vec<(Option<Uuid>, i64)> = self.rows(&mut sql).await?;
            let found: HashMap<_, _> = rows.into_iter().collect();
            for key in alike {
                let parent = key.parent.map(|(_, id)| id);
                counts.insert(key, found.get(&parent).copied().unwrap_or_default());
            }
        }
        Ok(counts)
    }
}

type Parent = Option<(&'static str, Uuid)>;

/// The keys that differ only by their parent, together, with one of them for all.
fn group<K: Clone + Eq + Hash>(
    keys: &[K],
    parent: impl Fn(&K) -> &Parent,
    parent_mut: impl Fn(&mut K) -> &mut Parent,
) -> HashMap<K, Vec<K>> {
    let mut groups: HashMap<K, Vec<K>> = HashMap::new();
    for key in keys {
        let mut like = key.clone();
        *parent_mut(&mut like) = parent(key).map(|(column, _)| (column, Uuid::nil()));
        groups.entry(like).or_default().push(key.clone());
    }
    groups
}

fn parents<K>(keys: &[K], parent: impl Fn(&K) -> Parent) -> Vec<Uuid> {
    keys.iter().filter_map(|key| parent(key).map(|(_, id)| id)).collect()
}
