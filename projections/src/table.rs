//! What a table of the read side is: rows that are pure folds of one stream each.

use orion_store::Fact;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::copy::CopyRow;

/// A table whose every row is a fold of the events of one stream.
///
/// The same two functions serve the live projector, a rebuild, time travel and the drift check.
/// They are pure: the time is the event's, never a clock's.
pub trait Table:
    CopyRow + Serialize + DeserializeOwned + Clone + PartialEq + Send + Sync + Unpin + 'static
{
    /// Schema and name, such as `orion.contents`.
    const NAME: &'static str;

    /// The columns in the order of the struct's fields, which are named like them.
    const COLUMNS: &'static [&'static str];

    /// The columns with personal values, which are shown only on request.
    const PERSONAL: &'static [&'static str] = &[];

    /// The columns with secrets, such as hashes of passwords, which are never shown.
    const SECRET: &'static [&'static str] = &[];

    /// The primary key.
    fn id(&self) -> Uuid;

    /// The rows that an event changes, each once.
    fn keys(fact: &Fact) -> Vec<Uuid>;

    /// A row after an event: `row` is the one before, `None` means that there is none.
    ///
    /// Called only with keys that [`Table::keys`] gave for this event.
    fn fold(row: Option<Self>, key: Uuid, fact: &Fact) -> Option<Self>;
}

/// Declares the struct of a row; its fields are the columns of the table, in their order.
macro_rules! row {
    (
        $(#[$meta:meta])*
        $name:ident in $table:literal {
            $( $(#[$field_meta:meta])* $field:ident: $ty:ty ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $ty ),*
        }

        impl $name {
            /// Schema and name of the table.
            pub const TABLE: &'static str = $table;
            /// The columns in the order of the fields.
            pub const COLUMNS: &'static [&'static str] = &[ $(stringify!($field)),* ];
        }

        impl crate::copy::CopyRow for $name {
            fn copy(&self, lines: &mut Vec<u8>) {
                $(
                    crate::copy::CopyValue::copy(&self.$field, lines);
                    lines.push(b'\t');
                )*
                // What separates values ends the line after the last.
                if let Some(last) = lines.last_mut() {
                    *last = b'\n';
                }
            }
        }

        // Only the key: rows hold personal values, which no log line may show.
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).field("id", &self.id).finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use row;
