//! Changes to values that may be absent.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What an edit does to an optional value. In JSON: the key is missing, `null`, or a value.
///
/// A field of this type needs `#[serde(default, skip_serializing_if = "Patch::is_keep")]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// Leaves the value as it is.
    #[default]
    Keep,
    /// Removes the value.
    Clear,
    /// Puts a new value in its place.
    Set(T),
}

impl<T> Patch<T> {
    /// True when nothing changes.
    pub fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// Makes the change.
    pub fn apply_to(self, value: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *value = None,
            Self::Set(new) => *value = Some(new),
        }
    }

    /// `Keep` where the change would leave `current` as it is.
    #[must_use]
    pub fn against(self, current: Option<&T>) -> Self
    where
        T: PartialEq,
    {
        let same = match &self {
            Self::Keep => true,
            Self::Clear => current.is_none(),
            Self::Set(new) => current == Some(new),
        };
        if same { Self::Keep } else { self }
    }

    /// The same change to a value that is derived from this one, or to none.
    pub fn and_then_ref<U>(&self, f: impl FnOnce(&T) -> Option<U>) -> Patch<U> {
        match self {
            Self::Keep => Patch::Keep,
            Self::Clear => Patch::Clear,
            Self::Set(value) => f(value).map_or(Patch::Clear, Patch::Set),
        }
    }

    /// The value that the change sets.
    pub fn set_value(&self) -> Option<&T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Keep | Self::Clear => None,
        }
    }

    /// The same change to a value that is derived from this one.
    pub fn map_ref<U>(&self, f: impl FnOnce(&T) -> U) -> Patch<U> {
        match self {
            Self::Keep => Patch::Keep,
            Self::Clear => Patch::Clear,
            Self::Set(value) => Patch::Set(f(value)),
        }
    }

    /// Parses the new value, if there is one.
    pub fn try_map<U, E>(self, parse: impl FnOnce(T) -> Result<U, E>) -> Result<Patch<U>, E> {
        Ok(match self {
            Self::Keep => Patch::Keep,
            Self::Clear => Patch::Clear,
            Self::Set(value) => Patch::Set(parse(value)?),
        })
    }
}

impl<T: Serialize> Serialize for Patch<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Keep | Self::Clear => serializer.serialize_none(),
            Self::Set(value) => value.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Clear, Self::Set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Edit {
        #[serde(default, skip_serializing_if = "Patch::is_keep")]
        hook: Patch<String>,
    }

    #[test]
    fn json_tells_the_three_apart() {
        for (hook, json) in [
            (Patch::Keep, "{}"),
            (Patch::Clear, r#"{"hook":null}"#),
            (Patch::Set("x".to_owned()), r#"{"hook":"x"}"#),
        ] {
            let edit = Edit { hook };
            assert_eq!(serde_json::to_string(&edit).unwrap(), json);
            assert_eq!(serde_json::from_str::<Edit>(json).unwrap(), edit);
        }
    }

    #[test]
    fn a_change_to_the_same_is_none() {
        assert_eq!(Patch::Set(1).against(Some(&1)), Patch::Keep);
        assert_eq!(Patch::<u8>::Clear.against(None), Patch::Keep);
        assert_eq!(Patch::Set(2).against(Some(&1)), Patch::Set(2));
    }
}
