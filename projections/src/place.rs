//! Where tables are: those that are served, or a copy of them in a schema of its own.

use std::convert::Infallible;

use crate::table::Table;
use crate::tables::{Visitor, visit_all, visit_documented};

/// Where tables are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The tables that are served.
    Live,
    /// Side by side in the schema of this name, which is quoted already.
    Beside(String),
}

/// A table without its rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Schema and name where the table is served.
    pub name: &'static str,
    /// The columns in the order of a row.
    pub columns: &'static [&'static str],
}

/// A table's name without its schema.
pub(crate) fn bare(table: &str) -> &str {
    table.rsplit_once('.').map_or(table, |(_, name)| name)
}

impl Place {
    /// The place's table for a served one.
    pub fn table(&self, live: &str) -> String {
        match self {
            Self::Live => live.to_owned(),
            // All names differ without their schemas, too.
            Self::Beside(schema) => format!("{schema}.{}", bare(live)),
        }
    }
}

/// Which tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tables {
    /// All that are folds.
    All,
    /// Those that are documented.
    Documented,
    /// Documented ones, by schema and name.
    Some(Vec<&'static str>),
}

impl Tables {
    /// Visits them, parents before children.
    pub async fn visit<V: Visitor + Send>(&self, visitor: &mut V) -> Result<(), V::Error> {
        match self {
            Self::All => visit_all(visitor).await,
            Self::Documented => visit_documented(visitor).await,
            Self::Some(names) => visit_documented(&mut Only { names, visitor }).await,
        }
    }

    /// Their shapes, parents before children.
    pub async fn shapes(&self) -> Vec<Shape> {
        let mut shapes = Shapes(Vec::new());
        let Ok(()) = self.visit(&mut shapes).await;
        shapes.0
    }
}

/// Visits some tables only.
struct Only<'a, V> {
    names: &'a [&'static str],
    visitor: &'a mut V,
}

impl<V: Visitor + Send> Visitor for Only<'_, V> {
    type Error = V::Error;

    async fn visit<T: Table>(&mut self) -> Result<(), V::Error> {
        if self.names.contains(&T::NAME) { self.visitor.visit::<T>().await } else { Ok(()) }
    }
}

struct Shapes(Vec<Shape>);

impl Visitor for Shapes {
    type Error = Infallible;

    async fn visit<T: Table>(&mut self) -> Result<(), Infallible> {
        self.0.push(Shape { name: T::NAME, columns: T::COLUMNS });
        Ok(())
    }
}
