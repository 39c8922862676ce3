//! Writes answers, and chooses their status.

use async_graphql::{Pos, Response, ServerError, Value};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::IntoResponse as _;
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::negotiate::Media;
use super::request::Refused;

/// What a client is told that has no token, or a bad one, by RFC 6750.
const BEARER: HeaderValue = HeaderValue::from_static("Bearer");

/// The answer to one request.
pub struct Answer {
    response: Response,
    /// False when the request was refused before its execution: then there are no data, not even null.
    has_begun: bool,
}

impl Answer {
    /// What the schema says. `has_begun` is false when the request was refused before its execution.
    pub fn new(response: Response, has_begun: bool) -> Self {
        Self { response, has_begun }
    }

    /// A request that was refused.
    fn refused(error: async_graphql::Error) -> Self {
        let error = error.into_server_error(Pos::default());
        // It is about no place in the document.
        let error = ServerError { locations: Vec::new(), ..error };
        Self { response: Response::from_errors(vec![error]), has_begun: false }
    }

    /// As JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| {
            tracing::error!(%error, "an answer cannot be written");
            r#"{"errors":[{"message":"something went wrong on our side","extensions":{"code":"INTERNAL"}}]}"#.to_owned()
        })
    }

    /// An answer over HTTP.
    pub fn into_response(mut self, media: Media) -> axum::response::Response {
        // Who takes only application/json is told by 200 that it was we who answered.
        let status = match media {
            Media::Json => StatusCode::OK,
            Media::GraphqlResponse | Media::EventStream => self.status(),
        };
        let headers = std::mem::take(&mut self.response.http_headers);
        written(status, media, headers, self.json())
    }

    /// 200 if the execution has begun, whatever became of its fields; else what fits the error.
    fn status(&self) -> StatusCode {
        if self.has_begun {
            return StatusCode::OK;
        }
        match self.response.errors.first().and_then(code) {
            Some("UNAUTHENTICATED") => StatusCode::UNAUTHORIZED,
            Some("FORBIDDEN") => StatusCode::FORBIDDEN,
            Some("RATE_LIMITED") => StatusCode::TOO_MANY_REQUESTS,
            Some("UNAVAILABLE") => StatusCode::SERVICE_UNAVAILABLE,
            Some("INTERNAL") => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Response { data, errors, extensions, .. } = &self.response;
        let mut map = serializer.serialize_map(None)?;
        if self.has_begun {
            map.serialize_entry("data", data)?;
        }
        if !errors.is_empty() {
            map.serialize_entry("errors", errors)?;
        }
        if !extensions.is_empty() {
            map.serialize_entry("extensions", extensions)?;
        }
        map.end()
    }
}

fn code(error: &ServerError) -> Option<&str> {
    let Value::String(code) = error.extensions.as_ref()?.get("code")? else { return None };
    Some(code)
}

/// The answers to a batch, each in its place.
pub fn batch(mut answers: Vec<Answer>, media: Media) -> axum::response::Response {
    let mut headers = HeaderMap::new();
    for answer in &mut answers {
        let wait = |headers: &HeaderMap| {
            headers
                .get(RETRY_AFTER)
                .and_then(|wait| wait.to_str().ok()?.parse().ok())
                .unwrap_or(0_u64)
        };
        // The longest wait is enough for all.
        if wait(&answer.response.http_headers) > wait(&headers) {
            headers = std::mem::take(&mut answer.response.http_headers);
        }
    }
    let items: Vec<_> = answers.iter().map(Answer::json).collect();
    written(StatusCode::OK, media, headers, format!("[{}]", items.join(",")))
}

impl Refused {
    /// A refusal over HTTP.
    pub fn into_response(self, media: Media) -> axum::response::Response {
        let answer = Answer::refused(self.error);
        written(self.status, media, HeaderMap::new(), answer.json())
    }
}

fn written(
    status: StatusCode,
    media: Media,
    headers: HeaderMap,
    body: String,
) -> axum::response::Response {
    // What is said instead of a stream is no stream.
    let media = if media == Media::EventStream { Media::GraphqlResponse } else { media };
    let mut response = (status, headers, body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media.content_type()));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, BEARER);
    }
    response
}
