//! Documents that were parsed lately. Programs send the same few again and again, and to copy one that is
//! parsed takes a fraction of the time that it takes to parse it.
//!
//! One that holds a string is not kept: it may be a password, and it is hardly sent again.

use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use async_graphql::parser::types::ExecutableDocument;
use async_graphql::{Request, ServerResult};
use lru::LruCache;

/// How many are kept, and how long their texts are at most: together they take some 20 MB at most.
// It is not zero.
const KEPT_MAX: NonZeroUsize = NonZeroUsize::new(256).unwrap();
const TEXT_MAX: usize = 4 << 10;

/// A document depends on nothing but its text.
static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(|| Mutex::new(LruCache::new(KEPT_MAX)));

type Kept = LruCache<String, Arc<ExecutableDocument>>;

/// Sees to it that a request's document is parsed.
pub(super) fn parse(request: &mut Request) -> ServerResult<&ExecutableDocument> {
    if request.query.len() > TEXT_MAX || request.query.contains('"') {
        return request.parsed_query();
    }
    let known = kept().get(&request.query).cloned();
    if let Some(document) = known {
        // Copied while nobody waits for it.
        request.set_parsed_query(ExecutableDocument::clone(&document));
    } else {
        let document = Arc::new(request.parsed_query()?.clone());
        kept().put(request.query.clone(), document);
    }
    request.parsed_query()
}

fn kept() -> std::sync::MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_kept_after_parsing(text: &str) -> bool {
        for _ in 0..2 {
            parse(&mut Request::new(text)).unwrap();
        }
        kept().contains(text)
    }

    #[test]
    fn only_what_holds_no_text_of_the_client_is_kept() {
        assert!(is_kept_after_parsing("query ($id: ID!) { trend(id: $id) { id } }"));
        let password =
            r#"mutation { login(input: { email: "a@b.c", password: "secret" }) { expiresAt } }"#;
        assert!(!is_kept_after_parsing(password));
        let block = r#"mutation { login(input: { password: """secret""" }) { expiresAt } }"#;
        assert!(!is_kept_after_parsing(block));
    }
}
