//! A page to try GraphQL in: three files that are part of the program. They ask for nothing from elsewhere,
//! so that the page works without the internet and shows nobody else what is typed into it.

use axum::http::HeaderValue;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{Html, IntoResponse};

const PAGE: &str = include_str!("explorer/explorer.html");
const SCRIPT: &str = include_str!("explorer/explorer.js");
const STYLE: &str = include_str!("explorer/explorer.css");

/// The two other files, and requests and sockets to where the page came from.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// `GET /graphiql`
pub async fn page() -> impl IntoResponse {
    ([(CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE))
}

/// `GET /graphiql/explorer.js`
pub async fn script() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT)
}

/// `GET /graphiql/explorer.css`
pub async fn style() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_from_elsewhere() {
        for (name, text) in [("html", PAGE), ("js", SCRIPT), ("css", STYLE)] {
            for elsewhere in ["http://", "https://", "//cdn", "@import", "url("] {
                assert!(!text.contains(elsewhere), "{name}: {elsewhere}");
            }
        }
        let sources = PAGE.split(['"', ' ', '>']).filter(|word| word.starts_with('/'));
        assert_eq!(
            sources.filter(|word| word.len() > 1).collect::<Vec<_>>(),
            ["/graphiql/explorer.css", "/graphiql/explorer.js"]
        );
    }

    #[test]
    fn the_policy_is_not_evaded() {
        assert!(!PAGE.contains("<style") && !PAGE.contains("style=") && !PAGE.contains("onclick"));
        // The only script is the one file.
        assert_eq!(PAGE.matches("<script").count(), PAGE.matches("></script>").count());
        for unsafe_way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "new Function"]
        {
            assert!(!SCRIPT.contains(unsafe_way), "{unsafe_way}");
        }
    }
}
