//! What operations cost their caller, over HTTP as on a WebSocket.
//!
//! An operation costs 1, and 1 for each field that it selects, fragments at each place that they are
//! spread. How many rows a list has is not counted. Each mutation counts by itself, too.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextParseQuery, NextPrepareRequest, NextResolve,
    ResolveInfo,
};
use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};
use async_graphql::{
    Error, ErrorExtensionValues, ErrorExtensions as _, Name, PathSegment, Pos, Request,
    ServerError, ServerResult, Value, Variables, async_trait,
};
use orion_commands::Actor;

use super::context::{App, Caller};
use super::error::coded;
use crate::limits::{Account, Exceeded, Limit, network};

/// The most that one operation may cost, whatever the budget.
const COST_MAX: u32 = 20_000;

/// How deep fragments may be nested for their fields to be counted. The library bears 32, but looks
/// at each place of each fragment to find out: a few that spread each other twice would keep it busy
/// for minutes.
const DEPTH_MAX: usize = 64;

/// When a client should try again that found the queue of commands full.
const OVERLOADED_FOR_MS: u64 = 1_000;

const RETRY_AFTER_MS: &str = "retryAfterMs";

impl From<Exceeded> for Error {
    fn from(exceeded: Exceeded) -> Self {
        limited(exceeded.message(), exceeded.wait_ms())
    }
}

/// The server has more to do than it can queue.
pub fn overloaded() -> Error {
    limited("too many requests, try again soon".to_owned(), OVERLOADED_FOR_MS)
}

fn limited(message: String, wait_ms: u64) -> Error {
    coded(message, "RATE_LIMITED").extend_with(|_, values| values.set(RETRY_AFTER_MS, wait_ms))
}

/// When to try again, if an error says so.
pub fn retry_after_ms(extensions: Option<&ErrorExtensionValues>) -> Option<u64> {
    let Value::Number(ms) = extensions?.get(RETRY_AFTER_MS)? else { return None };
    ms.as_u64()
}

impl Caller {
    /// Who pays for what this caller does.
    pub fn account(&self) -> Account {
        match self.actor {
            Actor::User { id, .. } => Account::User(id),
            Actor::Service { id, .. } => Account::Service(id),
            Actor::Anonymous | Actor::System => Account::Network(network(self.address)),
        }
    }
}

/// Charges operations and mutations.
pub struct Charges;

/// The charges of one request.
struct Charged {
    cost: AtomicU32,
}

impl ExtensionFactory for Charges {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Charged { cost: AtomicU32::new(0) })
    }
}

#[async_trait::async_trait]
impl Extension for Charged {
    async fn prepare_request(
        &self,
        ctx: &ExtensionContext<'_>,
        mut request: Request,
        next: NextPrepareRequest<'_>,
    ) -> ServerResult<Request> {
        // What does not parse costs nothing; it is refused at its next step.
        let cost = request.parsed_query().map_or(0, cost);
        if cost > COST_MAX {
            let error = coded("the query selects too many fields", "QUERY_TOO_COMPLEX");
            return Err(error.into_server_error(Pos::default()));
        }
        self.cost.store(cost, Ordering::Relaxed);
        metrics::histogram!("orion_graphql_cost").record(cost);
        next.run(ctx, request).await
    }

    async fn parse_query(
        &self,
        ctx: &ExtensionContext<'_>,
        query: &str,
        variables: &Variables,
        next: NextParseQuery<'_>,
    ) -> ServerResult<ExecutableDocument> {
        // The first step that knows the caller.
        charge(ctx, Limit::Cost, self.cost.load(Ordering::Relaxed), Pos::default())?;
        next.run(ctx, query, variables).await
    }

    async fn resolve(
        &self,
        ctx: &ExtensionContext<'_>,
        info: ResolveInfo<'_>,
        next: NextResolve<'_>,
    ) -> ServerResult<Option<Value>> {
        if info.parent_type == "Mutation" {
            let field = info.alias.unwrap_or(info.name).to_owned();
            let at_field = |error: ServerError| error.with_path(vec![PathSegment::Field(field)]);
            charge(ctx, Limit::Mutation, 1, info.field.name.pos).map_err(at_field)?;
        }
        next.run(ctx, info).await
    }
}

