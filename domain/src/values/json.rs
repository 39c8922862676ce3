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

    /// How deep lists and objects may be nested: well below what a parser of JSON bears, for a value
    /// that could be written and not read again would stop whoever reads the log.
    pub const MAX_DEPTH: usize = 64;

    /// Accepts any JSON value within the bounds; `what` names it in the refusal.
    pub fn parse(raw: Value, what: &'static str) -> Result<Self, ValueError> {
        if is_deeper(&raw, Self::MAX_DEPTH) {
            return Err(ValueError::TooDeep { what, max_depth: Self::MAX_DEPTH });
        }
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

/// True of a value with more than so many lists and objects within each other.
fn is_deeper(value: &Value, levels: usize) -> bool {
    let mut below: Box<dyn Iterator<Item = &Value>> = match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(fields) => Box::new(fields.values()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return false,
    };
    levels == 0 || below.any(|value| is_deeper(value, levels - 1))
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
    fn depth_is_bounded() {
        let nested = |levels| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        assert!(Json::parse(nested(Json::MAX_DEPTH), "x").is_ok());
        let deeper = Json::parse(nested(Json::MAX_DEPTH + 1), "x");
        assert!(matches!(deeper, Err(ValueError::TooDeep { .. })));
    }

    #[test]
    fn size_is_bounded() {
        let big = Value::String("a".repeat(Json::MAX_BYTES));
        assert!(matches!(Json::parse(big, "x"), Err(ValueError::TooLarge { .. })));
    }
}
