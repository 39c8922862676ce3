//! Events of older versions: their golden files stay for ever, and are read as today's events.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use orion_domain::upcast::UPCASTERS;
use orion_domain::values::{Personal, RefreshTokenId, RegisteredVia, RevocationReason, Role};
use orion_domain::{DecodeError, Event, Session, SessionEvent, UserEvent, event};
use serde_json::{Value, json};

use crate::fixtures::{email, name, secret, uuid};
use crate::golden::{Golden, is_misfit};
use crate::samples::Variant;

/// Every golden file of an older version, with what it means today.
fn meanings() -> Vec<(&'static str, Event)> {
    let registered = |password_hash, via| UserEvent::Registered {
        email: email("ada@example.org"),
        password_hash,
        name: name("Ada Lovelace"),
        role: Role::Admin,
        email_verified: true,
        via,
    };
    let with_password = registered(Some(secret("$2b$12$golden")), RegisteredVia::Password);
    let without_password = registered(None, RegisteredVia::Provider);
    vec![
        ("session.revoked.v1.json", revoked(RevocationReason::Logout)),
        ("user.registered.v1.json", with_password.into()),
        ("user.registered.v1.minimal.json", without_password.into()),
    ]
}

fn revoked(reason: RevocationReason) -> Event {
    let token_id = RefreshTokenId(uuid(0x112));
    SessionEvent::Revoked { token_id, reason }.into()
}

/// The golden files of older versions, by name.
pub fn older_files() -> impl Iterator<Item = (String, Golden, Event)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    meanings().into_iter().map(move |(name, event)| {
        let text = fs::read_to_string(folder.join(name))
            .unwrap_or_else(|error| panic!("{name} stays for ever: {error}"));
        (name.to_owned(), serde_json::from_str(&text).unwrap(), event)
    })
}

#[test]
fn every_file_of_an_older_version_means_its_event() {
    for (name, golden, event) in older_files() {
        let decoded = golden.decode().unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert!(decoded == event, "{name} means {decoded:?}");
        let Golden { event_type, event_version, payload } = &golden;
        let parsed = Event::decode_value(event_type, event_version, payload).unwrap();
        assert!(parsed == event, "{name} reads otherwise from a parsed payload");
    }
}

#[test]
fn a_version_is_read_exactly_when_it_is_current_or_has_an_upcaster_and_a_file() {
    let read: BTreeSet<_> =
        UPCASTERS.iter().map(|step| (step.event_type.to_owned(), step.from.to_owned())).collect();
    assert_eq!(read.len(), UPCASTERS.len(), "two upcasters read one version");
    let full: BTreeSet<_> = older_files()
        .filter(|(name, golden, _)| *name == golden.file_name(Variant::Full))
        .map(|(_, golden, _)| (golden.event_type, golden.event_version))
        .collect();
    assert_eq!(full, read, "each upcaster has the file of what it reads, and none is without one");

    for (event_type, current) in Event::types() {
        let current: u32 = current.parse().unwrap();
        let (expected, numbers): (Vec<_>, _) = ((1..=current).collect(), 0..current + 3);
        let is_known = |version: &u32| {
            let read = Event::decode(event_type, &version.to_string(), "{}");
            !matches!(read, Err(DecodeError::Unknown { .. }))
        };
        assert_eq!(numbers.filter(is_known).collect::<Vec<_>>(), expected, "{event_type}");
    }
}

#[test]
fn each_upcaster_leads_one_version_on_and_no_further_than_to_the_current_one() {
    for step in UPCASTERS {
        let what = format!("{} {} to {}", step.event_type, step.from, step.to);
        let [from, to] = [step.from, step.to].map(|version| version.parse::<u32>().unwrap());
        assert_eq!(from + 1, to, "{what}");
        assert_eq!([from.to_string(), to.to_string()], [step.from, step.to], "{what}");
        let (_, current) = Event::types().find(|(known, _)| *known == step.event_type).unwrap();
        let current: u32 = current.parse().unwrap();
        let goes_on =
            UPCASTERS.iter().any(|next| (next.event_type, next.from) == (step.event_type, step.to));
        assert!(to <= current, "{what}: the current version is {current}");
        assert_eq!(goes_on, to < current, "{what}");
    }
}

