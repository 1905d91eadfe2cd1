//! Values of which only a little is looked at.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::super::is_in_use;

/// What is told from a text, without keeping it.
pub(super) struct Word<T>(pub(super) T);

pub(super) trait OfText {
    fn of_text(text: &str) -> Self;
}

impl<'de, T: OfText> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Texts<T>(PhantomData<T>);
        impl<T: OfText> Visitor<'_> for Texts<T> {
            type Value = Word<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E>(self, text: &str) -> Result<Word<T>, E> {
                Ok(Word(T::of_text(text)))
            }
        }
        from.deserialize_str(Texts(PhantomData))
    }
}

/// A whole number of at least 0; `None` for anything else.
#[derive(Default)]
pub(super) struct Whole(pub(super) Option<u64>);

/// Whether a block is in use.
#[derive(Default)]
pub(super) struct Active(pub(super) bool);

/// Any value, of which only a whole number or a text says something.
struct AnyValue;

enum Value {
    Whole(u64),
    InUse,
    Other,
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(match from.deserialize_any(AnyValue)? {
            Value::Whole(number) => Self(Some(number)),
            _ => Self(None),
        })
    }
}

impl<'de> Deserialize<'de> for Active {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(matches!(from.deserialize_any(AnyValue)?, Value::InUse)))
    }
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Whole(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(if is_in_use(text) { Value::InUse } else { Value::Other })
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Value, S::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Value, M::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }
}
