//! Opening what the vault sealed.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;

use orion_domain::event::{SEALED, is_personal, replace_nodes};
use orion_domain::{DecodeError, Event};
use serde_json::Value;
use uuid::Uuid;

use super::{Entry, Place};
use crate::keys::{OpenError, decrypt};
use crate::record::{Fact, RecordedEvent};

/// The data keys that some events need.
#[derive(Clone, Debug, Default)]
pub struct KeyRing(HashMap<Uuid, Entry>);

/// Why an event could not be read. Tells the place, and never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// This program does not know the event, or its payload does not fit.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A personal value does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl ReadError {
    /// Type and version of the event, if it is one that this program does not know: a newer one wrote it.
    pub fn unknown_event(&self) -> Option<(&str, &str)> {
        match self {
            Self::Decode(DecodeError::Unknown { event_type, version }) => {
                Some((event_type, version))
            }
            Self::Decode(DecodeError::Payload { .. }) | Self::Open(_) => None,
        }
    }
}

impl KeyRing {
    pub(super) fn insert(&mut self, subject: Uuid, entry: Entry) {
        self.0.insert(subject, entry);
    }

    pub(super) fn get(&self, subject: Uuid) -> Option<&Entry> {
        self.0.get(&subject)
    }

    /// An event in the domain's terms: opened, then decoded.
    pub fn read(&self, event: &RecordedEvent) -> Result<Fact, ReadError> {
        let decoded = match sealed_payload(event) {
            None => Event::decode(&event.event_type, &event.event_version, &event.payload)?,
            Some(mut payload) => {
                self.open_sealed(&place_of(event), &mut payload)?;
                Event::decode_value(&event.event_type, &event.event_version, &payload)?
            }
        };
        Ok(Fact {
            position: event.position,
            aggregate_id: event.aggregate_id,
            sequence: event.sequence,
            recorded_at: event.recorded_at,
            event: decoded,
        })
    }

    /// A subject whose key an event needs and that nobody knows.
    pub(crate) fn lacks(&self, event: &RecordedEvent) -> Option<Uuid> {
        let mut subjects = HashSet::new();
        subjects_of(event, &mut subjects);
        subjects.into_iter().find(|subject| self.get(*subject).is_none())
    }

    /// Puts the clear values in the places of the sealed ones; `null` where the key was destroyed.
    pub(crate) fn open_sealed(&self, place: &Place, value: &mut Value) -> Result<(), OpenError> {
        replace_nodes(value, SEALED, &mut |field, sealed| {
            let fail = || place.fail(field);
            let text = sealed.as_str().ok_or_else(fail)?;
            let subject = subject_of_text(text).ok_or_else(fail)?;
            if matches!(self.get(subject), Some(Entry::Destroyed)) {
                return Ok(Value::Null);
            }
            let clear = self.open(&place.field(field), text).ok_or_else(fail)?;
            serde_json::from_slice(&clear).map_err(|_| fail())
        })
    }

    /// The bytes of one ciphertext that was made for this place.
    pub(super) fn open(&self, place: &str, text: &str) -> Option<Vec<u8>> {
        let (subject, sealed) = text.split_once('.')?;
        match self.get(subject.parse().ok()?)? {
            Entry::Living(cipher) => decrypt(cipher, place, sealed),
            Entry::Destroyed => None,
        }
    }
}

/// The payload, if it may have sealed values.
fn sealed_payload(event: &RecordedEvent) -> Option<Value> {
    let may_have = is_personal(&event.aggregate_type) && event.payload.contains(SEALED);
    // What does not parse is told by who decodes it.
    may_have.then(|| serde_json::from_str(&event.payload).ok()).flatten()
}

fn place_of(event: &RecordedEvent) -> Place {
    Place {
        stream: format!("{} {}", event.aggregate_type, event.aggregate_id),
        kind: event.event_type.clone(),
        version: event.event_version.clone(),
    }
}

/// Whose key a ciphertext needs.
pub(super) fn subject_of_text(text: &str) -> Option<Uuid> {
    text.split_once('.')?.0.parse().ok()
}

/// Adds the subjects whose keys an event needs.
pub(super) fn subjects_of(event: &RecordedEvent, subjects: &mut HashSet<Uuid>) {
    if let Some(payload) = sealed_payload(event) {
        subjects_in(&payload, subjects);
    }
}

/// Adds the subjects whose keys a payload needs.
pub(super) fn subjects_in(payload: &Value, subjects: &mut HashSet<Uuid>) {
    let mut payload = payload.clone();
    let Ok(()) = replace_nodes(&mut payload, SEALED, &mut |_, sealed| {
        subjects.extend(sealed.as_str().and_then(subject_of_text));
        Ok::<_, Infallible>(Value::Null)
    });
}
