//! How much of the log is read at a time.

use orion_domain::values::{Json, Score, Source, Topic};
use orion_domain::{Trend, TrendEvent};
use orion_store::{Commit, LogReader, Metadata, Position, RecordedEvent, StreamReader, ranges};
use serde_json::json;
use uuid::Uuid;

use crate::fixtures::{World, commit};

/// How many events have a document of nearly the largest size: 20 MB together.
const LARGE: usize = 80;

/// How many small ones surround each of them.
const SMALL: i64 = 8;

/// A page ends with the event that fills it.
const PAGE_BYTES_MAX: usize = (8 << 20) + Json::MAX_BYTES + 4_096;

#[tokio::test]
async fn large_events_are_read_a_few_at_a_time_and_each_once() {
    let world = World::new().await;
    for _ in 0..LARGE {
        let trend = Uuid::now_v7();
        let mut large = Commit::new(Metadata::new());
        large.append::<Trend>(trend, 0, &[detected()]).unwrap();
        world.log.append(large).await.unwrap();
        let small = commit(Uuid::now_v7(), Uuid::now_v7(), 0, SMALL);
        world.log.append(small).await.unwrap();
    }
    let head = world.log.head().await.unwrap();
    let mut connection = world.owner.acquire().await.unwrap();

    let mut reader = LogReader::new(Position(10), head);
    let mut pages = Vec::new();
    loop {
        let page = reader.next(&mut connection).await.unwrap();
        if page.is_empty() {
            break;
        }
        pages.push(page);
    }
    assert_bounded(&pages);
    let read: Vec<i64> = pages.iter().flatten().map(|event| event.position.0).collect();
    assert_eq!(read, (11..=head.0).collect::<Vec<_>>());

    let mut connection = StreamReader::connect(&world.owner).await.unwrap();
    for count in [1, 64] {
        let mut pages = Vec::new();
        for range in ranges(&world.owner, head, count).await.unwrap() {
            let mut reader = StreamReader::new(range);
            loop {
                let page = reader.next(&mut connection).await.unwrap();
                if page.is_empty() {
                    break;
                }
                pages.push(page);
            }
        }
        assert_bounded(&pages);
        let mut read: Vec<_> =
            pages.iter().flatten().map(|event| (event.aggregate_id, event.sequence)).collect();
        assert!(read.chunk_by(|a, b| a.0 == b.0).all(<[_]>::is_sorted));
        read.sort_unstable();
        read.dedup();
        assert_eq!(i64::try_from(read.len()).unwrap(), head.0);
    }
}

fn assert_bounded(pages: &[Vec<RecordedEvent>]) {
    assert!(pages.len() >= 3, "{} pages", pages.len());
    for page in pages {
        let bytes: usize = page.iter().map(|event| event.payload.len()).sum();
        assert!(bytes <= PAGE_BYTES_MAX, "{bytes} bytes at once");
    }
}

fn detected() -> TrendEvent {
    let raw_data = json!("x".repeat(Json::MAX_BYTES - 2));
    TrendEvent::Detected {
        topic: Topic::parse("Orion").unwrap(),
        source: Source::parse("test").unwrap(),
        score: Score::parse(0.5).unwrap(),
        raw_data: Some(Json::parse(raw_data, "rawData").unwrap()),
    }
}
