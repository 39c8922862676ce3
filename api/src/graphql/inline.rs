//! Objects whose plain fields are resolved in place.
//!
//! The library makes a boxed future of each field and sends it through every extension of the schema. Nearly
//! all fields of a row are there already, so that costs many times what the value does (ADR 16).

use std::borrow::Cow;
use std::future::poll_fn;
use std::ops::Deref;
use std::task::Poll;

use async_graphql::futures_util::future::{join_all, try_join_all};
use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{Field, Selection, SelectionSet};
use async_graphql::registry::Registry;
use async_graphql::{
    ContainerType, Context, ContextSelectionSet, Name, ObjectType, OutputType, Positioned,
    ServerResult, Value,
};

use tokio_util::sync::ReusableBoxFuture;

use super::found::Found;

/// An object of GraphQL, as its own fields `T` resolve it.
///
/// Fields are asked in turn, and what is known at once is taken at once. Those that must be waited for are waited for
/// together. Extensions do not see these fields; those of the root they do.
pub struct Inline<T>(pub T);

impl<T, R> From<Found<R>> for Inline<T>
where
    T: From<Found<R>>,
{
    fn from(found: Found<R>) -> Self {
        Self(T::from(found))
    }
}

impl<T> Deref for Inline<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ContainerType> ContainerType for Inline<T> {
    async fn resolve_field(&self, ctx: &Context<'_>) -> ServerResult<Option<Value>> {
        self.0.resolve_field(ctx).await
    }
}

impl<T: ObjectType> ObjectType for Inline<T> {}

impl<T: ContainerType> OutputType for Inline<T> {
    fn type_name() -> Cow<'static, str> {
        T::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        T::create_type_info(registry)
    }

    async fn resolve(
        &self,
        ctx: &ContextSelectionSet<'_>,
        field: &Positioned<Field>,
    ) -> ServerResult<Value> {
        let mut selected = IndexMap::with_capacity(ctx.item.node.items.len());
        if !flatten(ctx, &ctx.item.node, &Self::type_name(), &mut selected) {
            return self.0.resolve(ctx, field).await;
        }
        let (mut values, mut open) = (IndexMap::with_capacity(selected.len()), Vec::new());
        let mut put = |key: &Name, value| match value {
            Ok(value) => _ = values.insert(key.clone(), value),
            // As the library does: the field is left out, and what is in its place is decided at the end.
            Err(error) => {
                values.shift_remove(key);
                ctx.add_error(error);
            }
        };
        let mut free: Option<ReusableBoxFuture<'_, _>> = None;
        for (key, field) in selected {
            if field.node.name.node == "__typename" {
                put(key, Ok(Value::String(Self::type_name().into_owned())));
                continue;
            }
            let begun = resolved(&self.0, ctx, field);
            let mut next = match free.take() {
                Some(mut used) => {
                    used.set(begun);
                    used
                }
                None => ReusableBoxFuture::new(begun),
            };
            match poll_fn(|waking| Poll::Ready(next.poll(waking))).await {
                Poll::Ready(value) => {
                    put(key, value);
                    free = Some(next);
                }
                Poll::Pending => {
                    // Keeps its place.
                    put(key, Ok(Value::Null));
                    open.push(async move { (key, next.await) });
                }
            }
        }
        for (key, value) in join_all(open).await {
            put(key, value);
        }
        Ok(if values.is_empty() { Value::Null } else { Value::Object(values) })
    }
}

/// A list, the items of which no extension sees either.
pub struct Items<'a, T>(Vec<&'a T>);

impl<'a, T> FromIterator<&'a T> for Items<'a, T> {
    fn from_iter<I: IntoIterator<Item = &'a T>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}

impl<T: OutputType> OutputType for Items<'_, T> {
    fn type_name() -> Cow<'static, str> {
        Vec::<T>::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        Vec::<T>::create_type_info(registry)
    }

    async fn resolve(
        &self,
        ctx: &ContextSelectionSet<'_>,
        field: &Positioned<Field>,
    ) -> ServerResult<Value> {
        let items = self.0.iter().enumerate().map(async |(index, item)| {
            let ctx = ctx.with_index(index);
            item.resolve(&ctx, field).await.map_err(|error| ctx.set_error_path(error))
        });
        try_join_all(items).await.map(Value::List)
    }
}

/// The selected fields by their keys in the answer, those of fragments among them. False of what is rare and
/// is left to the library: keys to be merged, fragments on interfaces, directives of a schema's own.
fn flatten<'a>(
    ctx: &ContextSelectionSet<'a>,
    selected: &'a SelectionSet,
    type_name: &str,
    fields: &mut IndexMap<&'a Name, &'a Positioned<Field>>,
) -> bool {
    selected.items.iter().all(|selection| {
        let (condition, selected) = match &selection.node {
            Selection::Field(field) => {
                let key = &field.node.response_key().node;
                return field.node.directives.is_empty() && fields.insert(key, field).is_none();
            }
            Selection::InlineFragment(inline) => {
                (inline.node.type_condition.as_ref(), &inline.node.selection_set.node)
            }
            Selection::FragmentSpread(spread) => {
                let found = ctx.query_env.fragments.get(&spread.node.fragment_name.node);
                let Some(fragment) = found else { return false };
                (Some(&fragment.node.type_condition), &fragment.node.selection_set.node)
            }
        };
        condition.is_none_or(|on| on.node.on.node == type_name)
            && flatten(ctx, selected, type_name, fields)
    })
}

