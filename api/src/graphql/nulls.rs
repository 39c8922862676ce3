//! Puts null where a field has failed, as the specification has it: at the field if it may be null, else
//! at the nearest object or item around it that may be, else at the whole. The library leaves the field
//! out, which no client expects.

use std::sync::{Arc, OnceLock};

use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextExecute, NextParseQuery,
};
use async_graphql::indexmap::IndexMap;
use async_graphql::parser::parse_query;
use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Field, OperationType, Selection, SelectionSet,
};
use async_graphql::registry::Registry;
use async_graphql::{
    Name, PathSegment, Response, ServerError, ServerResult, Value, Variables, async_trait,
};

/// Corrects the answers in which a field has failed.
pub struct Nulls;

impl ExtensionFactory for Nulls {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Asked { query: OnceLock::new() })
    }
}

/// The query of one request: it is looked at again only if something fails.
struct Asked {
    query: OnceLock<String>,
}

#[async_trait::async_trait]
impl Extension for Asked {
    async fn parse_query(
        &self,
        ctx: &ExtensionContext<'_>,
        query: &str,
        variables: &Variables,
        next: NextParseQuery<'_>,
    ) -> ServerResult<ExecutableDocument> {
        self.query.get_or_init(|| query.to_owned());
        next.run(ctx, query, variables).await
    }

    async fn execute(
        &self,
        ctx: &ExtensionContext<'_>,
        operation_name: Option<&str>,
        next: NextExecute<'_>,
    ) -> Response {
        let mut response = next.run(ctx, operation_name).await;
        if !response.errors.is_empty()
            && let Some(query) = self.query.get()
            && let Ok(document) = parse_query(query)
        {
            let asked = Document { document: &document, registry: &ctx.schema_env.registry };
            asked.correct(operation_name, &mut response.data, &response.errors);
        }
        response
    }
}

/// What was asked, and by which types.
struct Document<'a> {
    document: &'a ExecutableDocument,
    registry: &'a Registry,
}

impl<'a> Document<'a> {
    fn correct(&self, operation_name: Option<&str>, data: &mut Value, errors: &[ServerError]) {
        let operation = match &self.document.operations {
            DocumentOperations::Single(operation) => Some(operation),
            DocumentOperations::Multiple(operations) => {
                operation_name.and_then(|name| operations.get(name))
            }
        };
        let Some(operation) = operation else { return };
        let root = match operation.node.ty {
            OperationType::Query => Some(&self.registry.query_type),
            OperationType::Mutation => self.registry.mutation_type.as_ref(),
            OperationType::Subscription => self.registry.subscription_type.as_ref(),
        };
        let Some(root) = root else { return };
        let selected = [&operation.node.selection_set.node];
        for error in errors {
            reopen(data, &error.path);
        }
        for error in errors.iter().filter(|error| !error.path.is_empty()) {
            self.settle(data, root, &selected, &error.path);
        }
    }

