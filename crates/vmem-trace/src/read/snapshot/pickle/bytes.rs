//! The bytes of a pickle.

use std::io::{self, BufRead, Read};

use super::values::Item;

/// Why an operation could not be carried out.
#[derive(Debug)]
pub(super) enum Stop {
    Cut,
    Io(io::Error),
    Bad(String),
}

/// What is left of a pickle.
pub(super) struct Bytes<'a, R> {
    pub(super) from: &'a mut R,
    pub(super) at: u64,
}

impl<R: BufRead> Bytes<'_, R> {
    pub(super) fn byte(&mut self) -> Result<u8, Stop> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    /// A few bytes.
    pub(super) fn some(&mut self, count: u64) -> Result<Vec<u8>, Stop> {
        let mut bytes = Vec::new();
        let read = (&mut self.from).take(count).read_to_end(&mut bytes)?;
        self.at += count;
        if read as u64 == count { Ok(bytes) } else { Err(Stop::Cut) }
    }

    pub(super) fn skip(&mut self, count: u64) -> Result<(), Stop> {
        let read = io::copy(&mut (&mut self.from).take(count), &mut io::sink())?;
        self.at += read;
        if read == count { Ok(()) } else { Err(Stop::Cut) }
    }

    /// A number of so many bytes in two's complement.
    pub(super) fn long(&mut self, length: u64) -> Result<Item, Stop> {
        if length > 9 {
            self.skip(length)?;
            return Ok(Item::Other);
        }
        let bytes = self.some(length)?;
        let mut wide = [0; 16];
        wide[..bytes.len()].copy_from_slice(&bytes);
        let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
        let number = u64::try_from(u128::from_le_bytes(wide));
        Ok(number.ok().filter(|_| !negative).map_or(Item::Other, Item::Number))
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Cut,
            _ => Self::Io(error),
        }
    }
}
