//! What an operation asks for, found out from its document and variables before anything runs.
//!
//! The cost is an estimate from above of the objects in the answer. Directives such as `@skip` lower
//! nothing, and nobody knows beforehand how many nodes a page really has.
//!
//! | what | costs |
//! |---|---|
//! | an operation | 1 |
//! | an object | 1 |
//! | a leaf | 0.1 |
//! | a connection | 1, and what its nodes cost times its page size |
//! | `totalCount` | 10 |
//! | a field of `Mutation` | 10, and what it returns |
//! | `__schema`, `__type` | 500, and 20 times as much for each further level of lists below `fields` |

use std::collections::HashMap;

use async_graphql::parser::types::{
    Directive, ExecutableDocument, Field, OperationDefinition, OperationType, Selection,
    SelectionSet,
};
use async_graphql::{Name, Positioned, Value, Variables};

use super::TooMuch;
use crate::graphql::page::{PAGE_DEFAULT, PAGE_MAX};

/// The most that one operation may cost, whatever the budget: a page of a hundred nodes with five
/// lists each is less, a hundred times a hundred times a hundred nodes are more.
pub const COST_MAX: u32 = 30_000;

/// How deep fields may nest.
const DEPTH_MAX: u32 = 15;

const ALIASES_MAX: u32 = 30;

const ROOT_FIELDS_MAX: u32 = 20;

const DIRECTIVES_MAX: u32 = 10;

/// The most selections of a document, fragments at each place that they are spread: that often
/// validation looks at something.
const SELECTIONS_MAX: u32 = 10_000;

/// How deep selections may be nested, those of fragments included, for them to be counted.
const NESTING_MAX: usize = 64;

/// Costs are added up in tenths.
const WHOLE: u64 = 10;
const OPERATION: u64 = WHOLE;
const OBJECT: u64 = WHOLE;
const LEAF: u64 = 1;
const TOTAL_COUNT: u64 = 10 * WHOLE;
const MUTATION: u64 = 10 * WHOLE;
const INTROSPECTION: u64 = 500 * WHOLE;
const INTROSPECTION_AGAIN: u64 = 20;

/// What is known of an operation before it runs. Extensions and resolvers find it in their context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assessed {
    /// What it costs, by the model of this module.
    pub cost: u32,
    /// What kind of operation it is.
    pub kind: OperationType,
    /// True when it asks for the schema.
    pub introspects: bool,
}

/// Assesses the operation of a document that will run, and refuses what is too much. None where the
/// document has no such operation, which is refused at a later step.
pub fn assess(
    document: &ExecutableDocument,
    operation_name: Option<&str>,
    variables: &Variables,
) -> Result<Option<Assessed>, TooMuch> {
    let chosen = chosen(document, operation_name);
    let mut weights =
        Weights { document, variables, operation: chosen, of_fragments: HashMap::new() };
    // Validation looks at all of them.
    let operations = document.operations.iter();
    let selections = operations.fold(0_u32, |sum, (_, operation)| {
        sum.saturating_add(weights.of(&operation.node.selection_set.node, 0).selections)
    });
    at_most("selections", selections, SELECTIONS_MAX)?;
    let Some(operation) = chosen else { return Ok(None) };

    let weight = weights.of(&operation.selection_set.node, 0);
    at_most("levels", weight.depth, DEPTH_MAX)?;
    at_most("aliases", weight.aliases, ALIASES_MAX)?;
    at_most("root fields", weight.fields, ROOT_FIELDS_MAX)?;
    let directives = count(&operation.directives);
    at_most("directives", weight.directives.saturating_add(directives), DIRECTIVES_MAX)?;
    let each = if operation.ty == OperationType::Mutation { MUTATION } else { 0 };
    let tenths = weight
        .flat
        .saturating_add(weight.of_nodes)
        .saturating_add(OPERATION)
        .saturating_add(each * u64::from(weight.fields));
    let cost = u32::try_from(tenths.div_ceil(WHOLE)).unwrap_or(u32::MAX);
    at_most("points of cost", cost, COST_MAX)?;
    Ok(Some(Assessed { cost, kind: operation.ty, introspects: weight.introspects }))
}

fn at_most(limit: &'static str, found: u32, max: u32) -> Result<(), TooMuch> {
    if found > max { Err(TooMuch::of(limit, found, max)) } else { Ok(()) }
}

fn count(directives: &[Positioned<Directive>]) -> u32 {
    u32::try_from(directives.len()).unwrap_or(u32::MAX)
}