/// The value of a field. What this future is made of is not part of the one of the object around it, or the two might
/// contain each other.
fn resolved<'a, T: ContainerType>(
    object: &'a T,
    ctx: &ContextSelectionSet<'a>,
    field: &'a Positioned<Field>,
) -> impl Future<Output = ServerResult<Value>> + Send + 'a {
    let ctx = ctx.clone();
    async move {
        let value = object.resolve_field(&ctx.with_field(field)).await?;
        Ok(value.unwrap_or_default())
    }
}

#[cfg(test)]
#[expect(clippy::unused_async, reason = "resolvers are asynchronous")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_graphql::{
        EmptyMutation, EmptySubscription, Interface, Object, Result, Schema, SimpleObject,
    };

    use super::*;

    type Inlined = Inline<Leaf>;

    #[derive(SimpleObject)]
    struct Other {
        known: i32,
    }

    #[derive(Interface)]
    #[graphql(field(name = "known", ty = "&i32"))]
    enum Either {
        Leaf(Leaf),
        Other(Other),
    }

    struct Leaf {
        known: i32,
        items: Vec<Inlined>,
    }

    impl Leaf {
        fn new(known: i32) -> Self {
            let below = |known| Inline(Self { known, items: Vec::new() });
            Self { known, items: (0..3).map(below).collect() }
        }
    }

    #[Object]
    impl Leaf {
        async fn known(&self) -> &i32 {
            &self.known
        }

        async fn with(&self, argument: i32) -> i32 {
            self.known + argument
        }

        /// Not ready when it is asked first.
        async fn late(&self) -> i32 {
            tokio::task::yield_now().await;
            self.known
        }

        /// Says how often it was begun.
        async fn begun(&self, ctx: &Context<'_>) -> usize {
            let begun = ctx.data_unchecked::<AtomicUsize>().fetch_add(1, Ordering::Relaxed) + 1;
            tokio::task::yield_now().await;
            begun
        }

        async fn maybe(&self) -> Result<Option<i32>> {
            Err("no".into())
        }

        async fn sure(&self) -> Result<i32> {
            Err("no".into())
        }

        async fn below(&self) -> Option<Inlined> {
            tokio::task::yield_now().await;
            (self.known < 3).then(|| Inline(Leaf::new(self.known + 1)))
        }

        async fn all(&self) -> Vec<&Inlined> {
            self.items.iter().collect()
        }

        async fn items(&self) -> Items<'_, Inlined> {
            self.items.iter().collect()
        }

        async fn either(&self) -> Either {
            Either::Other(Other { known: 7 })
        }
    }

    struct Query;

    #[Object]
    impl Query {
        async fn library(&self) -> Option<Leaf> {
            Some(Leaf::new(1))
        }

        async fn inline(&self) -> Option<Inlined> {
            Some(Inline(Leaf::new(1)))
        }

        async fn either(&self) -> Either {
            Either::Leaf(Leaf::new(1))
        }
    }

    /// Both ways must answer alike, whatever is selected.
    #[tokio::test]
    async fn it_answers_as_the_library_does() {
        let schema = Schema::new(Query, EmptyMutation, EmptySubscription);
        for (selected, fragments) in [
            ("known late __typename with(argument: 2)", ""),
            ("b: known a: known late a2: with(argument: 1)", ""),
            ("below { known below { late below { known } } } known", ""),
            ("all { known maybe } late", ""),
            ("...F known", "fragment F on Leaf { late ...G } fragment G on Leaf { x: known }"),
            ("... on Leaf { known } ... { late }", ""),
            ("... on Either { known } late", ""),
            ("below { known } below { late } known known", ""),
            ("maybe known maybe", ""),
            ("maybe known sure", ""),
            ("known below { maybe sure }", ""),
            ("all { known sure } known", ""),
            ("known @skip(if: true) late @include(if: true)", ""),
            ("either { __typename known ... on Other { x: known } } with(argument: 3)", ""),
        ] {
            let asked = ["library", "inline"]
                .map(|field| format!("{{ answer: {field} {{ {selected} }} }} {fragments}"));
            assert_same(&schema, asked).await;
        }
        for selected in ["known late", "known maybe", "late sure", "below { late }", "...F"] {
            let fragment = if selected == "...F" { "fragment F on Leaf { known }" } else { "" };
            let asked = ["all", "items"].map(|field| {
                format!("{{ inline {{ answer: {field} {{ {selected} }} }} }} {fragment}")
            });
            assert_same(&schema, asked).await;
        }
    }

    #[tokio::test]
    async fn what_must_be_waited_for_is_begun_once() {
        let schema = Schema::build(Query, EmptyMutation, EmptySubscription)
            .data(AtomicUsize::default())
            .finish();
        let answer = schema.execute("{ inline { known a: begun late b: begun } }").await;
        let expected = async_graphql::value!({
            "inline": { "known": 1, "a": 1, "late": 1, "b": 2 }
        });
        assert_eq!(answer.data, expected);
    }

    async fn assert_same(
        schema: &Schema<Query, EmptyMutation, EmptySubscription>,
        asked: [String; 2],
    ) {
        let [by_library, inline] = asked.clone().map(async |query| {
            let response = schema.execute(query).await;
            // Which of two comes first is left open.
            let mut errors: Vec<_> =
                response.errors.into_iter().map(|error| (error.message, error.path)).collect();
            errors.sort_by_key(|(_, path)| format!("{path:?}"));
            (response.data, errors)
        });
        assert_eq!(inline.await, by_library.await, "{asked:?}");
    }
}
