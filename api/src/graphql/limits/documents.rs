//! Documents that were parsed lately. Programs send the same few again and again, and to copy one that is
//! parsed takes a fraction of the time that it takes to parse it.

use std::num::NonZeroUsize;
use std::sync::{LazyLock, Mutex, PoisonError};

use async_graphql::parser::types::ExecutableDocument;
use async_graphql::{Request, ServerResult};
use lru::LruCache;

/// How many are kept, and how long their texts are at most: together they take some 20 MB at most.
// It is not zero.
const KEPT_MAX: NonZeroUsize = NonZeroUsize::new(256).unwrap();
const TEXT_MAX: usize = 4 << 10;

/// A document depends on nothing but its text.
static KEPT: LazyLock<Mutex<LruCache<String, ExecutableDocument>>> =
    LazyLock::new(|| Mutex::new(LruCache::new(KEPT_MAX)));

/// Sees to it that a request's document is parsed.
pub(super) fn parse(request: &mut Request) -> ServerResult<&ExecutableDocument> {
    if request.query.len() > TEXT_MAX {
        return request.parsed_query();
    }
    let known = kept().get(&request.query).cloned();
    if let Some(document) = known {
        request.set_parsed_query(document);
    } else {
        let document = request.parsed_query()?.clone();
        kept().put(request.query.clone(), document);
    }
    request.parsed_query()
}

fn kept() -> std::sync::MutexGuard<'static, LruCache<String, ExecutableDocument>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}
