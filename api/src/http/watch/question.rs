//! What a client watches, and which clients watch the same.

use async_graphql::parser::types::{
    ExecutableDocument, Field, OperationDefinition, Selection, SelectionSet,
};
use async_graphql::{Name, Request, Variables};
use orion_commands::Actor;
use orion_commands::policy::{Action, Area, Reach, allow, reach};

use crate::graphql::limits::parsed;

/// The argument that says where a client begins; everything else is the same for all who share.
const AFTER: &str = "after";

/// A subscription as a client asks for it; it can be asked several times.
#[derive(Clone, Debug)]
pub struct Question {
    query: String,
    operation_name: Option<String>,
    variables: Variables,
    /// What was parsed once, and is not parsed again.
    document: Option<ExecutableDocument>,
}

/// What clients have in common who are told the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    query: String,
    operation_name: Option<String>,
    variables: String,
    sight: Sight,
}

/// How far a client sees, as far as that makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Sight {
    /// All who may ask see the same.
    Same,
    /// As far as this one. Sessions of one user may be shown different things: whether one is the
    /// session that asks.
    Of(Actor),
}

impl Question {
    /// What a request asks; nothing if it has extensions, whose answers are for one client only.
    pub fn of(mut request: Request) -> Result<Self, Box<Request>> {
        if !request.extensions.is_empty() {
            return Err(Box::new(request));
        }
        // What does not parse is refused when it is executed.
        let document = parsed(&mut request).ok().cloned();
        let Request { query, operation_name, variables, .. } = request;
        Ok(Self { query, operation_name, variables, document })
    }

    /// To be asked once.
    pub fn request(&self) -> Request {
        let request = Request::new(self.query.clone()).variables(self.variables.clone());
        let mut request = match &self.operation_name {
            Some(name) => request.operation_name(name.clone()),
            None => request,
        };
        if let Some(document) = &self.document {
            request.set_parsed_query(document.clone());
        }
        request
    }

    /// What it has in common with the questions of others; asked only of what was found valid.
    pub fn key(&self, actor: &Actor) -> Option<Key> {
        let document = self.document.as_ref()?;
        let root = root(chosen(document, self.operation_name.as_deref())?)?;
        let mut variables = self.variables.clone();
        let after = root.get_argument(AFTER).map(|value| value.node.to_string());
        if let Some(name) = after.as_deref().and_then(|after| after.strip_prefix('$'))
            && uses(&self.query, name) == 2
        {
            // Its definition and its use: it says where to begin, and nothing else.
            variables.remove(&Name::new(name));
        }
        let is_same = is_told_to_all(document, root, actor);
        let sight = if is_same { Sight::Same } else { Sight::Of(*actor) };
        Some(Key {
            query: self.query.clone(),
            operation_name: self.operation_name.clone(),
            variables: serde_json::to_string(&variables).ok()?,
            sight,
        })
    }
}

fn chosen<'a>(
    document: &'a ExecutableDocument,
    wanted: Option<&str>,
) -> Option<&'a OperationDefinition> {
    let mut operations = document.operations.iter();
    let is_it = |name: Option<&Name>| wanted.is_none() || name.map(Name::as_str) == wanted;
    operations.find(|(name, _)| is_it(*name)).map(|(_, operation)| &operation.node)
}

/// The one field that is watched.
fn root(operation: &OperationDefinition) -> Option<&Field> {
    match operation.selection_set.node.items.as_slice() {
        [item] => match &item.node {
            Selection::Field(field) => Some(&field.node),
            Selection::FragmentSpread(_) | Selection::InlineFragment(_) => None,
        },
        _ => None,
    }
}

/// How often a text names a variable.
fn uses(query: &str, variable: &str) -> usize {
    let named = format!("${variable}");
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    query.match_indices(&named).filter(|(at, _)| ends(&query[at + named.len()..])).count()
}

/// True when nothing is selected that belongs to anybody, by somebody to whom nothing of it is hidden:
/// events as those see them who may audit, and what trends say of themselves. One object down, all other
/// relations lead to what has owners.
fn is_told_to_all(document: &ExecutableDocument, root: &Field, actor: &Actor) -> bool {
    let set = &root.selection_set.node;
    match root.name.node.as_str() {
        "events" => allow(actor, Action::Audit).is_ok() && has_only_leaves(document, set, None),
        "trendChanged" => {
            reach(actor, Area::Trends) == Reach::All
                && has_only_leaves(document, set, Some("trend"))
        }
        _ => false,
    }
}

