//! The page behind the link in a verification mail.
//!
//! Programs that look through mail open its links, so opening it changes nothing: a person presses
//! the button, and a script sends the token on. The page is the same for every token and never sees it
//! on this side.

use std::sync::LazyLock;

use axum::http::HeaderValue;
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::response::{Html, IntoResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};

const PAGE: &str = include_str!("verify_email.html");

/// Nothing but what is in the page itself, and requests to where it came from.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash_of("script"),
        hash_of("style")
    );
    // Base64 and the words above are ASCII; were they not, nothing at all would be allowed.
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// `GET /verify-email?token=…`
pub async fn page() -> impl IntoResponse {
    ([(CONTENT_SECURITY_POLICY, POLICY.clone())], Html(PAGE))
}

/// The hash by which a policy knows the one element of this name.
fn hash_of(element: &str) -> String {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let content = PAGE.split_once(&open).and_then(|(_, rest)| rest.split_once(&close));
    BASE64.encode(Sha256::digest(content.unwrap_or_default().0))
}
