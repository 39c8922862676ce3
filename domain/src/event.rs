//! Events as the log keeps them: a stable type, a version, and a payload of the fields alone.

use std::convert::Infallible;

use cqrs_es::Aggregate as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::aggregate::AggregateRoot;
use crate::values::MARK;
use crate::{
    ContentEvent, Provider, ProviderEvent, PublishEvent, ServiceTokenEvent, Session, SessionEvent,
    SocialAccount, SocialAccountEvent, TrendEvent, User, UserEvent, upcast,
};

/// Declares an aggregate's events: each variant with its stable name, its version and its fields.
///
/// The enum is tagged `{"type": …, "data": {…}}` in serde's terms; the log stores the two apart,
/// see [`payload`] and [`Event::decode`].
macro_rules! events {
    (
        $(#[$meta:meta])*
        $name:ident {
            $(
                $(#[$variant_meta:meta])*
                $event_type:literal $version:literal => $variant:ident {
                    $( $(#[$field_meta:meta])* $field:ident: $ty:ty ),* $(,)?
                }
            ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(tag = "type", content = "data")]
        pub enum $name {
            $(
                $(#[$variant_meta])*
                #[serde(rename = $event_type)]
                $variant { $( $(#[$field_meta])* $field: $ty ),* }
            ),*
        }

        impl $name {
            /// Every event type of this aggregate with its current version.
            pub const TYPES: &'static [(&'static str, &'static str)] =
                &[ $( ($event_type, $version) ),* ];

            /// The stable name and the current version of this event.
            pub fn type_and_version(&self) -> (&'static str, &'static str) {
                match self {
                    $( Self::$variant { .. } => ($event_type, $version) ),*
                }
            }
        }

        impl cqrs_es::DomainEvent for $name {
            fn event_type(&self) -> String {
                self.type_and_version().0.to_owned()
            }
            fn event_version(&self) -> String {
                self.type_and_version().1.to_owned()
            }
        }
    };
}
pub(crate) use events;

/// An event of any aggregate.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Of a user's account.
    User(UserEvent),
    /// Of one refresh-token family.
    Session(SessionEvent),
    /// Of a trend.
    Trend(TrendEvent),
    /// Of a content and its pipeline.
    Content(ContentEvent),
    /// Of one content's way to one social account.
    Publish(PublishEvent),
    /// Of a connected social account.
    SocialAccount(SocialAccountEvent),
    /// Of an AI provider.
    Provider(ProviderEvent),
    /// Of a machine's token.
    ServiceToken(ServiceTokenEvent),
}

/// Why a stored event could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// This program neither knows the type in this version nor has a way from it to the current
    /// one; a newer program wrote it.
    #[error("unknown event type {event_type} version {version}")]
    Unknown {
        /// The stored `event_type`.
        event_type: String,
        /// The stored `event_version`.
        version: String,
    },
    /// The payload does not have the fields of its type. What serde found would quote the payload,
    /// and with it personal values, so only its place is told.
    #[error("payload of {event_type} does not fit its type, near column {column}")]
    Payload {
        /// The stored `event_type`.
        event_type: String,
        /// Where in the payload's text, in bytes, or 0.
        column: usize,
    },
}

impl Event {
    /// Reads an event from what the log stores of it, in its current version or an older one.
    ///
    /// The noun before the dot of `event_type` says whose event it is.
    pub fn decode(event_type: &str, version: &str, payload: &str) -> Result<Self, DecodeError> {
        let noun = event_type.split_once('.').map_or("", |(noun, _)| noun);
        match noun {
            "user" => decode(UserEvent::TYPES, event_type, version, payload).map(Self::User),
            "session" => {
                decode(SessionEvent::TYPES, event_type, version, payload).map(Self::Session)
            }
            "trend" => decode(TrendEvent::TYPES, event_type, version, payload).map(Self::Trend),
            "content" => {
                decode(ContentEvent::TYPES, event_type, version, payload).map(Self::Content)
            }
            "publish" => {
                decode(PublishEvent::TYPES, event_type, version, payload).map(Self::Publish)
            }
            "social_account" => decode(SocialAccountEvent::TYPES, event_type, version, payload)
                .map(Self::SocialAccount),
            "provider" => {
                decode(ProviderEvent::TYPES, event_type, version, payload).map(Self::Provider)
            }
            "service_token" => decode(ServiceTokenEvent::TYPES, event_type, version, payload)
                .map(Self::ServiceToken),
            _ => Err(unknown(event_type, version)),
        }
    }

    /// The same from a payload that is parsed already.
    pub fn decode_value(
        event_type: &str,
        version: &str,
        payload: &Value,
    ) -> Result<Self, DecodeError> {
        // The vault opens few events, and those are small: their text is made again.
        Self::decode(event_type, version, &payload.to_string())
    }

    /// True of a type that this program reads in this version, be it the current one or an older one.
    pub fn is_known(event_type: &str, version: &str) -> bool {
        Self::types().any(|known| known == (event_type, version))
            || upcast::UPCASTERS
                .iter()
                .any(|step| step.event_type == event_type && step.from == version)
    }

    /// Every event type that this program knows, with its current version.
    pub fn types() -> impl Iterator<Item = (&'static str, &'static str)> {
        [
            UserEvent::TYPES,
            SessionEvent::TYPES,
            TrendEvent::TYPES,
            ContentEvent::TYPES,
            PublishEvent::TYPES,
            SocialAccountEvent::TYPES,
            ProviderEvent::TYPES,
            ServiceTokenEvent::TYPES,
        ]
        .into_iter()
        .flatten()
        .copied()
    }
}

/// Reads one aggregate's event; `types` are the ones it knows, in their current versions.
pub fn decode<E: DeserializeOwned>(
    types: &[(&str, &str)],
    event_type: &str,
    version: &str,
    payload: &str,
) -> Result<E, DecodeError> {
    if !types.contains(&(event_type, version)) {
        let payload = || serde_json::from_str(payload).map_err(|error| misfit(event_type, &error));
        return decode_older(types, event_type, version, payload);
    }
    // The type comes first, so that serde reads the fields in one pass without buffering.
    let tagged = format!(r#"{{"type":"{event_type}","data":{payload}}}"#);
    serde_json::from_str(&tagged).map_err(|error| misfit(event_type, &error))
}

/// Reads one aggregate's event from a payload that is parsed already.
pub fn decode_value<A: AggregateRoot>(
    event_type: &str,
    version: &str,
    payload: &Value,
) -> Result<A::Event, DecodeError> {
    if !A::EVENT_TYPES.contains(&(event_type, version)) {
        return decode_older(A::EVENT_TYPES, event_type, version, || Ok(payload.clone()));
    }
    decode_current(event_type, payload)
}

/// Reads an event of a version that was current once. `payload` is asked for if there is a way from it.
fn decode_older<E: DeserializeOwned>(
    types: &[(&str, &str)],
    event_type: &str,
    version: &str,
    payload: impl FnOnce() -> Result<Value, DecodeError>,
) -> Result<E, DecodeError> {
    if !upcast::is_older(types, event_type, version) {
        return Err(unknown(event_type, version));
    }
    let mut payload = payload()?;
    upcast::lift(event_type, version, &mut payload);
    decode_current(event_type, &payload)
}

fn decode_current<E: DeserializeOwned>(
    event_type: &str,
    payload: &Value,
) -> Result<E, DecodeError> {
    let tagged = serde_json::json!({ "type": event_type, "data": payload });
    serde_json::from_value(tagged).map_err(|error| misfit(event_type, &error))
}

/// The payload of an event: its fields without its type, personal values marked for the vault.
pub fn payload<E: Serialize>(event: &E) -> Result<Value, serde_json::Error> {
    let mut tagged = serde_json::to_value(event)?;
    Ok(tagged.get_mut("data").map(Value::take).unwrap_or_default())
}

/// The payload of an event of any aggregate.
pub fn payload_of(event: &Event) -> Result<Value, serde_json::Error> {
    match event {
        Event::User(event) => payload(event),
        Event::Session(event) => payload(event),
        Event::Trend(event) => payload(event),
        Event::Content(event) => payload(event),
        Event::Publish(event) => payload(event),
        Event::SocialAccount(event) => payload(event),
        Event::Provider(event) => payload(event),
        Event::ServiceToken(event) => payload(event),
    }
}

/// True of a payload that has personal values.
pub fn is_marked(payload: &Value) -> bool {
    match payload {
        Value::Object(fields) if fields.len() == 1 && fields.contains_key(MARK) => true,
        Value::Object(fields) => fields.values().any(is_marked),
        Value::Array(items) => items.iter().any(is_marked),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// A value without the marks of its personal values: as the domain reads it.
pub fn unmarked(mut value: Value) -> Value {
    let Ok(()) = replace_nodes(&mut value, MARK, &mut |_, clear| Ok::<_, Infallible>(clear));
    value
}

/// The key of what stands in the log in place of a personal value.
pub const SEALED: &str = "$sealed";

/// Replaces each object `{key: inner}` by what `replace` makes of its path and its inner value.
///
/// A path is the fields on the way, joined by dots. What `replace` gives is not searched again.
pub fn replace_nodes<E>(
    value: &mut Value,
    key: &str,
    replace: &mut impl FnMut(&str, Value) -> Result<Value, E>,
) -> Result<(), E> {
    replace_below(value, key, &mut String::new(), replace)
}

fn replace_below<E>(
    value: &mut Value,
    key: &str,
    path: &mut String,
    replace: &mut impl FnMut(&str, Value) -> Result<Value, E>,
) -> Result<(), E> {
    let mut step = |name: &str, below: &mut Value| {
        let length = path.len();
        if length > 0 {
            path.push('.');
        }
        path.push_str(name);
        let replaced = replace_below(below, key, path, replace);
        path.truncate(length);
        replaced
    };
    match value {
        Value::Object(fields) if fields.len() == 1 && fields.contains_key(key) => {
            let inner = fields.remove(key).unwrap_or_default();
            *value = replace(path, inner)?;
            Ok(())
        }
        Value::Object(fields) => fields.iter_mut().try_for_each(|(name, below)| step(name, below)),
        Value::Array(items) => (0..)
            .zip(items)
            .try_for_each(|(index, below): (usize, _)| step(&index.to_string(), below)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// True of the aggregates whose events and snapshots hold personal values.
pub fn is_personal(aggregate_type: &str) -> bool {
    [User::TYPE, Session::TYPE, SocialAccount::TYPE, Provider::TYPE].contains(&aggregate_type)
}

/// The fields that hold hashes and ciphertexts, whichever event they are in.
const SECRET_FIELDS: [&str; 4] = ["access_token", "credentials", "refresh_token", "token_hash"];

/// A stored payload as it may be shown: personal and secret values are `"***"`.
pub fn redacted(mut payload: Value) -> Value {
    let Ok(()) = replace_nodes(&mut payload, SEALED, &mut |_, _| Ok::<_, Infallible>("***".into()));
    hide_secrets(&mut payload);
    payload
}

fn hide_secrets(value: &mut Value) {
    let Some(fields) = value.as_object_mut() else { return };
    for (key, value) in fields {
        if SECRET_FIELDS.contains(&key.as_str()) {
            *value = "***".into();
        } else {
            hide_secrets(value);
        }
    }
}

fn misfit(event_type: &str, error: &serde_json::Error) -> DecodeError {
    DecodeError::Payload { event_type: event_type.to_owned(), column: error.column() }
}

fn unknown(event_type: &str, version: &str) -> DecodeError {
    DecodeError::Unknown { event_type: event_type.to_owned(), version: version.to_owned() }
}

macro_rules! from_aggregate_event {
    ($($variant:ident($event:ty)),* $(,)?) => {
        $(impl From<$event> for Event {
            fn from(event: $event) -> Self {
                Self::$variant(event)
            }
        })*
    };
}
from_aggregate_event! {
    User(UserEvent),
    Session(SessionEvent),
    Trend(TrendEvent),
    Content(ContentEvent),
    Publish(PublishEvent),
    SocialAccount(SocialAccountEvent),
    Provider(ProviderEvent),
    ServiceToken(ServiceTokenEvent),
}
