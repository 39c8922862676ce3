//! A user's preferences: the documented shape, checked key by key.

use serde_json::{Map, Value, json};

use super::NotificationKind;
use crate::aggregate::Rejection;

/// What may stand under a key.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A text of 1 to 256 characters.
    Text,
    /// True or false.
    Flag,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A whole number within these bounds, both included.
    Count(u64, u64),
    /// A web address of at most 2048 characters.
    WebAddress,
    /// For each kind of notification that can be switched off an object of [`SWITCHES`].
    NotificationTypes,
}

/// What is chosen for each kind of notification: whether it is wanted, and whether it is pushed to
/// those who listen.
const SWITCHES: [&str; 2] = ["enabled", "real_time"];

/// The kinds of notifications that can be switched off: not the one that guards the account.
pub(crate) const SWITCHABLE: [NotificationKind; 6] = [
    NotificationKind::TrendDetected,
    NotificationKind::ContentCreated,
    NotificationKind::ContentPublished,
    NotificationKind::ContentRejected,
    NotificationKind::MediaFailed,
    NotificationKind::PipelineStageChanged,
];

/// The documented sections and their keys.
const SHAPE: &[(&str, &[(&str, Kind)])] = &[
    (
        "provider_preferences",
        &[
            ("llm_provider", Kind::Text),
            ("image_provider", Kind::Text),
            ("tts_provider", Kind::Text),
        ],
    ),
    (
        "pipeline_config",
        &[
            ("default_niche", Kind::Text),
            ("default_tone", Kind::Text),
            ("default_platform", Kind::Text),
            ("visual_style", Kind::Text),
        ],
    ),
    (
        "notification_preferences",
        &[
            ("email_on_publish", Kind::Flag),
            ("email_on_failure", Kind::Flag),
            ("webhook_url", Kind::WebAddress),
            ("types", Kind::NotificationTypes),
        ],
    ),
    (
        "dashboard_preferences",
        &[
            ("theme", Kind::OneOf(&["dark", "light", "system"])),
            ("default_view", Kind::Text),
            ("items_per_page", Kind::Count(1, 100)),
        ],
    ),
];

/// Why preferences were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No such section or key.
    #[error("there is no setting {path}")]
    Unknown {
        /// Section and key.
        path: String,
    },
    /// The value is not of the setting's kind.
    #[error("the setting {path} must be {expected}")]
    Malformed {
        /// Section and key.
        path: String,
        /// What it should be.
        expected: String,
    },
}

impl Rejection for SettingsError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "UNKNOWN_SETTING",
            Self::Malformed { .. } => "MALFORMED",
        }
    }

    fn field(&self) -> Option<&'static str> {
        Some("settings")
    }
}

/// Checks a change of preferences. `null` removes a key or a section, so that the default holds.
pub fn check_settings(change: &Map<String, Value>) -> Result<(), SettingsError> {
    for (section, values) in change {
        let Some((_, keys)) = SHAPE.iter().find(|(known, _)| known == section) else {
            return Err(SettingsError::Unknown { path: section.clone() });
        };
        for (key, value) in fields(section, values)? {
            let path = format!("{section}.{key}");
            let Some((_, kind)) = keys.iter().find(|(known, _)| known == key) else {
                return Err(SettingsError::Unknown { path });
            };
            if let Kind::NotificationTypes = kind {
                check_types(&path, value)?;
            } else if !value.is_null() && !kind.fits(value) {
                return Err(SettingsError::Malformed { path, expected: kind.to_string() });
            }
        }
    }
    Ok(())
}

/// The fields of an object; `null` has none.
fn fields<'a>(
    path: &str,
    value: &'a Value,
) -> Result<impl Iterator<Item = (&'a String, &'a Value)>, SettingsError> {
    match value {
        Value::Null => Ok(None.into_iter().flatten()),
        Value::Object(fields) => Ok(Some(fields).into_iter().flatten()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            let expected = "an object".to_owned();
            Err(SettingsError::Malformed { path: path.to_owned(), expected })
        }
    }
}

fn check_types(path: &str, types: &Value) -> Result<(), SettingsError> {
    for (kind, switches) in fields(path, types)? {
        let path = format!("{path}.{kind}");
        if !SWITCHABLE.iter().any(|known| known.as_str() == kind) {
            return Err(SettingsError::Unknown { path });
        }
        for (switch, value) in fields(&path, switches)? {
            let path = format!("{path}.{switch}");
            if !SWITCHES.contains(&switch.as_str()) {
                return Err(SettingsError::Unknown { path });
            }
            if !value.is_null() && !Kind::Flag.fits(value) {
                return Err(SettingsError::Malformed { path, expected: Kind::Flag.to_string() });
            }
        }
    }
    Ok(())
}

/// The preferences of one who has chosen nothing, as documented.
fn default_settings() -> Value {
    let types: Map<_, _> = SWITCHABLE
        .iter()
        .map(|kind| (kind.to_string(), json!({ "enabled": true, "real_time": true })))
        .collect();
    json!({
        "provider_preferences": {
            "llm_provider": "openai", "image_provider": "comfyui", "tts_provider": "elevenlabs",
        },
        "pipeline_config": {
            "default_niche": "technology", "default_tone": "professional",
            "default_platform": "youtube_shorts", "visual_style": "modern",
        },
        "notification_preferences": {
            "email_on_publish": true, "email_on_failure": true, "webhook_url": null,
            "types": types,
        },
        "dashboard_preferences": { "theme": "dark", "default_view": "queue", "items_per_page": 25 },
    })
}

