//! The schema as the program has it, to ask it what it takes.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use async_graphql::parser::types::{
    BaseType, FieldDefinition, InputValueDefinition, Type, TypeKind, TypeSystemDefinition,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// What a type is made of, as far as tests ask.
pub struct TypeOf {
    /// What it is for.
    pub description: Option<String>,
    /// Its shape.
    pub kind: TypeKind,
}

/// All types that the schema defines, by name.
pub static TYPES: LazyLock<BTreeMap<String, TypeOf>> = LazyLock::new(|| {
    let document = async_graphql::parser::parse_schema(orion_api::graphql::sdl()).unwrap();
    let types = document.definitions.into_iter().filter_map(|definition| {
        let TypeSystemDefinition::Type(definition) = definition else { return None };
        let definition = definition.node;
        let description = definition.description.map(|text| text.node);
        Some((definition.name.node.to_string(), TypeOf { description, kind: definition.kind }))
    });
    types.collect()
});

/// The fields of an object or interface.
pub fn fields(name: &str) -> Vec<&'static FieldDefinition> {
    match &TYPES[name].kind {
        TypeKind::Object(object) => object.fields.iter().map(|field| &field.node).collect(),
        TypeKind::Interface(interface) => {
            interface.fields.iter().map(|field| &field.node).collect()
        }
        TypeKind::Scalar | TypeKind::Union(_) | TypeKind::Enum(_) | TypeKind::InputObject(_) => {
            vec![]
        }
    }
}

/// The names of the fields of an object.
pub fn field_names(name: &str) -> Vec<&'static str> {
    fields(name).iter().map(|field| field.name.node.as_str()).collect()
}

/// One field of an object.
pub fn field(of: &str, name: &str) -> &'static FieldDefinition {
    let found = fields(of).into_iter().find(|field| field.name.node == name);
    found.unwrap_or_else(|| panic!("{of} has no field {name}"))
}

/// The type of the input that a mutation takes.
pub fn input_of(mutation: &str) -> &'static str {
    let arguments = &field("Mutation", mutation).arguments;
    let input = arguments.iter().find(|argument| argument.node.name.node == "input");
    named(&input.expect("every mutation takes one input").node.ty.node.base)
}

/// An operation that asks for one field with as little as it takes, and its variables.
pub fn minimal(root: &str, name: &str) -> (String, Value) {
    let field = field(root, name);
    let required: Vec<_> =
        field.arguments.iter().map(|argument| &argument.node).filter(needed).collect();
    let list = |each: fn(&InputValueDefinition) -> String| {
        required.iter().map(|argument| each(argument)).collect::<Vec<_>>().join(" ")
    };
    let declared = list(|argument| format!("${}: {}", argument.name.node, argument.ty.node));
    let passed = list(|argument| format!("{0}: ${0}", argument.name.node));
    let variables: Map<_, _> = required
        .iter()
        .map(|argument| (argument.name.node.to_string(), value_of(&argument.ty.node)))
        .collect();
    let in_parentheses =
        |inner: &str| if inner.is_empty() { String::new() } else { format!("({inner})") };
    let selection = if fields_or_none(named(&field.ty.node.base)) { "{ __typename }" } else { "" };
    let operation = format!(
        "{} {} {{ {name}{} {selection} }}",
        root.to_lowercase(),
        in_parentheses(&declared),
        in_parentheses(&passed)
    );
    (operation, variables.into())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as a filter passes it")]
fn needed(argument: &&InputValueDefinition) -> bool {
    !argument.ty.node.nullable && argument.default_value.is_none()
}

fn fields_or_none(name: &str) -> bool {
    TYPES.contains_key(name) && !fields(name).is_empty()
}

/// The name of a type below its lists.
pub fn named(base: &BaseType) -> &str {
    match base {
        BaseType::Named(name) => name.as_str(),
        BaseType::List(inner) => named(&inner.base),
    }
}

/// A value that the type accepts.
fn value_of(of: &Type) -> Value {
    let name = match &of.base {
        BaseType::List(inner) => return json!([value_of(inner)]),
        BaseType::Named(name) => name.as_str(),
    };
    match name {
        "ID" => json!(Uuid::new_v4()),
        "String" => json!("x"),
        "Int" => json!(1),
        "Float" => json!(0.5),
        "Boolean" => json!(true),
        "JSON" => json!({}),
        "Position" => json!("0"),
        _ => match &TYPES[name].kind {
            TypeKind::Enum(labels) => json!(labels.values[0].node.value.node.as_str()),
            TypeKind::InputObject(input) => {
                let fields = input.fields.iter().map(|field| &field.node).filter(needed);
                fields
                    .map(|field| (field.name.node.to_string(), value_of(&field.ty.node)))
                    .collect::<Map<_, _>>()
                    .into()
            }
            TypeKind::Scalar
            | TypeKind::Object(_)
            | TypeKind::Interface(_)
            | TypeKind::Union(_) => {
                panic!("no minimal value of {name} is known")
            }
        },
    }
}

/// True when the input of a mutation has a field.
pub fn takes(mutation: &str, field: &str) -> bool {
    let TypeKind::InputObject(input) = &TYPES[input_of(mutation)].kind else { return false };
    input.fields.iter().any(|other| other.node.name.node == field)
}
