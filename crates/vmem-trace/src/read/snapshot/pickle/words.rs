//! The texts of a pickle that mean something.

use super::super::{Action, is_in_use};

/// A text that means something, as a key, a value or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(u8);

/// The keys of dictionaries that matter. No dictionary has two of those that share a [place](Key::place).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// `action`, `state`.
    Kind,
    /// `addr`, `address`.
    Address,
    Size,
    RequestedSize,
    Stream,
    Device,
    /// Of an entry, in microseconds.
    Time,
    /// Of a stack frame.
    Name,
    Filename,
    Line,
    /// `device_traces`, `blocks`.
    Parts,
    Segments,
    Frames,
}

impl Word {
    /// The words, but for those that are no keys.
    const KEYS: [(&'static str, Key); 16] = [
        ("action", Key::Kind),
        ("state", Key::Kind),
        ("addr", Key::Address),
        ("address", Key::Address),
        ("size", Key::Size),
        ("requested_size", Key::RequestedSize),
        ("stream", Key::Stream),
        ("device", Key::Device),
        ("time_us", Key::Time),
        ("name", Key::Name),
        ("filename", Key::Filename),
        ("line", Key::Line),
        ("device_traces", Key::Parts),
        ("blocks", Key::Parts),
        ("segments", Key::Segments),
        ("frames", Key::Frames),
    ];

    const VALUES: [&'static str; 5] =
        ["alloc", "free_requested", "free_completed", "oom", "active_allocated"];

    pub(super) fn of(text: &str) -> Option<Self> {
        let key = Self::KEYS.iter().position(|(key, _)| *key == text);
        let value = || Self::VALUES.iter().position(|value| *value == text);
        let number = key.or_else(|| Some(Self::KEYS.len() + value()?))?;
        u8::try_from(number).ok().map(Self)
    }

    /// Its number, from 1.
    pub(super) fn number(self) -> u8 {
        self.0 + 1
    }

    /// The word of that [number](Self::number).
    pub(super) fn text(number: u64) -> &'static str {
        let place = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        let value = |place: usize| place.checked_sub(Self::KEYS.len());
        let text = place.and_then(|place| match Self::KEYS.get(place) {
            Some((key, _)) => Some(*key),
            None => value(place).and_then(|value| Self::VALUES.get(value).copied()),
        });
        text.unwrap_or_default()
    }

    pub(super) fn key(self) -> Option<Key> {
        Self::KEYS.get(usize::from(self.0)).map(|(_, key)| *key)
    }

    pub(super) fn action(self) -> Option<Action> {
        let action = Action::of(Self::text(self.number().into()));
        (action != Action::Other).then_some(action)
    }

    pub(super) fn is_in_use(self) -> bool {
        is_in_use(Self::text(self.number().into()))
    }
}

impl Key {
    /// Where a dictionary has the number, or the text, of the key.
    pub(super) fn place(self) -> usize {
        match self {
            Self::Address | Self::Name => 0,
            Self::Size | Self::Line => 1,
            Self::RequestedSize | Self::Time => 2,
            Self::Stream | Self::Filename => 3,
            _ => 4,
        }
    }

    /// Which of the texts it is.
    pub(super) fn text_place(self) -> u8 {
        u8::from(self == Self::Filename)
    }

    pub(super) fn is_number(self) -> bool {
        use Key::{Address, Device, Line, RequestedSize, Size, Stream, Time};
        matches!(self, Address | Size | RequestedSize | Stream | Device | Time | Line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_has_its_text_and_at_most_one_meaning_of_a_kind() {
        let keys = Word::KEYS.iter().map(|(key, _)| *key);
        for text in keys.chain(Word::VALUES) {
            let word = Word::of(text).unwrap();
            assert_eq!(Word::text(word.number().into()), text);
            assert_ne!(word.key().is_some(), word.action().is_some() || word.is_in_use(), "{text}");
        }
        assert_eq!(Word::of("inactive"), None);
        assert_eq!(Word::text(99), "");
    }
}
