//! Hiding values of rows: those of persons unless they are asked for, secrets always.

use serde_json::Value;

/// What stands in place of a value that is hidden.
pub const HIDDEN: &str = "***";

/// The columns of a table that are hidden.
pub fn hidden(
    personal: &'static [&'static str],
    secret: &'static [&'static str],
    show_personal: bool,
) -> impl Iterator<Item = &'static str> {
    let personal = if show_personal { &[] } else { personal };
    personal.iter().chain(secret).copied()
}

/// Hides columns of a row and of what it became: `other` stands for a value that is not the one it was. A
/// value that is not there is nobody's.
pub fn hide(
    columns: impl Iterator<Item = &'static str>,
    before: &mut Option<Value>,
    after: &mut Option<Value>,
    other: &str,
) {
    for column in columns {
        let differs = match (&before, &after) {
            (Some(before), Some(after)) => before.get(column) != after.get(column),
            (Some(_), None) | (None, _) => false,
        };
        hide_value(before, column, HIDDEN);
        hide_value(after, column, if differs { other } else { HIDDEN });
    }
}

fn hide_value(row: &mut Option<Value>, column: &str, instead: &str) {
    let value = row.as_mut().and_then(|row| row.get_mut(column));
    if let Some(value) = value.filter(|value| !value.is_null()) {
        *value = instead.into();
    }
}
