//! The bytes of a file: decompressed, limited, and looked at before they are read.

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::Irregularity;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// How much of the beginning is looked at to tell a format, in bytes.
pub(super) const PREFIX: usize = 64 << 10;

/// What a file is compressed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Packing {
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// A file after decompression, its beginning kept aside.
pub(super) struct Source<'a> {
    pub(super) prefix: Vec<u8>,
    pub(super) rest: Limited<'a>,
    pub(super) packed: Option<Packing>,
}

/// What went wrong below, where the reader that notices it cannot tell.
#[derive(Default)]
struct Below {
    /// The compressed file is at its end.
    ended: Cell<bool>,
    /// The compressed file could not be read.
    failed: Cell<bool>,
    /// What became of decompression.
    broken: RefCell<Option<(Irregularity, String)>>,
}

/// Decompressed bytes up to a limit.
pub(super) struct Limited<'a> {
    from: Box<dyn Read + 'a>,
    most: u64,
    left: u64,
    below: Rc<Below>,
}

impl<'a> Source<'a> {
    /// Looks at the beginning of `from`.
    ///
    /// # Errors
    /// The error of `from`, if it cannot be read.
    pub(super) fn open(from: impl Read + 'a, most: u64) -> io::Result<Self> {
        let below = Rc::new(Below::default());
        let mut tap = Tap { from, below: below.clone() };
        let mut start = Vec::new();
        (&mut tap).take(4).read_to_end(&mut start)?;
        let packed = match &start[..] {
            start if start.starts_with(GZIP) => Some(Packing::Gzip),
            start if start.starts_with(ZSTD) => Some(Packing::Zstd),
            _ => None,
        };
        let whole = Cursor::new(start).chain(tap);
        let from: Box<dyn Read + 'a> = match packed {
            Some(Packing::Gzip) => Box::new(MultiGzDecoder::new(BufReader::new(whole))),
            Some(Packing::Zstd) => Box::new(Frames {
                from: BufReader::new(whole),
                decoder: FrameDecoder::new(),
                running: false,
            }),
            None => Box::new(whole),
        };
        let mut rest = Limited { from, most, left: most, below };
        let mut prefix = Vec::new();
        (&mut rest).take(PREFIX as u64).read_to_end(&mut prefix)?;
        Ok(Self { prefix, rest, packed })
    }

    /// The whole, from the beginning on.
    pub(super) fn read(&mut self) -> BufReader<Chain<&[u8], &mut Limited<'a>>> {
        BufReader::with_capacity(PREFIX, self.prefix.as_slice().chain(&mut self.rest))
    }

    /// The same without a byte order mark.
    pub(super) fn read_text(&mut self) -> BufReader<Chain<&[u8], &mut Limited<'a>>> {
        let prefix = self.prefix.as_slice();
        let prefix = prefix.strip_prefix("\u{feff}".as_bytes()).unwrap_or(prefix);
        BufReader::with_capacity(PREFIX, prefix.chain(&mut self.rest))
    }

    /// Why decompression stopped before its end, if it did.
    pub(super) fn broken(&self) -> Option<(Irregularity, String)> {
        self.rest.below.broken.borrow().clone()
    }
}

impl Read for Limited<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.below.broken.borrow().is_some() {
            return Ok(0);
        }
        match self.from.read(into) {
            Ok(count) => match self.left.checked_sub(count as u64) {
                Some(left) => {
                    self.left = left;
                    Ok(count)
                }
                None => Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    format!("it is longer than the {} bytes that are read at most", self.most),
                )),
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) if self.below.failed.get() => Err(error),
            Err(error) => {
                let ended = self.below.ended.get();
                let what = if ended { Irregularity::CutEnd } else { Irregularity::Damaged };
                let how = if ended { "cut off" } else { "damaged" };
                let words = format!("the compressed data is {how} ({error})");
                *self.below.broken.borrow_mut() = Some((what, words));
                Ok(0)
            }
        }
    }
}

/// Tells what happens to the file below a decompressor.
struct Tap<R> {
    from: R,
    below: Rc<Below>,
}

impl<R: Read> Read for Tap<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(into);
        match &read {
            Ok(0) if !into.is_empty() => self.below.ended.set(true),
            Err(error) if error.kind() != io::ErrorKind::Interrupted => self.below.failed.set(true),
            _ => {}
        }
        read
    }
}

/// The frames of a zstd file, one after the other; the library decodes one.
struct Frames<R> {
    from: R,
    decoder: FrameDecoder,
    /// Within a frame.
    running: bool,
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.running {
                while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                    let one = BlockDecodingStrategy::UptoBlocks(1);
                    self.decoder.decode_blocks(&mut self.from, one).map_err(io::Error::other)?;
                }
                let count = self.decoder.read(into)?;
                if count > 0 || into.is_empty() {
                    return Ok(count);
                }
                self.running = false;
                let written = self.decoder.get_checksum_from_data();
                if written.is_some() && written != self.decoder.get_calculated_checksum() {
                    return Err(io::Error::other("the checksum does not match"));
                }
            }
            if self.from.fill_buf()?.is_empty() {
                return Ok(0);
            }
            match self.decoder.init(&mut self.from) {
                Ok(()) => self.running = true,
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    io::copy(&mut (&mut self.from).take(length.into()), &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }
}