/// The operation that will run.
fn chosen<'a>(
    document: &'a ExecutableDocument,
    wanted: Option<&str>,
) -> Option<&'a OperationDefinition> {
    let mut operations = document.operations.iter();
    let chosen = match wanted {
        Some(wanted) => operations.find(|(name, _)| name.is_some_and(|name| name == wanted)),
        None => operations.next().filter(|_| operations.next().is_none()),
    };
    chosen.map(|(_, operation)| &operation.node)
}

/// What a selection weighs, fragments at each place that they are spread.
#[derive(Clone, Copy, Debug, Default)]
struct Weight {
    /// Fields, spreads and inline fragments.
    selections: u32,
    /// Fields of the object itself.
    fields: u32,
    aliases: u32,
    directives: u32,
    /// How deep fields nest.
    depth: u32,
    introspects: bool,
    /// How deep the lists of introspection nest that lead from types to types.
    type_lists: u32,
    /// Tenths of cost, for the object itself.
    flat: u64,
    /// Tenths of cost for each node, where the object is a connection: its size is known one level
    /// higher only, and differs between the places of a fragment.
    of_nodes: u64,
}

impl Weight {
    /// Too much of everything.
    const ENDLESS: Self = Self {
        selections: u32::MAX,
        fields: u32::MAX,
        aliases: u32::MAX,
        directives: u32::MAX,
        depth: u32::MAX,
        introspects: true,
        type_lists: u32::MAX,
        flat: u64::MAX,
        of_nodes: u64::MAX,
    };

    /// Both, beside each other.
    fn and(self, other: Self) -> Self {
        Self {
            selections: self.selections.saturating_add(other.selections),
            fields: self.fields.saturating_add(other.fields),
            aliases: self.aliases.saturating_add(other.aliases),
            directives: self.directives.saturating_add(other.directives),
            depth: self.depth.max(other.depth),
            introspects: self.introspects || other.introspects,
            type_lists: self.type_lists.max(other.type_lists),
            flat: self.flat.saturating_add(other.flat),
            of_nodes: self.of_nodes.saturating_add(other.of_nodes),
        }
    }
}

/// Weighs selections, each fragment once.
struct Weights<'a> {
    document: &'a ExecutableDocument,
    variables: &'a Variables,
    operation: Option<&'a OperationDefinition>,
    of_fragments: HashMap<&'a Name, Weight>,
}

impl<'a> Weights<'a> {
    fn of(&mut self, selection: &'a SelectionSet, nesting: usize) -> Weight {
        if nesting > NESTING_MAX {
            return Weight::ENDLESS;
        }
        let items = selection.items.iter();
        items.fold(Weight::default(), |sum, item| {
            let weight = match &item.node {
                Selection::Field(field) => {
                    let below = self.of(&field.node.selection_set.node, nesting + 1);
                    self.of_field(&field.node, below)
                }
                Selection::InlineFragment(inline) => {
                    self.of(&inline.node.selection_set.node, nesting + 1)
                }
                Selection::FragmentSpread(spread) => {
                    self.of_fragment(&spread.node.fragment_name.node, nesting + 1)
                }
            };
            let directives = count(item.node.directives());
            sum.and(weight).and(Weight { selections: 1, directives, ..Weight::default() })
        })
    }

    fn of_fragment(&mut self, name: &'a Name, nesting: usize) -> Weight {
        if let Some(known) = self.of_fragments.get(name) {
            return *known;
        }
        let Some(fragment) = self.document.fragments.get(name) else { return Weight::default() };
        // A fragment that spreads itself finds this; the query is refused later.
        self.of_fragments.insert(name, Weight::default());
        let weight = self.of(&fragment.node.selection_set.node, nesting);
        self.of_fragments.insert(name, weight);
        weight
    }

    /// A field, and what is selected below it.
    fn of_field(&self, field: &Field, below: Weight) -> Weight {
        let name = field.name.node.as_str();
        let is_leaf = field.selection_set.node.items.is_empty();
        let mut weight = Weight {
            fields: 1,
            aliases: below.aliases.saturating_add(field.alias.is_some().into()),
            depth: below.depth.saturating_add(1),
            ..below
        };
        (weight.flat, weight.of_nodes) = match name {
            "totalCount" => (TOTAL_COUNT, 0),
            _ if is_leaf => (LEAF, 0),
            "pageInfo" => (below.flat, below.of_nodes),
            // What is below them comes once for each node. An edge is no object of its own here.
            "edges" => (0, below.flat.saturating_add(below.of_nodes)),
            "nodes" => (0, below.flat.saturating_add(below.of_nodes).saturating_add(OBJECT)),
            "__schema" | "__type" => {
                weight.introspects = true;
                let times = INTROSPECTION_AGAIN.saturating_pow(below.type_lists.saturating_sub(1));
                (below.flat.saturating_add(INTROSPECTION.saturating_mul(times)), 0)
            }
            _ => {
                let nodes = below.of_nodes.saturating_mul(self.page_size(field));
                (below.flat.saturating_add(nodes).saturating_add(OBJECT), 0)
            }
        };
        if matches!(name, "fields" | "inputFields" | "interfaces" | "possibleTypes") {
            weight.type_lists = below.type_lists.saturating_add(1);
        }
        weight
    }