fn charge(ctx: &ExtensionContext<'_>, limit: Limit, weight: u32, at: Pos) -> ServerResult<()> {
    let (app, caller): (&App, &Caller) = (ctx.data_unchecked(), ctx.data_unchecked());
    let checked = app.limits.check_n(limit, caller.account(), weight);
    checked.map_err(|exceeded| Error::from(exceeded).into_server_error(at))
}

/// The cost of all operations of a document: usually there is one.
fn cost(document: &ExecutableDocument) -> u32 {
    let mut fields = Fields { document, of_fragments: HashMap::new() };
    let operations = document.operations.iter();
    operations.fold(0, |sum: u32, (_, operation)| {
        let selected = fields.of(&operation.node.selection_set.node, 0);
        sum.saturating_add(1).saturating_add(selected)
    })
}

/// Counts the fields of selections, each fragment once.
struct Fields<'a> {
    document: &'a ExecutableDocument,
    of_fragments: HashMap<&'a Name, u32>,
}

impl<'a> Fields<'a> {
    fn of(&mut self, selection: &'a SelectionSet, depth: usize) -> u32 {
        if depth > DEPTH_MAX {
            return u32::MAX;
        }
        selection.items.iter().fold(0, |sum: u32, item| {
            sum.saturating_add(match &item.node {
                Selection::Field(field) => {
                    self.of(&field.node.selection_set.node, depth + 1).saturating_add(1)
                }
                Selection::InlineFragment(inline) => {
                    self.of(&inline.node.selection_set.node, depth + 1)
                }
                Selection::FragmentSpread(spread) => {
                    self.of_fragment(&spread.node.fragment_name.node, depth + 1)
                }
            })
        })
    }

    fn of_fragment(&mut self, name: &'a Name, depth: usize) -> u32 {
        if let Some(known) = self.of_fragments.get(name) {
            return *known;
        }
        let Some(fragment) = self.document.fragments.get(name) else { return 0 };
        // A fragment that spreads itself finds this; the query is refused later.
        self.of_fragments.insert(name, 0);
        let fields = self.of(&fragment.node.selection_set.node, depth);
        self.of_fragments.insert(name, fields);
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost_of(query: &str) -> u32 {
        cost(&async_graphql::parser::parse_query(query).unwrap())
    }

    #[test]
    fn an_operation_costs_its_fields() {
        assert_eq!(cost_of("{ me { id name } }"), 4);
        assert_eq!(cost_of("mutation { a: logout { position } b: logout { position } }"), 5);
        assert_eq!(cost_of("{ ... on Query { me { id } } }"), 3);
        assert_eq!(cost_of("query A { me { id } } query B { me { id } }"), 6);
    }

    #[test]
    fn a_fragment_costs_at_each_place() {
        let query = "{ a: me { ...F } b: me { ...F } } fragment F on User { id name }";
        assert_eq!(cost_of(query), 7);
        assert_eq!(cost_of("{ ...F } fragment F on Query { me { id } ...F }"), 3);
        assert_eq!(cost_of("{ ...Nowhere }"), 1);
    }

    #[test]
    fn fragments_that_spread_each_other_are_too_much() {
        let chain = |length: usize, spreads: &str| {
            let link = |i: usize| {
                let next = format!("...F{}", i + 1);
                format!("fragment F{i} on Query {{ {} }} ", spreads.replace('_', &next))
            };
            let links: String = (0..length).map(link).collect();
            cost_of(&format!("{{ ...F0 }} {links} fragment F{length} on Query {{ a }}"))
        };
        assert_eq!(chain(10, "_ _"), 1025);
        assert_eq!(chain(40, "_ _"), u32::MAX);
        assert_eq!(chain(40, "_"), 2);
        assert_eq!(chain(20_000, "_"), u32::MAX);
    }
}
