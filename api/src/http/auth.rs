//! Authentication for clients without GraphQL. Each route runs the mutation of the same name, so
//! that there is one way in; refusals are problem details (RFC 9457).

use async_graphql::{Request, Variables};
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use orion_commands::CommandError;
use serde_json::{Value, json};

use super::graphql::{auth_error, execute};
use super::{Sender, Shared, caller};
use crate::graphql::context::Caller;
use crate::graphql::error::failure;
use crate::graphql::limits::retry_after_ms;
use crate::graphql::{OfDone, request_of};
use crate::limits::{Exceeded, seconds};

/// What a client gets who has signed in.
const SIGNED_IN: &str = "accessToken expiresAt refreshToken position
    user { id email name role emailVerified }
    errors { code message field }";

/// `POST /api/v1/auth/register`: `email`, `password`, `name`.
pub async fn register(shared: State<Shared>, sender: Sender, body: Input) -> Response {
    let mutation = "mutation ($input: RegisterInput!) { answer: register(input: $input)";
    run(shared, sender, body, &format!("{mutation} {{ {SIGNED_IN} }} }}"), StatusCode::CREATED)
        .await
}

/// `POST /api/v1/auth/login`: `email`, `password`.
pub async fn login(shared: State<Shared>, sender: Sender, body: Input) -> Response {
    let mutation = "mutation ($input: LoginInput!) { answer: login(input: $input)";
    run(shared, sender, body, &format!("{mutation} {{ {SIGNED_IN} }} }}"), StatusCode::OK).await
}

/// `POST /api/v1/auth/refresh`: `refreshToken`.
pub async fn refresh(shared: State<Shared>, sender: Sender, body: Input) -> Response {
    let mutation =
        "mutation ($input: RefreshSessionInput!) { answer: refreshSession(input: $input)";
    run(shared, sender, body, &format!("{mutation} {{ {SIGNED_IN} }} }}"), StatusCode::OK).await
}

/// `POST /api/v1/auth/logout`: `refreshToken`, `everywhere`.
pub async fn logout(shared: State<Shared>, sender: Sender, body: Input) -> Response {
    let mutation = "mutation ($input: LogoutInput!) { answer: logout(input: $input)
        { position errors { code message field } } }";
    run(shared, sender, body, mutation, StatusCode::OK).await
}

/// `POST /api/v1/auth/verify-email`: `token`, from the link that was sent to the address.
pub async fn verify_email(shared: State<Shared>, sender: Sender, body: Input) -> Response {
    let mutation = "mutation ($input: VerifyEmailInput!) { answer: verifyEmail(input: $input)
        { position errors { code message field } } }";
    run(shared, sender, body, mutation, StatusCode::OK).await
}

/// `GET /api/v1/auth/me`: the user of the access token.
pub async fn me(shared: State<Shared>, sender: Sender) -> Response {
    let query = "{ answer: me { id email name username firstName lastName avatarUrl bio timezone
        role emailVerified isActive lastLoginAt createdAt } }";
    match answer(&shared, &sender, query, Value::Null).await {
        Ok(Value::Null) => problem("UNAUTHENTICATED", "sign in first", None),
        Ok(user) => Json(user).into_response(),
        Err(problem) => problem,
    }
}

type Input = Result<Json<Value>, JsonRejection>;

async fn run(
    State(shared): State<Shared>,
    sender: Sender,
    body: Input,
    mutation: &str,
    done: StatusCode,
) -> Response {
    let input = match body {
        Ok(Json(input)) => input,
        Err(rejection) => {
            let is_json = !matches!(rejection, JsonRejection::MissingJsonContentType(_));
            let status =
                if is_json { StatusCode::BAD_REQUEST } else { StatusCode::UNSUPPORTED_MEDIA_TYPE };
            return details(status, "BAD_USER_INPUT", &rejection.body_text(), None);
        }
    };
    let mut answer = match answer(&shared, &sender, mutation, json!({ "input": input })).await {
        Ok(answer) => answer,
        Err(problem) => return problem,
    };
    let errors = answer.as_object_mut().and_then(|fields| fields.remove("errors"));
    match errors.as_ref().and_then(|errors| errors.get(0)) {
        None => (done, Json(answer)).into_response(),
        Some(error) => {
            let text = |key: &str| error.get(key).and_then(Value::as_str);
            problem(
                text("code").unwrap_or_default(),
                text("message").unwrap_or_default(),
                text("field"),
            )
        }
    }
}

