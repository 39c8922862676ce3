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

impl Place {
    /// The place's table for a served one.
    pub fn table(&self, live: &str) -> String {
        match self {
            Self::Live => live.to_owned(),
            // All names differ without their schemas, too.
            Self::Beside(schema) => {
                format!("{schema}.{}", live.rsplit_once('.').map_or(live, |(_, name)| name))
            }
        }
    }
}

/// Which tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tables {
    /// All that are folds.
    All,
    /// Those that are documented.
    Documented,
}

impl Tables {
    /// Visits them, parents before children.
    pub async fn visit<V: Visitor + Send>(self, visitor: &mut V) -> Result<(), V::Error> {
        match self {
            Self::All => visit_all(visitor).await,
            Self::Documented => visit_documented(visitor).await,
        }
    }

    /// Their shapes, parents before children.
    pub async fn shapes(self) -> Vec<Shape> {
        let mut shapes = Shapes(Vec::new());
        let Ok(()) = self.visit(&mut shapes).await;
        shapes.0
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
