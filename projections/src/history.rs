//! What each event of a stream did to the rows of the tables.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::convert::Infallible;

use orion_store::Fact;
use serde_json::Value;
use uuid::Uuid;

use crate::table::Table;
use crate::tables::{Visitor, visit_all};

/// A row that an event made, changed or removed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Schema and table.
    pub table: &'static str,
    /// The primary key.
    pub id: Uuid,
    /// The row by column before the event; `None` if there was none.
    pub before: Option<Value>,
    /// The row after the event.
    pub after: Option<Value>,
    /// The columns with personal values, in this and every row of the table.
    pub personal: &'static [&'static str],
    /// Those with secrets.
    pub secret: &'static [&'static str],
}

/// What each fact of some streams changes, fact by fact; of every stream from its first event on.
pub async fn changes(facts: &[Fact]) -> Vec<Vec<Change>> {
    let mut rows = HashMap::new();
    let mut all = Vec::with_capacity(facts.len());
    for fact in facts {
        let mut step = Step { fact, rows: &mut rows, changes: Vec::new() };
        let Ok(()) = visit_all(&mut step).await;
        all.push(step.changes);
    }
    all
}

/// The rows of every table by type and key.
type Rows = HashMap<TypeId, Box<dyn Any + Send>>;

struct Step<'a> {
    fact: &'a Fact,
    rows: &'a mut Rows,
    changes: Vec<Change>,
}

impl Visitor for Step<'_> {
    type Error = Infallible;

    async fn visit<T: Table>(&mut self) -> Result<(), Infallible> {
        let keys = T::keys(self.fact);
        if keys.is_empty() {
            return Ok(());
        }
        let rows = self
            .rows
            .entry(TypeId::of::<T>())
            .or_insert_with(|| Box::new(HashMap::<Uuid, T>::new()));
        let Some(rows) = rows.downcast_mut::<HashMap<Uuid, T>>() else { return Ok(()) };
        for id in keys {
            let row = rows.remove(&id);
            let before = row.as_ref().map(json);
            let row = T::fold(row, id, self.fact);
            let after = row.as_ref().map(json);
            rows.extend(row.map(|row| (id, row)));
            if before != after {
                self.changes.push(Change {
                    table: T::NAME,
                    id,
                    before,
                    after,
                    personal: T::PERSONAL,
                    secret: T::SECRET,
                });
            }
        }
        Ok(())
    }
}

fn json<T: Table>(row: &T) -> Value {
    // A row is an object of columns, which JSON can always hold.
    serde_json::to_value(row).unwrap_or_default()
}
