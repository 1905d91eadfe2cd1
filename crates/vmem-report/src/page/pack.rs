//! Series as the script of the page reads them: little-endian numbers, compressed, in base64.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::axis::Axis;
use crate::space::Frame;

/// Numbers and bytes to be carried by the page.
#[derive(Debug, Default)]
pub(crate) struct Blob {
    numbers: Vec<u8>,
    bytes: Vec<u8>,
}

impl Blob {
    /// Adds numbers, which the script has as `f64`. Returns the place of the first.
    pub(crate) fn numbers(&mut self, numbers: impl IntoIterator<Item = u64>) -> usize {
        let at = self.numbers.len() / 8;
        for number in numbers {
            self.numbers.extend_from_slice(&float(number).to_le_bytes());
        }
        at
    }

    /// Adds the ranges of frames. Returns the place of the first byte.
    ///
    /// For each frame the number of ranges; for each range the distance from the end of the one before,
    /// its length, both in `unit` bytes on the axis, and its kind: all in seven bits a byte, lowest
    /// first, the eighth set where more follow.
    pub(crate) fn ranges(&mut self, frames: &[Frame], axis: &Axis, unit: u64) -> usize {
        let at = self.bytes.len();
        for frame in frames {
            self.variable(u64::try_from(frame.ranges.len()).unwrap_or(u64::MAX));
            let mut end = 0;
            for range in &frame.ranges {
                let place = axis.place(range.start).expect("the axis has every range");
                self.variable(place.saturating_sub(end) / unit);
                self.variable(range.size / unit);
                self.bytes.push(range.kind);
                end = place + range.size;
            }
        }
        at
    }

    fn variable(&mut self, mut value: u64) {
        loop {
            let low = u8::try_from(value & 0x7f).expect("it has seven bits");
            value >>= 7;
            if value == 0 {
                self.bytes.push(low);
                return;
            }
            self.bytes.push(low | 0x80);
        }
    }

    /// The text that the page carries, and where the bytes begin in what it stands for.
    pub(crate) fn encode(&self) -> io::Result<(String, usize)> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&self.numbers)?;
        encoder.write_all(&self.bytes)?;
        Ok((STANDARD.encode(encoder.finish()?), self.numbers.len()))
    }
}

/// The largest power of two that all sizes and distances of the frames are multiples of.
pub(crate) fn unit(frames: &[Frame], axis: &Axis) -> u64 {
    let ranges = frames.iter().flat_map(|frame| &frame.ranges);
    let bits =
        ranges.fold(0, |bits, range| bits | axis.place(range.start).unwrap_or(0) | range.size);
    1 << bits.trailing_zeros().min(40)
}

#[expect(clippy::cast_precision_loss, reason = "no device has 2^53 bytes")]
fn float(number: u64) -> f64 {
    number as f64
}