    /// Puts null at the end of a path, or as far above as it must be; true if it must be above this
    /// value, too.
    fn settle(
        &self,
        value: &mut Value,
        kind: &str,
        selected: &[&'a SelectionSet],
        path: &[PathSegment],
    ) -> bool {
        let nullable = kind.strip_suffix('!').unwrap_or(kind);
        match (path.split_first(), &mut *value) {
            (None, _) => *value = Value::Null,
            (Some((PathSegment::Index(index), rest)), Value::List(items)) => {
                let item = nullable.strip_prefix('[').and_then(|kind| kind.strip_suffix(']'));
                let item = item.unwrap_or(nullable);
                if items
                    .get_mut(*index)
                    .is_some_and(|found| self.settle(found, item, selected, rest))
                {
                    *value = Value::Null;
                }
            }
            (Some((PathSegment::Field(key), rest)), Value::Object(fields)) => {
                let Some((kind, selected)) = self.field(key, nullable, selected) else {
                    return false;
                };
                let field = fields.entry(Name::new(key)).or_insert(Value::Null);
                if self.settle(field, kind, &selected, rest) {
                    *value = Value::Null;
                }
            }
            // What is null already has failed for another reason as well.
            (Some(_), _) => {}
        }
        *value == Value::Null && nullable.len() < kind.len()
    }

    /// The type of a field by its key in the answer, and all that is selected of it.
    fn field(
        &self,
        key: &str,
        parent: &str,
        selected: &[&'a SelectionSet],
    ) -> Option<(&'a str, Vec<&'a SelectionSet>)> {
        let mut found = Vec::new();
        let mut spread = Vec::new();
        for set in selected {
            self.find(key, parent, set, &mut spread, &mut found);
        }
        let kind = found.iter().find_map(|(parent, field)| {
            let field = self.registry.types.get(parent)?.field_by_name(&field.name.node)?;
            Some(field.ty.as_str())
        })?;
        Some((kind, found.iter().map(|(_, field)| &field.selection_set.node).collect()))
    }

    fn find(
        &self,
        key: &str,
        parent: &str,
        set: &'a SelectionSet,
        spread: &mut Vec<&'a Name>,
        found: &mut Vec<(String, &'a Field)>,
    ) {
        for selection in &set.items {
            match &selection.node {
                Selection::Field(field) if field.node.response_key().node == key => {
                    found.push((parent.to_owned(), &field.node));
                }
                Selection::Field(_) => {}
                Selection::InlineFragment(inline) => {
                    let condition = inline.node.type_condition.as_ref();
                    let parent = condition.map_or(parent, |on| on.node.on.node.as_str());
                    self.find(key, parent, &inline.node.selection_set.node, spread, found);
                }
                Selection::FragmentSpread(named) => {
                    let name = &named.node.fragment_name.node;
                    let Some(fragment) = self.document.fragments.get(name) else { continue };
                    if spread.contains(&name) {
                        continue;
                    }
                    spread.push(name);
                    let parent = fragment.node.type_condition.node.on.node.as_str();
                    self.find(key, parent, &fragment.node.selection_set.node, spread, found);
                }
            }
        }
    }
}

/// Makes objects again of the nulls on the way to a field: the library makes null of an object all of
/// whose fields have failed.
fn reopen(value: &mut Value, path: &[PathSegment]) {
    let below = match (path.split_first(), value) {
        (Some((PathSegment::Field(key), rest)), value) => {
            if *value == Value::Null {
                *value = Value::Object(IndexMap::new());
            }
            let Value::Object(fields) = value else { return };
            fields.get_mut(key.as_str()).map(|field| (field, rest))
        }
        (Some((PathSegment::Index(index), rest)), Value::List(items)) => {
            items.get_mut(*index).map(|item| (item, rest))
        }
        (Some((PathSegment::Index(_), _)) | None, _) => None,
    };
    if let Some((value, path)) = below {
        reopen(value, path);
    }
}

#[cfg(test)]
#[expect(clippy::unused_async, reason = "resolvers are asynchronous")]
mod tests {
    use async_graphql::{
        EmptyMutation, EmptySubscription, MergedObject, Object, Result, Schema, value,
    };

    use super::*;

    struct Leaf(bool);

    #[Object]
    impl Leaf {
        async fn good(&self) -> i32 {
            1
        }

        async fn maybe(&self) -> Result<Option<i32>> {
            if self.0 { Err("no".into()) } else { Ok(Some(1)) }
        }

        async fn sure(&self) -> Result<i32> {
            if self.0 { Err("no".into()) } else { Ok(1) }
        }
    }

    #[derive(Default)]
    struct One;

    #[Object]
    impl One {
        async fn maybe(&self) -> Option<Leaf> {
            Some(Leaf(true))
        }

        async fn sure(&self) -> Leaf {
            Leaf(true)
        }

        async fn fails(&self) -> Result<Option<i32>> {
            Err("no".into())
        }
    }

    #[derive(Default)]
    struct Two;

    #[Object]
    impl Two {
        async fn strict(&self) -> Option<Vec<Leaf>> {
            Some(vec![Leaf(false), Leaf(true)])
        }

        async fn lax(&self) -> Vec<Option<Leaf>> {
            vec![Some(Leaf(false)), Some(Leaf(true))]
        }
    }

    #[derive(MergedObject, Default)]
    struct Both(One, Two);

    async fn data(query: &str) -> Value {
        let schema = Schema::build(Both::default(), EmptyMutation, EmptySubscription);
        schema.extension(Nulls).finish().execute(query).await.data
    }

    #[tokio::test]
    async fn what_has_failed_is_null_as_near_as_it_may_be() {
        for (query, expected) in [
            ("{ a: fails maybe { good } }", value!({ "a": null, "maybe": { "good": 1 } })),
            ("{ fails }", value!({ "fails": null })),
            ("{ maybe { maybe good } }", value!({ "maybe": { "good": 1, "maybe": null } })),
            ("{ maybe { sure good } }", value!({ "maybe": null })),
            ("{ maybe { ...F } } fragment F on Leaf { good sure }", value!({ "maybe": null })),
            ("{ maybe { good } maybe { ... on Leaf { sure } } }", value!({ "maybe": null })),
            ("{ sure { sure } maybe { good } }", value!(null)),
            (
                "{ strict { sure } maybe { good } }",
                value!({ "strict": null, "maybe": { "good": 1 } }),
            ),
            ("{ strict { maybe } }", value!({ "strict": [{ "maybe": 1 }, { "maybe": null }] })),
            ("{ lax { sure } }", value!({ "lax": [{ "sure": 1 }, null] })),
            (
                "{ lax { good maybe sure } }",
                value!({ "lax": [{ "good": 1, "maybe": 1, "sure": 1 }, null] }),
            ),
            (
                "{ sure { maybe } a: sure { a: maybe } }",
                value!({ "sure": { "maybe": null }, "a": { "a": null } }),
            ),
            ("query A { fails } query B { fails }", value!(null)),
        ] {
            assert_eq!(data(query).await, expected, "{query}");
        }
    }
}
