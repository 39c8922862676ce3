//! The smallest append that there is.

use orion_domain::values::{Score, Source, Topic};
use orion_domain::{Trend, TrendEvent};
use uuid::Uuid;

use super::super::or_panic;
use crate::commit::{Appended, Commit};
use crate::log::Log;
use crate::record::Metadata;

/// Appends a new stream with one event of about 350 bytes.
///
/// # Panics
/// When it is refused.
pub async fn append_one(log: &Log) -> Appended {
    let event = TrendEvent::Detected {
        topic: or_panic("a topic", Topic::parse(&"a trending topic ".repeat(12))),
        source: or_panic("a source", Source::parse("rss")),
        score: or_panic("a score", Score::parse(0.87)),
        raw_data: None,
    };
    let metadata = Metadata::from([("command_id".to_owned(), Uuid::now_v7().to_string())]);
    let mut commit = Commit::new(metadata);
    or_panic("a commit", commit.append::<Trend>(Uuid::now_v7(), 0, &[event]));
    or_panic("appending", log.append(commit).await)
}
