//! Reads requests: from a body of JSON, or from the query part of an address.

use std::error::Error as _;

use async_graphql::parser::types::{ExecutableDocument, OperationDefinition, OperationType};
use async_graphql::{Error, Request};
use axum::body::Body;
use axum::extract::Query;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode, Uri};
use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::error::Elapsed;

use super::super::BODY_MAX;
use crate::graphql::error::{bad_input, coded};
use crate::graphql::limits::parsed;

/// The most requests of one batch.
const BATCH_MAX: usize = 10;

/// What is refused before anything of it is run.
#[derive(Debug)]
pub struct Refused {
    /// The status, whatever the client's media type.
    pub status: StatusCode,
    /// Why.
    pub error: Error,
}

impl Refused {
    /// The request is malformed.
    fn malformed(why: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error: bad_input(why) }
    }

    fn coded(status: StatusCode, why: &str, code: &'static str) -> Self {
        Self { status, error: coded(why, code) }
    }
}

/// One request, or several that are answered together.
pub enum Received {
    /// One.
    Single(Box<Request>),
    /// Several, each answered in its place.
    Batch(Vec<Request>),
}

/// Reads a body to its end, if it is not too long.
pub async fn body(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Refused> {
    let too_large = || {
        let why = format!("the body has more than {BODY_MAX} bytes");
        Refused::coded(StatusCode::PAYLOAD_TOO_LARGE, &why, "BAD_USER_INPUT")
    };
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if announced
        .and_then(|length| length.parse().ok())
        .is_some_and(|length: usize| length > BODY_MAX)
    {
        return Err(too_large());
    }
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| unread(&error))?;
        if bytes.len() + chunk.len() > BODY_MAX {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// A body whose end has not come.
fn unread(error: &axum::Error) -> Refused {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<Elapsed>() {
            let why = "the body took too long";
            return Refused::coded(StatusCode::REQUEST_TIMEOUT, why, "BAD_USER_INPUT");
        }
        cause = error.source();
    }
    Refused::malformed("the body has no end")
}

/// Reads what was posted.
pub fn posted(bytes: &[u8], batching: bool) -> Result<Received, Refused> {
    let not_json = |_| Refused::malformed("the body is not JSON in UTF-8");
    match serde_json::from_slice(bytes).map_err(not_json)? {
        Value::Object(parameters) => Ok(Received::Single(Box::new(request_of(parameters)?))),
        Value::Array(items) => batch_of(items, batching).map(Received::Batch),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Err(Refused::malformed("the body must be an object"))
        }
    }
}

fn batch_of(items: Vec<Value>, batching: bool) -> Result<Vec<Request>, Refused> {
    let refused = |why: &str, code| Err(Refused::coded(StatusCode::BAD_REQUEST, why, code));
    if !batching {
        return refused("this server takes no batches", "BATCHING_OFF");
    }
    if items.len() > BATCH_MAX {
        let why = format!("a batch has at most {BATCH_MAX} requests");
        return refused(&why, "BATCH_TOO_LARGE");
    }
    if items.is_empty() {
        return Err(Refused::malformed("the batch is empty"));
    }
    let request = |item| match item {
        Value::Object(parameters) => request_of(parameters),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(Refused::malformed("each request of a batch must be an object"))
        }
    };
    items.into_iter().map(request).collect()
}

/// Reads a request whose parameters have the types that they must have; null is as if not there.
fn request_of(mut parameters: Map<String, Value>) -> Result<Request, Refused> {
    let wrong = |name: &str, kind: &str| Err(Refused::malformed(format!("{name} must be {kind}")));
    parameters.retain(|_, value| !value.is_null());
    if !parameters.get("query").is_some_and(Value::is_string) {
        return wrong("query", "a string");
    }
    if !parameters.get("operationName").is_none_or(Value::is_string) {
        return wrong("operationName", "a string");
    }
    for name in ["variables", "extensions"] {
        if !parameters.get(name).is_none_or(Value::is_object) {
            return wrong(name, "an object");
        }
    }
    let request = serde_json::from_value::<Request>(Value::Object(parameters));
    // Such as a variable whose name is none.
    let mut request = request.map_err(|error| Refused::malformed(error.to_string()))?;
    request.operation_name = request.operation_name.filter(|name| !name.is_empty());
    Ok(request)
}

/// What the query part of an address may say.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    query: Option<String>,
    operation_name: Option<String>,
    variables: Option<String>,
    extensions: Option<String>,
}

/// Reads what was asked by an address.
pub fn asked(uri: &Uri) -> Result<Request, Refused> {
    let malformed = |_| Refused::malformed("the query part of the address cannot be read");
    let Query(asked) = Query::<Asked>::try_from_uri(uri).map_err(malformed)?;
    let mut parameters = Map::new();
    for (name, text) in [("query", asked.query), ("operationName", asked.operation_name)] {
        parameters.extend(text.map(|text| (name.to_owned(), Value::String(text))));
    }
    for (name, text) in [("variables", asked.variables), ("extensions", asked.extensions)] {
        let Some(text) = text else { continue };
        let not_json = |_| Refused::malformed(format!("{name} must be JSON"));
        parameters.insert(name.to_owned(), serde_json::from_str(&text).map_err(not_json)?);
    }
    request_of(parameters)
}

/// What kind of operation will run; nothing if that cannot be told, and execution will say why.
pub fn kind_of(request: &mut Request) -> Option<OperationType> {
    let wanted = request.operation_name.clone();
    let document = parsed(request).ok()?;
    chosen(document, wanted.as_deref()).map(|operation| operation.ty)
}

fn chosen<'a>(
    document: &'a ExecutableDocument,
    wanted: Option<&str>,
) -> Option<&'a OperationDefinition> {
    let mut operations = document.operations.iter();
    match wanted {
        Some(wanted) => {
            let (_, operation) =
                operations.find(|(name, _)| name.is_some_and(|name| name.as_str() == wanted))?;
            Some(&operation.node)
        }
        None => match (operations.next(), operations.next()) {
            (Some((_, operation)), None) => Some(&operation.node),
            (_, Some(_)) | (None, None) => None,
        },
    }
}

/// Refuses a request that leaves out a variable that must have a value. The library finds that only
/// when the variable is looked at, in the midst of the execution.
pub fn check_variables(request: &mut Request) -> Result<(), Error> {
    let wanted = request.operation_name.clone();
    let given = request.variables.clone();
    // What does not parse is refused by the execution.
    let Ok(document) = parsed(request) else { return Ok(()) };
    let Some(operation) = chosen(document, wanted.as_deref()) else { return Ok(()) };
    for variable in operation.variable_definitions.iter().map(|variable| &variable.node) {
        let (name, kind) = (&variable.name.node, &variable.var_type.node);
        let is_missing = match given.get(name) {
            None => variable.default_value.is_none(),
            Some(value) => *value == async_graphql::Value::Null,
        };
        if !kind.nullable && is_missing {
            return Err(bad_input(format!("the variable ${name} of type {kind} has no value")));
        }
    }
    Ok(())
}
