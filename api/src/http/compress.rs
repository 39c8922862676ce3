//! Which answers are compressed.
//!
//! Compression lets who sees the length of encrypted answers, and can put text of their own into them,
//! guess the secrets beside it (BREACH). So only what says so itself is compressed: answers to GraphQL
//! queries, in which no token is ever shown. Answers to mutations are not, for some carry tokens, nor
//! are those of the routes for signing in. Nor are event streams: an event must not wait in a window
//! for the next one.

use axum::http::{Extensions, HeaderMap, StatusCode, Version};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{Predicate, SizeAbove};

/// Below this many bytes an answer fits into one packet anyway.
const WORTH_IT_BYTES: u16 = 1_024;

/// Marks an answer, in its extensions, that may be compressed.
#[derive(Clone, Copy, Debug)]
pub struct Compressible;

/// Compresses by gzip or brotli what is marked, and large enough.
pub fn layer() -> CompressionLayer<impl Predicate> {
    CompressionLayer::new().compress_when(SizeAbove::new(WORTH_IT_BYTES).and(is_marked))
}

fn is_marked(_: StatusCode, _: Version, _: &HeaderMap, extensions: &Extensions) -> bool {
    extensions.get::<Compressible>().is_some()
}
