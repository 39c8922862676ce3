//! Which pages of other sites may talk to this server from a browser: none, unless it is said.
//!
//! Nothing here keeps a stranger's page from harm by itself: there are no cookies, so a page has no
//! rights that it does not bring along. It is a second door.

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use tower_http::cors::CorsLayer;

use super::sender::X_REQUEST_ID;

/// The origins of other sites that may.
#[derive(Clone, Debug, Default)]
pub struct Origins(Vec<HeaderValue>);

impl Origins {
    /// Reads exact origins, separated by commas.
    pub fn parse(text: &str) -> Result<Self, String> {
        let origins = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        let parse = |item: &str| {
            origin(item)
                .ok_or_else(|| format!("{item:?} is not an origin such as https://app.example.org"))
        };
        origins.map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Answers browsers that ask what they may; without origins nothing is answered.
    pub fn cors(&self) -> Option<CorsLayer> {
        let headers =
            [AUTHORIZATION, CONTENT_TYPE, HeaderName::from_static("traceparent"), X_REQUEST_ID];
        let cors = CorsLayer::new()
            .allow_origin(self.0.clone())
            .allow_methods([Method::GET, Method::POST])
            .allow_headers(headers)
            .expose_headers([RETRY_AFTER, X_REQUEST_ID]);
        (!self.0.is_empty()).then_some(cors)
    }

    /// False for a page of another site that is not named. Browsers always say where a WebSocket comes
    /// from, and ask nobody before; other programs say nothing.
    pub fn admit(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(ORIGIN) else { return true };
        let authority = origin.to_str().ok().and_then(|text| text.split_once("://"));
        let is_own = match (authority, headers.get(HOST)) {
            (Some((_, authority)), Some(host)) => {
                authority.as_bytes().eq_ignore_ascii_case(host.as_bytes())
            }
            (None, _) | (_, None) => false,
        };
        is_own || self.0.contains(origin)
    }
}

/// Scheme and authority in the form in which browsers send them, and nothing else.
fn origin(item: &str) -> Option<HeaderValue> {
    let item = item.to_lowercase();
    let uri: Uri = item.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?.as_str());
    let is_web = ["http", "https"].contains(&scheme) && !authority.contains(['@', '*']);
    (is_web && item == format!("{scheme}://{authority}")).then(|| item.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_exact() {
        assert!(Origins::parse("").unwrap().0.is_empty());
        let two = Origins::parse("https://App.example.org, http://localhost:3000").unwrap();
        assert_eq!(two.0, ["https://app.example.org", "http://localhost:3000"]);
        for bad in [
            "*",
            "null",
            "app.example.org",
            "https://app.example.org/",
            "https://app.example.org/path",
            "https://*.example.org",
            "https://ada@example.org",
            "ftp://example.org",
        ] {
            assert!(Origins::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_socket_is_for_this_site_and_those_that_are_named() {
        let origins = Origins::parse("https://app.example.org").unwrap();
        let admits = |origin: &'static str| {
            let headers = [(HOST, "orion.example.org:8000"), (ORIGIN, origin)];
            let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
            origins.admit(&HeaderMap::from_iter(headers))
        };
        assert!(admits("https://app.example.org"));
        assert!(admits("http://orion.example.org:8000"));
        for stranger in ["https://evil.example.org", "null", "https://orion.example.org", ""] {
            assert!(!admits(stranger), "{stranger}");
        }
        assert!(origins.admit(&HeaderMap::new()));
    }
}
