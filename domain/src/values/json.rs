//! JSON documents that PostgreSQL can keep.

use serde_json::Value;

use super::ValueError;

/// A JSON value without U+0000 in any text or key, of bounded size.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Json(Value);

impl Json {
    /// The most bytes that its text may have.
    pub const MAX_BYTES: usize = 262_144;

    /// Accepts any JSON value within the bounds; `what` names it in the refusal.
    pub fn parse(raw: Value, what: &'static str) -> Result<Self, ValueError> {
        if has_nul(&raw) {
            return Err(ValueError::NulCharacter { what });
        }
        if raw.to_string().len() > Self::MAX_BYTES {
            return Err(ValueError::TooLarge { what, max_bytes: Self::MAX_BYTES });
        }
        Ok(Self(raw))
    }

    /// `{}`.
    pub fn empty_object() -> Self {
        Self(Value::Object(serde_json::Map::new()))
    }

    /// Accepts an object only.
    pub fn parse_object(raw: Value, what: &'static str) -> Result<Self, ValueError> {
        if raw.is_object() {
            Self::parse(raw, what)
        } else {
            Err(ValueError::Malformed { what, expected: "a JSON object" })
        }
    }

    /// The value.
    pub fn as_value(&self) -> &Value {
        &self.0
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => {
            fields.iter().any(|(key, value)| key.contains('\0') || has_nul(value))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nul_is_found_at_any_depth() {
        for bad in [json!("\0"), json!({"a": [{"b": "x\0"}]}), json!({"k\0": 1})] {
            assert_eq!(Json::parse(bad, "x"), Err(ValueError::NulCharacter { what: "x" }));
        }
        assert!(Json::parse(json!({"a": [1, null, "é"]}), "x").is_ok());
    }

    #[test]
    fn size_is_bounded() {
        let big = Value::String("a".repeat(Json::MAX_BYTES));
        assert!(matches!(Json::parse(big, "x"), Err(ValueError::TooLarge { .. })));
    }
}
