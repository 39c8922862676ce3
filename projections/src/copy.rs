//! Rows as lines of PostgreSQL's COPY text format.
//!
//! Text and not CSV: CSV confuses NULL with the empty string.

use std::io::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use orion_domain::publish::RequestStatus;
use orion_domain::values::{
    AssetType, ContentStatus, OAuthProvider, PublishStatus, Role, RunStatus, Scope, Scopes,
    TokenHash, TrendStatus,
};
use serde_json::Value;
use uuid::Uuid;

/// A row that can be copied in: its columns in their order.
pub trait CopyRow {
    /// Adds the row as one line.
    fn copy(&self, lines: &mut Vec<u8>);
}

/// A value that a column can hold, as COPY wants to read it.
pub(crate) trait CopyValue {
    /// Adds the value, escaped.
    fn copy(&self, line: &mut Vec<u8>);
}

/// Adds what has to be escaped: the escape itself, and what ends a value or a line.
fn escaped(text: &str, line: &mut Vec<u8>) {
    for &byte in text.as_bytes() {
        match byte {
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\t' => line.extend_from_slice(b"\\t"),
            other => line.push(other),
        }
    }
}

impl<T: CopyValue> CopyValue for Option<T> {
    fn copy(&self, line: &mut Vec<u8>) {
        match self {
            Some(value) => value.copy(line),
            None => line.extend_from_slice(b"\\N"),
        }
    }
}

impl CopyValue for String {
    fn copy(&self, line: &mut Vec<u8>) {
        escaped(self, line);
    }
}

impl CopyValue for Uuid {
    fn copy(&self, line: &mut Vec<u8>) {
        let mut text = Self::encode_buffer();
        line.extend_from_slice(self.hyphenated().encode_lower(&mut text).as_bytes());
    }
}

impl CopyValue for DateTime<Utc> {
    fn copy(&self, line: &mut Vec<u8>) {
        escaped(&self.to_rfc3339_opts(SecondsFormat::Micros, true), line);
    }
}

impl CopyValue for bool {
    fn copy(&self, line: &mut Vec<u8>) {
        line.push(if *self { b't' } else { b'f' });
    }
}

impl CopyValue for Value {
    /// As the projector writes it, so that `json` columns come out the same.
    fn copy(&self, line: &mut Vec<u8>) {
        escaped(&self.to_string(), line);
    }
}

impl CopyValue for Scopes {
    fn copy(&self, line: &mut Vec<u8>) {
        let labels: Vec<&str> = self.iter().map(Scope::as_str).collect();
        escaped(&format!("{{{}}}", labels.join(",")), line);
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {
        $(impl CopyValue for $number {
            fn copy(&self, line: &mut Vec<u8>) {
                // Writing to memory cannot fail.
                let _ = write!(line, "{self}");
            }
        })*
    };
}
numbers!(i32, i64, f64);

macro_rules! labels {
    ($($label:ty),* $(,)?) => {
        $(impl CopyValue for $label {
            fn copy(&self, line: &mut Vec<u8>) {
                escaped(self.as_str(), line);
            }
        })*
    };
}
labels!(
    AssetType,
    ContentStatus,
    OAuthProvider,
    PublishStatus,
    RequestStatus,
    Role,
    RunStatus,
    TokenHash,
    TrendStatus,
);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(value: &impl CopyValue) -> String {
        let mut line = Vec::new();
        value.copy(&mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn null_is_not_the_empty_string_nor_the_text_of_null() {
        assert_eq!(line(&None::<String>), r"\N");
        assert_eq!(line(&Some(String::new())), "");
        assert_eq!(line(&r"\N".to_owned()), r"\\N");
    }

    #[test]
    fn what_would_end_a_value_is_escaped() {
        assert_eq!(line(&"a\tb\nc\rd\\e".to_owned()), r"a\tb\nc\rd\\e");
        assert_eq!(line(&json!({ "a": "line\nnext" })), r#"{"a":"line\\nnext"}"#);
    }

    #[test]
    fn numbers_keep_every_digit() {
        assert_eq!(line(&0.1_f64), "0.1");
        let smallest: f64 = line(&f64::MIN_POSITIVE).parse().unwrap();
        assert_eq!(smallest.to_bits(), f64::MIN_POSITIVE.to_bits());
        assert_eq!(line(&i64::MIN), i64::MIN.to_string());
    }
}