fn has_only_leaves(
    document: &ExecutableDocument,
    set: &SelectionSet,
    but_for: Option<&str>,
) -> bool {
    set.items.iter().all(|item| match &item.node {
        Selection::Field(field) => {
            let (name, inner) = (field.node.name.node.as_str(), &field.node.selection_set.node);
            let is_excepted = || Some(name) == but_for && has_only_leaves(document, inner, None);
            inner.items.is_empty() || is_excepted()
        }
        Selection::FragmentSpread(spread) => {
            document.fragments.get(&spread.node.fragment_name.node).is_some_and(|found| {
                has_only_leaves(document, &found.node.selection_set.node, but_for)
            })
        }
        Selection::InlineFragment(inline) => {
            has_only_leaves(document, &inline.node.selection_set.node, but_for)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use orion_domain::values::{Role, SessionId, UserId};
    use serde_json::{Value as Json, json};
    use uuid::Uuid;

    fn user(id: u128, role: Role, session: u128) -> Actor {
        let session_id = SessionId(Uuid::from_u128(session));
        Actor::User { id: UserId(Uuid::from_u128(id)), role, session_id }
    }

    fn key(query: &str, variables: Json, actor: &Actor) -> Key {
        let request = Request::new(query).variables(Variables::from_json(variables));
        Question::of(request).unwrap().key(actor).unwrap()
    }

    #[test]
    fn where_a_client_begins_makes_no_difference() {
        let vera = user(1, Role::Viewer, 1);
        let query =
            "subscription ($after: Position) { contentChanged(after: $after) { position } }";
        let at = |after: Json| key(query, json!({ "after": after }), &vera);
        assert_eq!(at(json!("1")), at(json!("2")));
        let twice = "subscription ($after: Position, $afterwards: Position) {
            contentChanged(after: $after) { position content { a(b: $after) c(d: $afterwards) } } }";
        let at = |after: Json| key(twice, json!({ "after": after }), &vera);
        assert_ne!(at(json!("1")), at(json!("2")), "it says something else, too");
    }

    #[test]
    fn what_is_asked_makes_a_difference() {
        let vera = user(1, Role::Viewer, 1);
        let query = "subscription ($id: ID) { contentChanged(id: $id) { position } }";
        let of = |id: &str| key(query, json!({ "id": id }), &vera);
        assert_eq!(of("1"), of("1"));
        assert_ne!(of("1"), of("2"));
    }

    #[test]
    fn those_share_who_see_the_same() {
        let (vera, again) = (user(1, Role::Viewer, 1), user(1, Role::Viewer, 2));
        let (otto, admin) = (user(2, Role::Editor, 3), user(1, Role::Admin, 1));
        let other_admin = user(4, Role::Admin, 4);
        let same = |query: &str, one: &Actor, other: &Actor| {
            key(query, json!({}), one) == key(query, json!({}), other)
        };
        let contents = "subscription { contentChanged { content { id } } }";
        assert!(same(contents, &vera, &vera));
        let sessions = "subscription { contentChanged { content { createdBy { sessions {
            nodes { current } } } } } }";
        assert!(!same(sessions, &vera, &again), "each session is told that it is the one");
        assert!(!same(contents, &vera, &otto));
        assert!(!same(contents, &vera, &admin), "another role sees more");
        for told_to_all in [
            "subscription { trendChanged { position trend { id topic } } }",
            "subscription { trendChanged { ...c } } fragment c on TrendChange { trend { ...t } }
             fragment t on Trend { ... on Trend { topic } }",
        ] {
            assert!(same(told_to_all, &vera, &otto), "{told_to_all}");
        }
        for own in [
            "subscription { trendChanged { trend { contents { nodes { id } } } } }",
            "subscription { trendChanged { trend { ...t } } }
             fragment t on Trend { contents { nodes { id } } }",
            "subscription { notificationReceived { position } }",
        ] {
            assert!(!same(own, &vera, &otto), "{own}");
        }
        let events = "subscription { events(after: \"1\") { position payload } }";
        assert!(same(events, &admin, &other_admin));
        assert!(!same(events, &vera, &otto), "who may not audit is refused alone");
        let nobody = key("subscription { events { position } }", json!({}), &Actor::Anonymous);
        assert_ne!(nobody, key("subscription { events { position } }", json!({}), &vera));
    }
}
