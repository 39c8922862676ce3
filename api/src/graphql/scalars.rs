//! Scalars of the schema beyond the built-in ones.

use async_graphql::{ID, InputValueError, InputValueResult, Result, Scalar, ScalarType, Value};
use orion_store::Position as LogPosition;
use uuid::Uuid;

use super::error::bad_input;

/// A place in the log, as a decimal string: "1" is the first event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub LogPosition);

/// A place in the log, as a decimal string: "1" is the first event.
#[Scalar]
impl ScalarType for Position {
    fn parse(value: Value) -> InputValueResult<Self> {
        let is_decimal = |text: &&String| text.bytes().all(|byte| byte.is_ascii_digit());
        let parsed = match &value {
            Value::String(text) => Some(text).filter(is_decimal).and_then(|text| text.parse().ok()),
            Value::Number(number) => number.as_i64().filter(|position| *position >= 0),
            Value::Null
            | Value::Boolean(_)
            | Value::Binary(_)
            | Value::Enum(_)
            | Value::List(_)
            | Value::Object(_) => None,
        };
        match parsed {
            Some(position) => Ok(Self(LogPosition(position))),
            None => Err(InputValueError::custom("a position is a decimal string, 0 or more")),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

/// Reads a bare UUID.
pub fn uuid(id: &ID) -> Result<Uuid> {
    Uuid::parse_str(id).map_err(|_| bad_input("an id is a UUID"))
}
