//! Reads a whole struct from some of its fields; the others are blank.
//!
//! Blank is zero, no, nothing, the nil id, the beginning of 1970, the first variant. Nobody sees it:
//! a field of GraphQL shows only the columns that its plan has asked for.

use serde::de::value::Error as ValueError;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IntoDeserializer as _, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;

/// The elements of a sequence as the fields of a struct, of which some are missing.
pub struct Sparse<'s, A> {
    seq: &'s mut A,
    present: std::slice::Iter<'s, bool>,
}

impl<'s, A> Sparse<'s, A> {
    /// Takes the fields that are present, in their order.
    pub fn new(seq: &'s mut A, present: &'s [bool]) -> Self {
        Self { seq, present: present.iter() }
    }
}

impl<'de, A: SeqAccess<'de>> Deserializer<'de> for Sparse<'_, A> {
    type Error = A::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_seq(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Sparse<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        match self.present.next() {
            Some(true) => self.seq.next_element_seed(seed),
            Some(false) => seed.deserialize(Blank).map(Some).map_err(A::Error::custom),
            None => Ok(None),
        }
    }
}

/// Gives whatever is asked for. It is not readable by people, so that an id asks for its bytes and can
/// be told from a time.
struct Blank;

impl<'de> Deserializer<'de> for Blank {
    type Error = ValueError;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_bool(false)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_i32(0)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_i64(0)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_f64(0.0)
    }

    /// A time.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_borrowed_str("1970-01-01T00:00:00Z")
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_borrowed_str("")
    }

    /// An id.
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_borrowed_bytes(&[0; 16])
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_none()
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_seq(serde::de::value::SeqDeserializer::<_, ValueError>::new(
            std::iter::empty::<()>(),
        ))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let first = variants.first().copied().unwrap_or_default();
        visitor.visit_enum(first.into_deserializer())
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u32 u64 u128 f32 char byte_buf unit unit_struct tuple tuple_struct map
        struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use orion_projections::Table;
    use orion_projections::tables::{
        ContentRow, MediaAssetRow, OAuthAccountRow, PipelineRunRow, ProviderRow, PublishRecordRow,
        PublishRow, ServiceTokenRow, SessionRow, SocialAccountRow, TrendRow, UserRow,
        UserSettingsRow,
    };
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    /// Reads a row of which only the id is there.
    fn blank<T: Table>() -> serde_json::Value {
        struct Row<T>(std::marker::PhantomData<T>);
        impl<'de, T: Table> Visitor<'de> for Row<T> {
            type Value = T;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a row")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
                let present: Vec<_> = T::COLUMNS.iter().map(|column| *column == "id").collect();
                T::deserialize(Sparse::new(&mut seq, &present))
            }
        }
        let id = Uuid::from_u128(7);
        let row = json!([id]).deserialize_seq(Row::<T>(std::marker::PhantomData)).unwrap();
        assert_eq!(row.id(), id);
        serde_json::to_value(row).unwrap()
    }

    #[test]
    fn what_is_not_there_is_blank() {
        let nil = Uuid::nil();
        assert_eq!(
            blank::<ContentRow>(),
            json!({
                "id": Uuid::from_u128(7), "trend_id": nil, "created_by": nil, "title": "",
                "script_body": null, "hook": null, "visual_prompts": null, "status": "draft",
                "created_at": "1970-01-01T00:00:00Z", "updated_at": "1970-01-01T00:00:00Z",
            })
        );
        let others = [
            blank::<UserRow>(),
            blank::<UserSettingsRow>(),
            blank::<SessionRow>(),
            blank::<OAuthAccountRow>(),
            blank::<TrendRow>(),
            blank::<MediaAssetRow>(),
            blank::<PipelineRunRow>(),
            blank::<ProviderRow>(),
            blank::<SocialAccountRow>(),
            blank::<PublishRow>(),
            blank::<PublishRecordRow>(),
            blank::<ServiceTokenRow>(),
        ];
        assert!(others.iter().all(serde_json::Value::is_object));
    }
}
