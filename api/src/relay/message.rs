//! An event as a message: its subject, its headers, its body.
//!
//! The headers are those of `CloudEvents` in binary mode, with the names that `orion-replay export` gives to the same
//! things. The body is the payload, byte by byte as the log has it.

use async_nats::HeaderMap;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use chrono::SecondsFormat;
use orion_store::RecordedEvent;
use orion_store::transfer::{JSON, SOURCE, SPEC_VERSION};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// What `CloudEvents` has encoded in a header; and whatever is not ASCII.
const ENCODED: AsciiSet = CONTROLS.add(b' ').add(b'"').add(b'%');

/// The headers by which an event is known again. Others may come with a later version.
const TELLING: [&str; 4] = ["ce-id", "ce-subject", "ce-sequence", "ce-time"];

/// The subject of an event; none for a type that cannot be part of one, which no program of Orion has written.
pub fn subject(event: &RecordedEvent) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let is_token = |token: &str| !token.is_empty() && token.bytes().all(is_plain);
    let is_one = event.event_type.split('.').all(is_token);
    is_one.then(|| format!("orion.events.{}", event.event_type))
}

/// What is published of an event. JetStream takes it only right after the event before it.
pub fn message(event: &RecordedEvent) -> PublishMessage {
    let mut headers = HeaderMap::new();
    for (name, value) in attributes(event) {
        headers.insert(name, utf8_percent_encode(&value, &ENCODED).to_string());
    }
    let position = event.position.0.unsigned_abs();
    PublishMessage::build()
        .headers(headers)
        .payload(event.payload.clone().into())
        .message_id(position.to_string())
        .expected_last_sequence(position - 1)
}

/// True if a message was made of this event.
pub fn is_of(message: &StreamMessage, event: &RecordedEvent) -> bool {
    let has = |name: &str, value: String| {
        let header = message.headers.get(name).map(|header| header.as_str().to_owned());
        header == Some(utf8_percent_encode(&value, &ENCODED).to_string())
    };
    Some(message.subject.to_string()) == subject(event)
        && *message.payload == *event.payload.as_bytes()
        && attributes(event)
            .into_iter()
            .filter(|(name, _)| TELLING.contains(name))
            .all(|(name, value)| has(name, value))
}

fn attributes(event: &RecordedEvent) -> [(&'static str, String); 10] {
    [
        ("ce-specversion", SPEC_VERSION.to_owned()),
        ("ce-id", event.position.to_string()),
        ("ce-source", SOURCE.to_owned()),
        ("ce-type", event.event_type.clone()),
        ("ce-subject", format!("{}/{}", event.aggregate_type, event.aggregate_id)),
        ("ce-time", event.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true)),
        ("ce-datacontenttype", JSON.to_owned()),
        ("ce-sequence", event.sequence.to_string()),
        ("ce-eventversion", event.event_version.clone()),
        ("ce-metadata", serde_json::json!(event.metadata).to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use orion_store::{Metadata, Position};

    fn event(event_type: &str) -> RecordedEvent {
        RecordedEvent {
            position: Position(7),
            aggregate_type: "content".to_owned(),
            aggregate_id: uuid::Uuid::nil(),
            sequence: 2,
            event_type: event_type.to_owned(),
            event_version: "1".to_owned(),
            payload: "{}".to_owned(),
            metadata: Metadata::from([("actor".to_owned(), "ä\r\n%".to_owned())]),
            recorded_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_type_is_the_end_of_the_subject() {
        let subject = |event_type| subject(&event(event_type));
        assert_eq!(
            subject("social_account.connected").as_deref(),
            Some("orion.events.social_account.connected")
        );
        for bad in ["", "content.", "content.*", ">", "content drafted", "Content"] {
            assert_eq!(subject(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_header_is_plain_ascii() {
        for (name, value) in attributes(&event("content.drafted")) {
            let value = utf8_percent_encode(&value, &ENCODED).to_string();
            assert!(value.bytes().all(|byte| byte.is_ascii_graphic()), "{name}: {value}");
        }
    }
}