/// The preferences that hold: what was chosen, and the defaults for the rest.
pub fn effective_settings(chosen: &Value) -> Value {
    let mut settings = default_settings();
    for (section, values) in chosen.as_object().into_iter().flatten() {
        for (key, value) in values.as_object().into_iter().flatten() {
            fill(&mut settings[section][key], value);
        }
    }
    settings
}

/// Puts what was chosen in the place of the defaults, key by key.
fn fill(defaults: &mut Value, chosen: &Value) {
    match (defaults, chosen) {
        (Value::Object(defaults), Value::Object(chosen)) => {
            for (key, value) in chosen {
                fill(defaults.entry(key).or_insert(Value::Null), value);
            }
        }
        (defaults, chosen) => *defaults = chosen.clone(),
    }
}

impl Kind {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => text(value).is_some_and(|text| text.chars().count() <= 256),
            Self::Flag => value.is_boolean(),
            Self::OneOf(texts) => value.as_str().is_some_and(|text| texts.contains(&text)),
            Self::Count(min, max) => {
                value.as_u64().is_some_and(|count| (min..=max).contains(&count))
            }
            Self::WebAddress => {
                text(value).is_some_and(|text| super::AvatarUrl::parse(text).is_ok())
            }
            Self::NotificationTypes => check_types("", value).is_ok(),
        }
    }
}

fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.trim().is_empty() && !text.contains('\0'))
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text => f.write_str("a text of 1 to 256 characters"),
            Self::Flag => f.write_str("true or false"),
            Self::OneOf(texts) => write!(f, "one of {}", texts.join(", ")),
            Self::Count(min, max) => write!(f, "a whole number from {min} to {max}"),
            Self::WebAddress => f.write_str("an http:// or https:// address"),
            Self::NotificationTypes => f.write_str("an object by kind of notification"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: &Value) -> Result<(), SettingsError> {
        check_settings(change.as_object().unwrap())
    }

    #[test]
    fn the_defaults_have_the_documented_shape_and_no_other() {
        assert_eq!(check(&default_settings()), Ok(()));
        for (section, keys) in SHAPE {
            let defaults = default_settings()[section].as_object().unwrap().clone();
            assert_eq!(defaults.len(), keys.len(), "{section}");
            assert!(keys.iter().all(|(key, _)| defaults.contains_key(*key)), "{section}");
        }
    }

    #[test]
    fn unknown_keys_and_wrong_values_are_refused_by_path() {
        for (change, path) in [
            (json!({ "theme": "dark" }), "theme"),
            (
                json!({ "dashboard_preferences": { "colour": "red" } }),
                "dashboard_preferences.colour",
            ),
            (json!({ "dashboard_preferences": 7 }), "dashboard_preferences"),
            (
                json!({ "dashboard_preferences": { "theme": "pink" } }),
                "dashboard_preferences.theme",
            ),
            (
                json!({ "dashboard_preferences": { "items_per_page": 0 } }),
                "dashboard_preferences.items_per_page",
            ),
            (
                json!({ "dashboard_preferences": { "items_per_page": 2.5 } }),
                "dashboard_preferences.items_per_page",
            ),
            (json!({ "pipeline_config": { "default_tone": " " } }), "pipeline_config.default_tone"),
            (
                json!({ "pipeline_config": { "default_tone": "a\u{0}" } }),
                "pipeline_config.default_tone",
            ),
            (
                json!({ "notification_preferences": { "email_on_publish": "yes" } }),
                "notification_preferences.email_on_publish",
            ),
            (
                json!({ "notification_preferences": { "webhook_url": "file:///etc" } }),
                "notification_preferences.webhook_url",
            ),
            (
                json!({ "notification_preferences": { "types": [] } }),
                "notification_preferences.types",
            ),
            (
                json!({ "notification_preferences": { "types": { "trend.detected": 1 } } }),
                "notification_preferences.types.trend.detected",
            ),
            (
                json!({ "notification_preferences": { "types": { "session.reuse_detected": {} } } }),
                "notification_preferences.types.session.reuse_detected",
            ),
            (
                json!({ "notification_preferences": { "types": { "media.failed": { "on": true } } } }),
                "notification_preferences.types.media.failed.on",
            ),
            (
                json!({ "notification_preferences": { "types": { "media.failed": { "enabled": 1 } } } }),
                "notification_preferences.types.media.failed.enabled",
            ),
        ] {
            let error = check(&change).unwrap_err();
            assert!(error.to_string().contains(path), "{error}");
        }
    }

    #[test]
    fn what_is_not_chosen_has_its_default() {
        let chosen = json!({ "dashboard_preferences": { "theme": "light" } });
        let settings = effective_settings(&chosen);
        assert_eq!(settings["dashboard_preferences"]["theme"], "light");
        assert_eq!(settings["dashboard_preferences"]["items_per_page"], 25);
        assert_eq!(effective_settings(&json!({})), default_settings());
        let quiet = json!({ "types": { "media.failed": { "real_time": false } } });
        let settings = effective_settings(&json!({ "notification_preferences": quiet }));
        let types = &settings["notification_preferences"]["types"];
        assert_eq!(types["media.failed"], json!({ "enabled": true, "real_time": false }));
        assert_eq!(types["trend.detected"], json!({ "enabled": true, "real_time": true }));
    }
}