#[test]
fn what_fits_no_version_is_refused_in_an_older_one_too() {
    for (name, golden, _) in older_files() {
        for payload in ["", "null", "1", "[]", "{", "{}", "{}}"] {
            assert!(is_misfit(&golden.event_type, "1", payload), "{name}: {payload:?}");
        }
    }
    let misfits = [
        ("session.revoked", json!({ "token_id": uuid(0x112) })),
        ("session.revoked", json!({ "token_id": uuid(0x112), "reason": 7 })),
        ("session.revoked", json!({ "token_id": uuid(0x112), "reason": null })),
        ("session.revoked", json!({ "reason": "logout" })),
        ("user.registered", json!({ "via": "password" })),
    ];
    for (event_type, payload) in misfits {
        assert!(is_misfit(event_type, "1", &payload.to_string()), "{event_type} of {payload}");
    }
}

#[test]
fn a_payload_of_an_older_version_that_does_not_fit_is_not_quoted() {
    let payload = json!({ "token_id": "hunter2", "reason": "hunter2" }).to_string();
    let error = Event::decode("session.revoked", "1", &payload).unwrap_err();
    assert!(!format!("{error:?} {error}").contains("hunter2"));
}

// `session.revoked`.

#[track_caller]
fn means(reason: &str, expected: RevocationReason) {
    let payload = json!({ "token_id": uuid(0x112), "reason": reason });
    let read = Event::decode("session.revoked", "1", &payload.to_string()).unwrap();
    assert!(read == revoked(expected), "{reason:?}: {read:?}");
    let parsed = event::decode_value::<Session>("session.revoked", "1", &payload).unwrap();
    assert!(Event::from(parsed) == read, "{reason:?}");
}

#[test]
fn a_known_reason_stays_and_any_other_text_is_revoked() {
    for reason in RevocationReason::ALL {
        means(reason.as_str(), *reason);
    }
    for text in ["", "Logout", " logout", "the laptop was stolen", "\u{0}", "ausgeloggt ☂"] {
        means(text, RevocationReason::Revoked);
    }
}

#[test]
fn another_reason_cannot_be_written_today() {
    let payload = json!({ "token_id": uuid(0x112), "reason": "the laptop was stolen" });
    assert!(is_misfit("session.revoked", "2", &payload.to_string()));
}

// `user.registered`.

fn via(version: &str, payload: &Value) -> RegisteredVia {
    let read = Event::decode_value("user.registered", version, payload).unwrap();
    let Event::User(UserEvent::Registered { via, email, .. }) = read else { panic!("{read:?}") };
    assert_eq!(email.expose().is_none(), payload["email"].is_null());
    via
}

#[test]
fn a_registration_tells_how_even_where_the_person_is_erased() {
    let mut payload =
        json!({ "email": null, "name": null, "role": "viewer", "email_verified": true });
    assert_eq!(via("1", &payload), RegisteredVia::Provider);
    payload["password_hash"] = Value::Null;
    assert_eq!(via("1", &payload), RegisteredVia::Password);
    payload["email"] = json!("ada@example.org");
    assert_eq!(via("1", &payload), RegisteredVia::Password);
    // Whatever stood there in version 1 meant nothing.
    payload["via"] = json!("carrier pigeon");
    assert_eq!(via("1", &payload), RegisteredVia::Password);
}

#[test]
fn version_2_is_read_as_it_stands_and_must_tell_how() {
    let mut payload =
        json!({ "email": null, "name": null, "role": "viewer", "email_verified": true });
    assert!(is_misfit("user.registered", "2", &payload.to_string()));
    payload["via"] = json!("password");
    assert_eq!(via("2", &payload), RegisteredVia::Password, "without a hash");
}

#[test]
fn both_versions_of_a_registration_say_the_same_of_an_erased_person() {
    let erased = |version: &str, payload: Value| {
        let read = Event::decode_value("user.registered", version, &payload).unwrap();
        let Event::User(UserEvent::Registered { email, name, .. }) = &read else {
            panic!("{read:?}")
        };
        assert!(email.expose().is_none() && Personal::expose(name).is_none());
        read
    };
    let old = json!({ "email": null, "name": null, "password_hash": null, "role": "viewer",
                      "email_verified": true });
    let mut new = old.clone();
    new["via"] = json!("password");
    assert!(erased("1", old) == erased("2", new));
}
