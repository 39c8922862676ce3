//! Upcasters: how events of older versions are read today.
//!
//! What was appended once is never rewritten. A reader opens the personal values of an event, lifts
//! its payload version by version to the current one, and decodes that; see
//! `docs/evolving-events.md`.

use std::iter::successors;

use serde_json::{Map, Value};

use crate::values::{RegisteredVia, RevocationReason};

/// How the payload of one version of an event type becomes that of the next.
#[derive(Clone, Copy, Debug)]
pub struct Upcaster {
    /// The stored `event_type`.
    pub event_type: &'static str,
    /// The version that it reads.
    pub from: &'static str,
    /// The version that it makes: the one after `from`.
    pub to: &'static str,
    /// Changes the fields, whose personal values are clear, or `null` where they were erased.
    ///
    /// It knows nothing but the fields. What does not fit `from` is left as it is: decoding refuses it.
    lift: fn(&mut Map<String, Value>),
}

/// Every upcaster.
pub const UPCASTERS: &[Upcaster] = &[
    Upcaster { event_type: "session.revoked", from: "1", to: "2", lift: session_revoked_1 },
    Upcaster { event_type: "user.registered", from: "1", to: "2", lift: user_registered_1 },
];

/// The upcasters from a version on, in order. None for a current version, or an unknown one.
fn steps(event_type: &str, version: &str) -> impl Iterator<Item = &'static Upcaster> {
    let from = move |version: &str| {
        UPCASTERS.iter().find(|step| step.event_type == event_type && step.from == version)
    };
    successors(from(version), move |step| from(step.to))
}

/// True of an older version that can be lifted to one of `types`, which are the current ones.
pub(crate) fn is_older(types: &[(&str, &str)], event_type: &str, version: &str) -> bool {
    let last = steps(event_type, version).last();
    last.is_some_and(|step| types.contains(&(event_type, step.to)))
}

/// Lifts a payload to the current version. What is no object is left to decoding, which refuses it.
pub(crate) fn lift(event_type: &str, version: &str, payload: &mut Value) {
    if let Some(fields) = payload.as_object_mut() {
        for step in steps(event_type, version) {
            (step.lift)(fields);
        }
    }
}

/// `reason` was free text. What nobody writes any more counts as `revoked`.
fn session_revoked_1(fields: &mut Map<String, Value>) {
    if let Some(Value::String(reason)) = fields.get_mut("reason") {
        let is_known = RevocationReason::ALL.iter().any(|known| known.as_str() == reason);
        if !is_known {
            RevocationReason::Revoked.as_str().clone_into(reason);
        }
    }
}

/// `via` was not told. The field `password_hash` tells it, even where its value was erased: it is
/// absent where there never was a password.
fn user_registered_1(fields: &mut Map<String, Value>) {
    let via = RegisteredVia::of_password(fields.contains_key("password_hash"));
    fields.insert("via".to_owned(), via.as_str().into());
}
