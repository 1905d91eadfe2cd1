//! Traces as recordings.

use std::io::{self, Write};

use super::format::{Encoder, Entry, Kind};
use crate::trace::index;
use crate::{Event, Origin, Trace};

/// Writes a trace as a recording; see [`Format::Recording`](crate::Format::Recording).
///
/// Keeps everything. An address stands for a slot, so that the bytes depend on the trace alone and
/// compress well. O(events).
///
/// ```
/// use vmem_core::Label;
/// use vmem_trace::{Origin, TraceBuilder, write_recording};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut builder = TraceBuilder::new();
/// let block = builder.allocate(1000, Origin::default(), Label::intern("a"))?;
/// builder.free(block, Origin::default())?;
/// let mut written = Vec::new();
/// write_recording(&builder.finish("one block"), &mut written)?;
/// // The example of docs/formats.md, which has the layout.
/// let frame = b"\x11\0\0\0\x08\xa2\x42\x7f\0\0\x01a\x09\0\x01\x02\xe8\x07\x02\0\0\xe8\x07\x06\0";
/// assert_eq!(written, [&b"vmem recording 2\n"[..], frame].concat());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The error of `to`, if it cannot be written to.
pub fn write_recording(trace: &Trace, to: impl Write) -> io::Result<()> {
    let mut encoder = Encoder::new(to)?;
    let mut live = vec![Entry::of(Origin::default()); index(trace.slots())];
    for (at, event) in trace.events().iter().enumerate() {
        let time = trace.times().map_or(0, |times| times[at]);
        match *event {
            Event::Allocate { slot, size, origin, label } => {
                let address = u64::from(slot) + 1;
                let entry = Entry { label, address, size, ..Entry::of(origin) };
                live[index(slot)] = entry;
                encoder.entry(Kind::Allocate, &entry, time)?;
            }
            Event::Free { slot, origin } => {
                let Entry { address, size, .. } = live[index(slot)];
                encoder.entry(Kind::Free, &Entry { address, size, ..Entry::of(origin) }, time)?;
            }
            Event::Failure { size, origin } => {
                encoder.entry(Kind::Failure, &Entry { size, ..Entry::of(origin) }, time)?;
            }
            Event::Mark(mark) => encoder.mark(mark, time)?,
        }
    }
    encoder.end()
}