    /// The most nodes that a field can have, by its arguments.
    fn page_size(&self, field: &Field) -> u64 {
        let sizes = ["first", "last"].map(|name| {
            let argument = field.get_argument(name)?.node.clone();
            let known = argument.into_const_with(|name| self.variable(&name).cloned().ok_or(()));
            size(&known.ok()?)
        });
        sizes.into_iter().flatten().max().unwrap_or(nodes(PAGE_DEFAULT))
    }

    /// The value of a variable: as it was sent, or its default.
    fn variable(&self, name: &Name) -> Option<&Value> {
        self.variables.get(name).or_else(|| {
            let mut definitions = self.operation?.variable_definitions.iter();
            let definition = definitions.find(|definition| definition.node.name.node == *name)?;
            definition.node.default_value()
        })
    }
}

/// The size that an argument says; none where it is as if it were not there.
fn size(argument: &Value) -> Option<u64> {
    let number = match argument {
        Value::Null => return None,
        Value::Number(number) => number.as_i64(),
        Value::String(_)
        | Value::Boolean(_)
        | Value::Binary(_)
        | Value::Enum(_)
        | Value::List(_)
        | Value::Object(_) => None,
    };
    // What is no number, and what is beyond the most, is refused when the field is resolved.
    let max = nodes(PAGE_MAX);
    Some(number.map_or(max, |number| u64::try_from(number).unwrap_or(0).min(max)))
}

