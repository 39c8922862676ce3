//! Who waits to be worked for: all requests before they are parsed and validated, and then the mutations.
//!
//! Beside these there are the lines for connections to PostgreSQL (`store/src/kept.rs`), where queries wait.

use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;

use async_graphql::parser::types::OperationType;
use orion_store::{Line, Overload, Turn};

/// How many mutations may be under way for each connection of a pool. They wait for the log and the tables most
/// of the time; but when they have been done, what they show has to be read, and queries stand behind them.
const MUTATIONS_PER_CONNECTION: usize = 8;

/// The lines of a server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lines {
    /// Of requests to be parsed and validated, which takes nothing but a core: one for each. Were there more at
    /// a time, all that is under way would wait between them for each of its steps.
    pub requests: Line,
    mutations: Line,
}

impl Lines {
    /// With pools of so many connections.
    pub fn new(connections: u32) -> Self {
        let connections = usize::try_from(connections).unwrap_or(usize::MAX);
        let cores = available_parallelism().map_or(1, usize::from);
        let mutations = connections.saturating_mul(MUTATIONS_PER_CONNECTION);
        Self {
            requests: Line::new(cores, connections, "requests"),
            mutations: Line::new(mutations, connections, "mutations"),
        }
    }

    /// Waits until an operation of this kind may begin; a query waits where it reads.
    pub(super) async fn turn_of(
        &self,
        kind: Option<OperationType>,
    ) -> Result<Option<Turn>, Overload> {
        match kind {
            Some(OperationType::Mutation) => self.mutations.turn().await.map(Some),
            Some(OperationType::Query | OperationType::Subscription) | None => Ok(None),
        }
    }
}

/// A request is parsed and validated until this is ended or dropped. It is part of the request's data.
#[derive(Debug)]
pub struct Preparation(Mutex<Option<Turn>>);

impl Preparation {
    /// It is the request's turn.
    pub fn begun(turn: Turn) -> Self {
        Self(Mutex::new(Some(turn)))
    }

    /// It is the turn of the next.
    pub(super) fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
