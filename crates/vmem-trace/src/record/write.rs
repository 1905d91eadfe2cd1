//! Traces as recordings.

use std::collections::HashMap;
use std::io::{self, Write};

use vmem_core::Label;

use super::format::{Entry, Kind, LONGEST_LABEL, MAGIC};
use crate::trace::index;
use crate::{Event, Origin, Trace};

/// Writes a trace as a recording; see [`Format::Recording`](crate::Format::Recording).
///
/// Keeps everything but marks, which have no place in the format. An address stands for a slot, so that
/// the bytes depend on the trace alone and compress well. O(events), in small writes: `to` should have a
/// buffer.
///
/// # Errors
/// The error of `to`, if it cannot be written to.
pub fn write_recording(trace: &Trace, mut to: impl Write) -> io::Result<()> {
    to.write_all(MAGIC)?;
    let mut labels = HashMap::new();
    let mut live = vec![(0, 0); index(trace.slots())];
    let address = |slot: u32| u64::from(slot) + 1;
    for event in trace.events() {
        let (kind, label, origin, address, size) = match *event {
            Event::Allocate { slot, size, origin, label } => {
                let label = number(label, &mut labels, &mut to)?;
                live[index(slot)] = (size, label);
                (Kind::Allocate, label, origin, address(slot), size)
            }
            Event::Free { slot, origin } => {
                let (size, label) = live[index(slot)];
                (Kind::Free, label, origin, address(slot), size)
            }
            Event::Failure { size, origin } => (Kind::Failure, 0, origin, 0, size),
            Event::Mark(_) => continue,
        };
        let Origin { stream, thread } = origin;
        let entry = Entry { label, thread, stream: stream.into(), address, size };
        to.write_all(&entry.encode(kind))?;
    }
    to.flush()
}

/// The number of a label, which is defined now if it is new.
fn number(label: Label, labels: &mut HashMap<Label, u32>, to: &mut impl Write) -> io::Result<u32> {
    if label == Label::NONE {
        return Ok(0);
    }
    if let Some(&number) = labels.get(&label) {
        return Ok(number);
    }
    let number = u32::try_from(labels.len() + 1).map_err(io::Error::other)?;
    let name = label.as_str();
    let name = &name[..name.floor_char_boundary(LONGEST_LABEL)];
    let length = u32::try_from(name.len()).map_err(io::Error::other)?;
    to.write_all(&[Kind::Label as u8])?;
    to.write_all(&number.to_le_bytes())?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(name.as_bytes())?;
    labels.insert(label, number);
    Ok(number)
}