fn nodes(size: i32) -> u64 {
    u64::try_from(size).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn assessed(query: &str, variables: serde_json::Value) -> Result<Assessed, TooMuch> {
        let document = async_graphql::parser::parse_query(query).unwrap();
        let assessed = assess(&document, None, &Variables::from_json(variables));
        assessed.map(|assessed| assessed.expect("one operation"))
    }

    #[track_caller]
    fn costs(query: &str, cost: u32) {
        assert_eq!(assessed(query, json!({})).unwrap().cost, cost, "{query}");
    }

    #[track_caller]
    fn refused(query: &str, limit: &str, found: u32) {
        let TooMuch { limit: by, found: much, .. } = assessed(query, json!({})).unwrap_err();
        assert_eq!((by, much), (limit, found), "{query}");
    }

    /// `{ F0 } fragment F0 { … F1 … } …`, each with these selections, `_` for the next fragment.
    fn chain(length: usize, selections: &str, last: &str) -> String {
        let link = |index: usize| {
            let next = format!("...F{}", index + 1);
            format!("fragment F{index} on Query {{ {} }} ", selections.replace('_', &next))
        };
        let links: String = (0..length).map(link).collect();
        format!("{{ ...F0 }} {links} fragment F{length} on Query {{ {last} }}")
    }

    #[test]
    fn objects_cost_and_leaves_cost_little() {
        costs("{ me { id name } }", 3);
        costs("{ me { a b c d e f g h i j } }", 3);
        costs("{ a: me { id } b: me { id } }", 4);
        costs("{ ... on Query { me { id } } }", 3);
        costs("mutation { logout { position } }", 13);
        costs("{ contents(first: 0) { totalCount } }", 12);
    }

    #[test]
    fn a_connection_multiplies_what_is_below_it() {
        costs("{ contents { nodes { id } } }", 2 + 28);
        costs("{ contents(first: 100) { nodes { id } } }", 2 + 110);
        costs("{ contents(last: 10) { edges { cursor node { id } } } }", 2 + 12);
        costs("{ contents(first: 10) { pageInfo { endCursor } nodes { trend { id } } } }", 2 + 22);
        costs("{ contents(first: null) { nodes { id } } }", 2 + 28);
        costs("{ contents(first: -5) { nodes { id } } }", 2);
        costs("{ contents(first: 2000000000) { nodes { id } } }", 2 + 110);
        costs("{ a: contents(first: 10) { ...C } b: contents(first: 20) { ...C } }
               fragment C on ContentConnection { ...N } fragment N on ContentConnection { nodes { id } }", 3 + 33);
    }

    #[test]
    fn variables_and_their_defaults_are_sizes() {
        let query = "query ($n: Int = 10) { contents(first: $n) { nodes { id } } }";
        for (variables, cost) in [
            (json!({}), 2 + 11),
            (json!({ "n": 100 }), 2 + 110),
            (json!({ "n": null }), 2 + 28),
            (json!({ "n": "many" }), 2 + 110),
            (json!({ "other": 1 }), 2 + 11),
        ] {
            assert_eq!(assessed(query, variables.clone()).unwrap().cost, cost, "{variables}");
        }
    }

    #[test]
    fn a_page_with_relations_is_borne_and_a_cube_is_not() {
        let list = |name: &str| format!("{name} {{ totalCount nodes {{ id a b c d e f g h }} }} ");
        let lists: String = ["a", "b", "c", "d", "e"].map(list).concat();
        let page = format!("{{ contents(first: 100) {{ nodes {{ id {lists} }} }} }}");
        let cost = assessed(&page, json!({})).unwrap().cost;
        assert!((20_000..COST_MAX).contains(&cost), "{cost}");
        let below = |below: &str| format!("contents(first: 100) {{ nodes {{ {below} }} }}");
        costs(&format!("{{ {} }}", below(&below("id"))), 11_202);
        refused(&format!("{{ {} }}", below(&below(&below("id")))), "points of cost", 1_120_202);
    }

    #[test]
    fn introspection_is_borne_once_but_not_in_circles() {
        costs("{ __schema { types { fields { type { ofType { name } } } } } }", 506);
        costs("{ __type(name: \"User\") { fields { type { fields { name } } } } }", 10_005);
        refused(
            "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }",
            "points of cost",
            200_008,
        );
    }

    #[test]
    fn there_is_so_much_of_everything() {
        let many = |count: usize, one: &dyn Fn(usize) -> String| -> String {
            (0..count).map(|index| one(index) + " ").collect()
        };
        let alias = |index: usize| format!("a{index}: id");
        costs(&format!("{{ me {{ {} }} }}", many(30, &alias)), 5);
        refused(&format!("{{ me {{ {} }} }}", many(31, &alias)), "aliases", 31);
        let half = many(16, &alias);
        let twice = format!("{{ me {{ ...A ...A }} }} fragment A on User {{ {half} }}");
        refused(&twice, "aliases", 32);
        costs(&format!("{{ {} }}", many(20, &|_| "__typename".to_owned())), 3);
        refused(&format!("{{ {} }}", many(21, &|_| "__typename".to_owned())), "root fields", 21);
        let directive = |_| "@a".to_owned();
        costs(&format!("{{ id {} }}", many(10, &directive)), 2);
        refused(&format!("query {} {{ id @a }}", many(10, &directive)), "directives", 11);
        let deep = |depth: usize| format!("{{ {} a {}", "a {".repeat(depth - 1), "}".repeat(depth));
        costs(&deep(15), 16);
        refused(&deep(16), "levels", 16);
        refused(&format!("{{ a {{ {} }} }}", "b ".repeat(10_000)), "selections", 10_001);
    }

    #[test]
    fn fragments_that_spread_each_other_are_too_much() {
        costs(&chain(4, "_ _", "a"), 3);
        costs(&chain(4, "__typename ...F9", "a"), 2);
        refused(&chain(40, "_ _", "a"), "selections", u32::MAX);
        // Without a single field.
        refused(&chain(40, "_ _", "...Nowhere"), "selections", u32::MAX);
        refused(&chain(20_000, "_", "a"), "selections", u32::MAX);
        costs("{ ...F } fragment F on Query { me { id } ...F }", 3);
        costs("{ ...Nowhere }", 1);
    }

    #[test]
    fn only_the_operation_that_runs_is_charged() {
        let document = "query A { me { id } } query B { contents(first: 100) { nodes { id } } }";
        let document = async_graphql::parser::parse_query(document).unwrap();
        let cost = |name| {
            let assessed = assess(&document, name, &Variables::default()).unwrap();
            assessed.map(|assessed| assessed.cost)
        };
        assert_eq!([cost(Some("A")), cost(Some("B"))], [Some(3), Some(112)]);
        assert_eq!([cost(Some("C")), cost(None)], [None, None]);
    }
}
