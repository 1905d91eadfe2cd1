//! Traces as tables.

use std::io::{self, Write};

use crate::read::{LIFETIME_HEADER, RMM_HEADER};
use crate::trace::index;
use crate::{Event, Trace};

/// Writes a trace as the log of RMM's logging adaptor; see [`Format::RmmLog`](crate::Format::RmmLog).
///
/// Keeps streams, threads, noted failures and times to the microsecond, as a time of day from midnight;
/// labels and marks have no place in the format. Without times the event's number stands for microseconds. The
/// pointer stands for the slot.
///
/// # Errors
/// The error of `to`, if it cannot be written to.
pub fn write_rmm_log(trace: &Trace, mut to: impl Write) -> io::Result<()> {
    writeln!(to, "{}", RMM_HEADER)?;
    let mut sizes = vec![0; index(trace.slots())];
    for (at, event) in trace.events().iter().enumerate() {
        let (action, slot, size, origin) = match *event {
            Event::Allocate { slot, size, origin, .. } => {
                sizes[index(slot)] = size;
                ("allocate", Some(slot), size, origin)
            }
            Event::Free { slot, origin } => ("free", Some(slot), sizes[index(slot)], origin),
            Event::Failure { size, origin } => ("allocate failure", None, size, origin),
            Event::Mark(_) => continue,
        };
        let micros = trace.times().map_or(at as u64, |times| times[at] / 1_000);
        let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
        let (hours, minutes, seconds) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let time = format_args!("{hours:02}:{minutes:02}:{seconds:02}.{micros:06}");
        let pointer = slot.map_or(0, |slot| (u64::from(slot) + 1) << 8);
        writeln!(to, "{},{time},{action},{pointer:#x},{size},{:#x}", origin.thread, origin.stream)?;
    }
    to.flush()
}

/// Writes a trace as lifetimes; see [`Format::Lifetimes`](crate::Format::Lifetimes).
///
/// The time is the event's number. A block that is never freed lives up to the number of events.
/// Streams, threads, labels, noted failures and marks have no place in the format.
///
/// # Errors
/// The error of `to`, if it cannot be written to.
pub fn write_lifetimes(trace: &Trace, mut to: impl Write) -> io::Result<()> {
    writeln!(to, "{}", LIFETIME_HEADER)?;
    let mut id = 0u64;
    let mut live = vec![None; index(trace.slots())];
    let mut write = |lower: usize, upper: usize, size: u64| {
        id += 1;
        writeln!(to, "{},{lower},{upper},{size}", id - 1)
    };
    for (at, event) in trace.events().iter().enumerate() {
        match *event {
            Event::Allocate { slot, size, .. } => live[index(slot)] = Some((at, size)),
            Event::Free { slot, .. } => {
                if let Some((lower, size)) = live[index(slot)].take() {
                    write(lower, at, size)?;
                }
            }
            Event::Failure { .. } | Event::Mark(_) => {}
        }
    }
    for (lower, size) in live.into_iter().flatten() {
        write(lower, trace.events().len(), size)?;
    }
    to.flush()
}
