//! What an operation selects, fragments spread, before any of it is resolved.

use std::collections::{BTreeMap, HashMap};

use async_graphql::parser::types::{
    Field, FragmentDefinition, OperationDefinition, Selection, SelectionSet,
};
use async_graphql::{Context, Name, Positioned, Value, Variables};

/// What is answered without the tables beside the one field that shows a row: in payloads, and in what
/// subscriptions say.
const WITHOUT_TABLES: [&str; 6] =
    ["__typename", "position", "projected", "errors", "eventType", "recordedAt"];

/// An operation with what its selections refer to. Its document is valid: fragments do not spread
/// themselves, and fields that are skipped are gone.
#[derive(Clone, Copy)]
pub struct Document<'a> {
    /// The fragments by their names.
    pub fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    /// The operation.
    pub operation: &'a OperationDefinition,
    /// The values of its variables.
    pub variables: &'a Variables,
}

impl<'a> Document<'a> {
    /// What is executed.
    pub fn of(ctx: &Context<'a>) -> Self {
        let env = ctx.query_env;
        Self {
            fragments: &env.fragments,
            operation: &env.operation.node,
            variables: &env.variables,
        }
    }

    /// The fields of the operation itself.
    pub fn root_fields(&self) -> Vec<&'a Field> {
        let mut fields = Vec::new();
        self.spread(&self.operation.selection_set.node, &mut fields);
        fields
    }

    /// The fields below some fields that are answered as one.
    pub fn below(&self, parents: &[&'a Field]) -> Vec<&'a Field> {
        let mut fields = Vec::new();
        for parent in parents {
            self.spread(&parent.selection_set.node, &mut fields);
        }
        fields
    }

    /// True when nothing of the operation but this field, or what is below it, reads the tables.
    pub fn reads_only(&self, field: &Field) -> bool {
        let mut fields = self.root_fields();
        while let [only] = fields[..] {
            if std::ptr::eq(only, field) {
                return true;
            }
            fields = self.below(&[only]);
            fields.retain(|field| !WITHOUT_TABLES.contains(&field.name.node.as_str()));
        }
        false
    }

    /// The arguments that a field has a value for.
    pub fn arguments(&self, field: &Field) -> BTreeMap<Name, Value> {
        let given = field.arguments.iter().filter_map(|(name, value)| {
            // A variable without a value is as good as null: it can only stand where null can.
            let value = value.node.clone().into_const_with(|name| {
                Ok::<_, std::convert::Infallible>(self.variable(&name).unwrap_or_default())
            });
            let Ok(value) = value;
            Some((name.node.clone(), value)).filter(|(_, value)| *value != Value::Null)
        });
        given.collect()
    }

    fn variable(&self, name: &Name) -> Option<Value> {
        let mut definitions = self.operation.variable_definitions.iter();
        let definition = definitions.find(|definition| definition.node.name.node == *name)?;
        self.variables.get(name).or_else(|| definition.node.default_value()).cloned()
    }

    fn spread(&self, selected: &'a SelectionSet, fields: &mut Vec<&'a Field>) {
        for item in &selected.items {
            match &item.node {
                Selection::Field(field) => fields.push(&field.node),
                Selection::InlineFragment(inline) => {
                    self.spread(&inline.node.selection_set.node, fields);
                }
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = self.fragments.get(&spread.node.fragment_name.node) {
                        self.spread(&fragment.node.selection_set.node, fields);
                    }
                }
            }
        }
    }
}

/// The name of a field in the answer.
pub fn response_key(field: &Field) -> &str {
    field.alias.as_ref().unwrap_or(&field.name).node.as_str()
}
