//! How values of the domain look in the columns of a table.

use chrono::{DateTime, SubsecRound, Utc};
use orion_domain::values::{
    AvatarUrl, Bio, Ciphertext, DisplayName, Email, ErrorMessage, FilePath, FirstName, Hook, Json,
    LastName, Name, Patch, Personal, PlatformName, PlatformPostId, ProviderName, ProviderType,
    ScriptBody, ServiceTokenName, Source, StageName, TimeZone, Title, TokenHash, Topic, Username,
};
use serde_json::Value;

/// A value of the domain that a column can hold.
pub(super) trait ToColumn {
    /// What the column holds instead.
    type Column;

    /// The value as the column holds it.
    fn to_column(&self) -> Self::Column;
}

macro_rules! texts {
    ($($text:ty),* $(,)?) => {
        $(impl ToColumn for $text {
            type Column = String;

            fn to_column(&self) -> String {
                self.as_str().to_owned()
            }
        })*
    };
}
texts! {
    AvatarUrl, Bio, Ciphertext, DisplayName, Email, ErrorMessage, FilePath, FirstName, Hook, LastName, Name, PlatformName, PlatformPostId, ProviderName, ProviderType, ScriptBody, ServiceTokenName, Source, StageName, String, TimeZone, Title, TokenHash, Topic, Username,
}

impl ToColumn for Json {
    type Column = Value;

    fn to_column(&self) -> Value {
        self.as_value().clone()
    }
}

impl ToColumn for DateTime<Utc> {
    type Column = Self;

    /// PostgreSQL keeps microseconds. `recorded_at` has no more; a time from a command may, and its
    /// row would then differ from itself once it has been stored.
    fn to_column(&self) -> Self {
        self.trunc_subsecs(6)
    }
}

/// The tables hold personal values in clear; they are opened here and nowhere else in this crate.
/// Nothing is left of an erased one.
impl<T: ToColumn> ToColumn for Personal<T> {
    type Column = Option<T::Column>;

    fn to_column(&self) -> Option<T::Column> {
        self.expose().map(T::to_column)
    }
}

impl<T: ToColumn> ToColumn for Option<T> {
    type Column = Option<T::Column>;

    fn to_column(&self) -> Option<T::Column> {
        self.as_ref().map(T::to_column)
    }
}

impl<T: ToColumn> ToColumn for Patch<T> {
    type Column = Patch<T::Column>;

    fn to_column(&self) -> Patch<T::Column> {
        self.map_ref(T::to_column)
    }
}