/// The value of the field `answer`, or the failure as problem details.
async fn answer(
    shared: &Shared,
    sender: &Sender,
    operation: &str,
    variables: Value,
) -> Result<Value, Response> {
    let caller = caller(&shared.app, sender).await.map_err(|error| failed(&auth_error(error)))?;
    let request = Request::new(operation).variables(Variables::from_json(variables));
    answer_of(execute(shared, caller, request)).await
}

async fn answer_of(
    answered: impl Future<Output = async_graphql::Response>,
) -> Result<Value, Response> {
    let response = answered.await;
    if let Some(error) = response.errors.into_iter().next() {
        let error = async_graphql::Error {
            message: error.message,
            source: None,
            extensions: error.extensions,
        };
        return Err(failed(&error));
    }
    let mut data = response.data.into_json().unwrap_or_default();
    Ok(data.get_mut("answer").map(Value::take).unwrap_or_default())
}

/// The fields of a user, as that user sees them; null where they cannot be read, or the tables do not have the user yet.
/// It shows what was done, so it does not stand in the lines of requests, and nobody pays for it.
pub(super) async fn me_as(shared: &Shared, caller: Caller, fields: &str) -> Value {
    let request = Request::new(format!("{{ answer: me {{ {fields} }} }}")).data(OfDone);
    answer_of(shared.schema.execute(request_of(request, caller))).await.unwrap_or_default()
}

/// A command that was refused or has failed, as problem details.
pub(super) fn command_failed(error: CommandError) -> Response {
    match failure(error) {
        Ok(refusal) => problem(refusal.code, &refusal.message, refusal.field),
        Err(error) => failed(&error),
    }
}

pub(super) fn failed(error: &async_graphql::Error) -> Response {
    let code = error.extensions.as_ref().and_then(|extensions| match extensions.get("code") {
        Some(async_graphql::Value::String(code)) => Some(code.clone()),
        Some(_) | None => None,
    });
    match retry_after_ms(error.extensions.as_ref()) {
        Some(wait_ms) => limited(&error.message, wait_ms),
        None => problem(code.as_deref().unwrap_or("INTERNAL"), &error.message, None),
    }
}

/// For routes that ask for a budget themselves.
impl IntoResponse for Exceeded {
    fn into_response(self) -> Response {
        limited(&self.message(), self.wait_ms())
    }
}

fn limited(detail: &str, wait_ms: u64) -> Response {
    let more = [("retryAfterMs", wait_ms.into())];
    let problem = details(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", detail, more);
    ([(RETRY_AFTER, seconds(wait_ms))], problem).into_response()
}

/// Problem details with the status that fits the code.
pub(super) fn problem(code: &str, detail: &str, field: Option<&str>) -> Response {
    let status = match code {
        "BAD_USER_INPUT" | "OAUTH_STATE_INVALID" => StatusCode::BAD_REQUEST,
        "UNAUTHENTICATED"
        | "INVALID_CREDENTIALS"
        | "INVALID_REFRESH_TOKEN"
        | "REFRESH_TOKEN_EXPIRED"
        | "REFRESH_TOKEN_REUSED"
        | "SESSION_REVOKED" => StatusCode::UNAUTHORIZED,
        "FORBIDDEN" | "USER_INACTIVE" | "OAUTH_DENIED" | "EMAIL_NOT_VERIFIED" => {
            StatusCode::FORBIDDEN
        }
        "NOT_FOUND" => StatusCode::NOT_FOUND,
        "EMAIL_TAKEN" | "ALREADY_VERIFIED" | "OAUTH_ACCOUNT_TAKEN" | "ALREADY_LINKED" => {
            StatusCode::CONFLICT
        }
        "OAUTH_FAILED" => StatusCode::BAD_GATEWAY,
        "INTERNAL" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    details(status, code, detail, field.map(|field| ("field", field.into())))
}

fn details(
    status: StatusCode,
    code: &str,
    detail: &str,
    more: impl IntoIterator<Item = (&'static str, Value)>,
) -> Response {
    let mut body = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": detail,
        "code": code,
    });
    for (name, value) in more {
        body[name] = value;
    }
    (status, [(CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}
