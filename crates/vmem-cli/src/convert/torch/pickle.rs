//! Pickles, written: as much as a snapshot needs, in operations that PyTorch's viewer, which has a reader
//! of its own, knows.

use std::collections::HashMap;

/// Writes one value, from its beginning to its end. Texts are written once and referred to after that.
pub(super) struct Pickle<'a> {
    to: &'a mut Vec<u8>,
    /// The number of each text that was written.
    texts: HashMap<String, u32>,
    /// How many values can be referred to.
    kept: u32,
}

impl<'a> Pickle<'a> {
    /// How many elements are added to a list at a time, as Python does: the viewer puts them on its stack.
    const BATCH: usize = 1000;

    pub(super) fn new(to: &'a mut Vec<u8>) -> Self {
        // PROTO
        to.extend([0x80, 4]);
        Self { to, texts: HashMap::new(), kept: 0 }
    }

    /// Ends it.
    pub(super) fn stop(self) {
        self.to.push(b'.');
    }

    /// A dictionary whose fields `fields` writes: a [text](Self::text) and a value in turn.
    pub(super) fn dict(&mut self, fields: impl FnOnce(&mut Self)) {
        // EMPTY_DICT, MARK, SETITEMS
        self.to.extend(b"}(");
        fields(self);
        self.to.push(b'u');
    }

    /// A list with an element, written by `element`, for each of `of`.
    pub(super) fn list<T>(
        &mut self,
        of: impl IntoIterator<Item = T>,
        mut element: impl FnMut(&mut Self, T),
    ) {
        // EMPTY_LIST
        self.to.push(b']');
        let mut of = of.into_iter().peekable();
        while of.peek().is_some() {
            // MARK, APPENDS
            self.to.push(b'(');
            of.by_ref().take(Self::BATCH).for_each(|one| element(self, one));
            self.to.push(b'e');
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        if let Some(&number) = self.texts.get(text) {
            return self.again(number);
        }
        // BINUNICODE; what is longer than 4 GiB is no label.
        self.to.push(b'X');
        self.to.extend(u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
        self.to.extend(text.as_bytes());
        let number = self.keep();
        self.texts.insert(text.to_owned(), number);
    }

    pub(super) fn number(&mut self, number: u64) {
        match (u8::try_from(number), u16::try_from(number)) {
            // BININT1, BININT2
            (Ok(byte), _) => self.to.extend([b'K', byte]),
            (_, Ok(short)) => {
                self.to.push(b'M');
                self.to.extend(short.to_le_bytes());
            }
            _ => {
                // LONG1, in two's complement: the uppermost bit is the sign.
                let length = (u64::BITS - number.leading_zeros()) / 8 + 1;
                let bytes = u128::from(number).to_le_bytes();
                let length = usize::try_from(length).unwrap_or(bytes.len());
                self.to.extend([0x8a, u8::try_from(length).unwrap_or(u8::MAX)]);
                self.to.extend(&bytes[..length]);
            }
        }
    }

    pub(super) fn truth(&mut self, truth: bool) {
        // NEWTRUE, NEWFALSE
        self.to.push(if truth { 0x88 } else { 0x89 });
    }

    /// A pair of what `one` and `other` write.
    pub(super) fn pair(&mut self, one: u64, other: u64) {
        self.number(one);
        self.number(other);
        // TUPLE2
        self.to.push(0x86);
    }

    /// Keeps the value that was written last, to be written [again](Self::again) by its number.
    pub(super) fn keep(&mut self) -> u32 {
        let number = self.kept;
        self.kept += 1;
        // BINPUT, LONG_BINPUT
        match u8::try_from(number) {
            Ok(byte) => self.to.extend([b'q', byte]),
            Err(_) => {
                self.to.push(b'r');
                self.to.extend(number.to_le_bytes());
            }
        }
        number
    }

    pub(super) fn again(&mut self, number: u32) {
        // BINGET, LONG_BINGET
        match u8::try_from(number) {
            Ok(byte) => self.to.extend([b'h', byte]),
            Err(_) => {
                self.to.push(b'j');
                self.to.extend(number.to_le_bytes());
            }
        }
    }
}
