//! Numbers in as few bytes as they need (LEB128), and differences (zigzag). By hand: an event takes six of
//! them, and a library for it took longer.

/// The most bytes that a number takes.
pub(crate) const LONGEST: usize = 10;

/// A few bytes that are put together without heap memory: no more than there are places, which is a power of
/// two so that a place need not be checked.
pub(crate) struct Bytes {
    bytes: [u8; Self::PLACES],
    length: usize,
}

impl Bytes {
    pub(crate) const PLACES: usize = 64;

    #[inline]
    pub(crate) fn new(first: u8) -> Self {
        let mut bytes = [0; Self::PLACES];
        bytes[0] = first;
        Self { bytes, length: 1 }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lowest bits are what is put")]
    #[inline]
    pub(crate) fn put(&mut self, mut number: u64) {
        let mut length = self.length;
        while number >= 0x80 {
            self.bytes[length % Self::PLACES] = number as u8 | 0x80;
            length += 1;
            number >>= 7;
        }
        self.bytes[length % Self::PLACES] = number as u8;
        self.length = length + 1;
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// A difference as a number: small ones are small, whichever their sign.
pub(crate) fn zigzag(difference: i64) -> u64 {
    ((difference << 1) ^ (difference >> 63)).cast_unsigned()
}

/// The difference that a number stands for.
pub(crate) fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// The number at the start of some bytes, and what comes after it; `None` if it has no end or more than 64
/// bits.
pub(crate) fn take(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (at, &byte) in bytes.iter().enumerate().take(LONGEST) {
        let bits = u64::from(byte & 0x7f);
        // Of the tenth byte there is room for one bit.
        if at == LONGEST - 1 && bits > 1 {
            return None;
        }
        number |= bits << (7 * at);
        if byte < 0x80 {
            return Some((number, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_taken_as_it_was_put() {
        for number in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 1 << 63, u64::MAX] {
            let mut bytes = Bytes::new(9);
            bytes.put(number);
            let written = bytes.as_slice();
            assert_eq!(take(&written[1..]), Some((number, &[][..])));
            assert_eq!(take(&written[1..written.len() - 1]), None, "{number} is cut");
        }
        assert_eq!(take(&[0xff; 11]), None);
        assert_eq!(take(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]), None);
    }

    #[test]
    fn a_difference_is_what_it_was() {
        for difference in [0, -1, 1, -64, 64, i64::MIN, i64::MAX] {
            assert_eq!(unzigzag(zigzag(difference)), difference);
        }
        assert_eq!([0, -1, 1, -2].map(zigzag), [0, 1, 2, 3]);
    }
}
