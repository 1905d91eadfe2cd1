//! Stack frames.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::super::Frame;
use super::values::{OfText, Whole, Word};

/// The frames of a stack, innermost first; none for anything else.
#[derive(Default)]
pub(super) struct Stack(Vec<OneFrame>);

#[derive(Default)]
struct OneFrame {
    name: String,
    filename: String,
    line: u64,
}

impl Stack {
    /// The most frames that are looked at.
    const MOST: usize = 256;

    pub(super) fn iter(&self) -> impl Iterator<Item = Frame<'_>> {
        self.0.iter().map(|OneFrame { name, filename, line }| Frame { name, filename, line: *line })
    }
}

impl<'de> Deserialize<'de> for Stack {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Frames;
        impl<'de> Visitor<'de> for Frames {
            type Value = Stack;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of stack frames")
            }

            fn visit_unit<E>(self) -> Result<Stack, E> {
                Ok(Stack::default())
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Stack, S::Error> {
                let mut frames = Vec::new();
                while frames.len() < Stack::MOST {
                    let Some(frame) = seq.next_element()? else { return Ok(Stack(frames)) };
                    frames.push(frame);
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Stack(frames))
            }
        }
        from.deserialize_any(Frames)
    }
}

impl<'de> Deserialize<'de> for OneFrame {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = OneFrame;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a stack frame")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<OneFrame, M::Error> {
                let mut frame = OneFrame::default();
                while let Some(Word(key)) = map.next_key::<Word<Key>>()? {
                    match key {
                        Key::Name => frame.name = map.next_value()?,
                        Key::Filename => frame.filename = map.next_value()?,
                        Key::Line => frame.line = map.next_value::<Whole>()?.0.unwrap_or_default(),
                        Key::Other => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(frame)
            }
        }
        from.deserialize_map(Fields)
    }
}

#[derive(Clone, Copy)]
enum Key {
    Name,
    Filename,
    Line,
    Other,
}

impl OfText for Key {
    fn of_text(text: &str) -> Self {
        match text {
            "name" => Self::Name,
            "filename" => Self::Filename,
            "line" => Self::Line,
            _ => Self::Other,
        }
    }
}
