//! Decisions about trends.

use orion_domain::values::{Score, TrendStatus};
use orion_domain::{AggregateRoot, Trend, TrendCommand, TrendError, TrendEvent};
use serde_json::json;

use crate::fixtures::{detected, json, score, source, topic};
use crate::given::{codes, fold, given};

fn detect() -> TrendCommand {
    TrendCommand::Detect {
        topic: topic("Analytical engines"),
        source: source("rss"),
        score: score(0.5),
        raw_data: None,
    }
}

fn rescore(score: Score) -> TrendCommand {
    TrendCommand::Rescore { score }
}

#[test]
fn a_topic_is_detected() {
    given::<Trend>([]).when(detect()).emits([detected()]);
}

#[test]
fn a_detection_keeps_all_that_the_source_said() {
    let raw_data = Some(json(json!({"rank": 3})));
    given::<Trend>([])
        .when(TrendCommand::Detect {
            topic: topic("Looms"),
            source: source("google"),
            score: score(1.0),
            raw_data: raw_data.clone(),
        })
        .emits([TrendEvent::Detected {
            topic: topic("Looms"),
            source: source("google"),
            score: score(1.0),
            raw_data,
        }]);
}

#[test]
fn a_trend_is_detected_once() {
    given::<Trend>([detected()]).when(detect()).rejects(TrendError::AlreadyExists);
}

#[test]
fn what_was_not_detected_is_not_found() {
    for command in [rescore(score(0.1)), TrendCommand::Expire, TrendCommand::Archive] {
        given::<Trend>([]).when(command).rejects(TrendError::NotFound);
    }
}

#[test]
fn an_active_trend_is_rescored() {
    let rescored = TrendEvent::Rescored { score: score(0.9) };
    given::<Trend>([detected()]).when(rescore(score(0.9))).emits([rescored]);
}

#[test]
fn the_same_score_again_is_news_because_it_keeps_the_trend_alive() {
    let rescored = TrendEvent::Rescored { score: score(0.5) };
    given::<Trend>([detected()]).when(rescore(score(0.5))).emits([rescored]);
}

#[test]
fn an_active_trend_expires() {
    given::<Trend>([detected()]).when(TrendCommand::Expire).emits([TrendEvent::Expired {}]);
}

#[test]
fn only_an_active_trend_is_rescored_or_expires() {
    for (end, status) in [
        (TrendEvent::Expired {}, TrendStatus::Expired),
        (TrendEvent::Archived {}, TrendStatus::Archived),
    ] {
        for command in [rescore(score(0.9)), TrendCommand::Expire] {
            given::<Trend>([detected(), end.clone()])
                .when(command)
                .rejects(TrendError::NotActive { status });
        }
    }
}

#[test]
fn an_active_or_expired_trend_is_archived() {
    for history in [vec![detected()], vec![detected(), TrendEvent::Expired {}]] {
        given::<Trend>(history).when(TrendCommand::Archive).emits([TrendEvent::Archived {}]);
    }
}

#[test]
fn a_trend_is_archived_once() {
    given::<Trend>([detected(), TrendEvent::Archived {}])
        .when(TrendCommand::Archive)
        .rejects(TrendError::AlreadyArchived);
}

#[test]
fn the_status_follows_the_events() {
    let statuses = [
        (vec![], None),
        (vec![detected()], Some(TrendStatus::Active)),
        (vec![detected(), TrendEvent::Rescored { score: score(0.0) }], Some(TrendStatus::Active)),
        (vec![detected(), TrendEvent::Expired {}], Some(TrendStatus::Expired)),
        (vec![detected(), TrendEvent::Archived {}], Some(TrendStatus::Archived)),
    ];
    for (history, status) in statuses {
        assert_eq!(fold::<Trend>(history).status(), status);
    }
}

#[test]
fn a_trend_belongs_to_everyone_and_claims_nothing() {
    assert_eq!(fold::<Trend>([detected()]).owner(), None);
    assert_eq!(given::<Trend>([]).claims(&detected()), []);
}

#[test]
fn refusals_have_stable_codes() {
    codes([
        (TrendError::NotFound, "NOT_FOUND", None),
        (TrendError::AlreadyExists, "ALREADY_EXISTS", None),
        (TrendError::NotActive { status: TrendStatus::Expired }, "NOT_ACTIVE", None),
        (TrendError::AlreadyArchived, "ALREADY_ARCHIVED", None),
    ]);
}
