//! When work on a buffer is over.

use vmem_core::author::StreamExt;
use vmem_core::{DriverError, Event, Stream, StreamId};

use super::SpillMemory;

/// Work of one stream that uses a buffer.
#[derive(Debug, Clone)]
pub(super) enum Use {
    /// Up to the event.
    UpTo(StreamId, Event),
    /// It could be neither marked nor waited for. It is tried again.
    Lost(Stream),
}

/// How work that is queued on a stream now can be told to be over.
#[derive(Debug)]
pub(super) enum Mark {
    Pending(Use),
    /// The host has waited for it.
    Over,
    /// It runs whenever a graph is launched, or has an order that could not be had.
    Unknown,
}

/// Marks what is on `stream` now. Where it captures nobody knows when that runs, unless what it captures uses
/// nothing here or is of a graph that has a hold (`is_safe`): then only what was queued before the capture is
/// to be marked, once that is over.
pub(super) fn mark_under(stream: &Stream, is_safe: bool) -> Mark {
    match mark(stream) {
        Mark::Unknown if is_safe => Mark::Pending(Use::Lost(stream.clone())),
        mark => mark,
    }
}

/// Marks what is on the home stream of memory now, and the uses that were recorded with the memory.
pub(super) fn mark_home<B: SpillMemory>(memory: &B, is_held: bool) -> Mark {
    let home = memory.stream();
    match memory.make_ready_on(home) {
        Ok(()) => mark_under(home, is_held),
        // A mark of the home stream would leave them out.
        Err(_) => Mark::Unknown,
    }
}

/// Marks what is on `stream` now.
pub(super) fn mark(stream: &Stream) -> Mark {
    match stream.marker() {
        Ok(event) => Mark::Pending(Use::UpTo(stream.id(), event)),
        Err(error) if error.is_capture() => Mark::Unknown,
        Err(_) if stream.synchronize_alone().is_ok() => Mark::Over,
        Err(_) => Mark::Pending(Use::Lost(stream.clone())),
    }
}

/// Forgets the uses that are over, and returns true if all are. Asks the driver, and waits for nothing.
pub(super) fn are_over(uses: &mut Vec<Use>) -> bool {
    recover(uses);
    uses.retain(|used| match used {
        // One that cannot be asked about stays.
        Use::UpTo(_, event) => !matches!(event.is_complete(), Ok(true)),
        Use::Lost(_) => true,
    });
    uses.is_empty()
}

/// Waits on the host for all uses, and returns true if all are over.
pub(super) fn finish(uses: &mut Vec<Use>) -> bool {
    recover(uses);
    uses.retain(|used| match used {
        Use::UpTo(_, event) => event.synchronize().is_err(),
        Use::Lost(_) => true,
    });
    uses.is_empty()
}

/// The events of those that can be waited for.
pub(super) fn events(uses: &[Use]) -> impl Iterator<Item = &Event> {
    uses.iter().filter_map(|used| match used {
        Use::UpTo(_, event) => Some(event),
        Use::Lost(_) => None,
    })
}

/// Has work that is queued on `stream` from now on wait for all uses. Its own it is behind as it is.
///
/// # Errors
/// Those of the stream of a use that can be neither marked nor waited for; those of [`Stream::wait`].
pub(super) fn precede_work(mut uses: Vec<Use>, stream: &Stream) -> Result<(), DriverError> {
    recover(&mut uses);
    for used in &uses {
        if let Use::Lost(lost) = used
            && lost != stream
        {
            lost.synchronize_alone()?;
        }
    }
    stream.wait_all(events(&uses))
}

/// Orders a free on `home` after all uses. Its own it is behind as it is.
pub(super) fn precede_free(mut uses: Vec<Use>, home: &Stream) -> Result<(), DriverError> {
    recover(&mut uses);
    for used in &uses {
        match used {
            Use::UpTo(id, _) if *id == home.id() => {}
            Use::Lost(stream) if stream == home => {}
            Use::UpTo(_, event) if event.was_observed() => {}
            Use::UpTo(_, event) => wait_or_leave(home, event).or_else(|_| event.synchronize())?,
            Use::Lost(stream) => stream.synchronize_alone()?,
        }
    }
    Ok(())
}

/// Of a capturing stream the wait is left to whoever uses the memory again.
fn wait_or_leave(home: &Stream, event: &Event) -> Result<(), DriverError> {
    match home.wait(event) {
        Err(error) if error.is_capture() => home.wait_later(event),
        waited => waited,
    }
}

/// Tries again to mark what was lost.
fn recover(uses: &mut [Use]) {
    for used in uses {
        if let Use::Lost(stream) = used
            && let Ok(event) = stream.marker()
        {
            *used = Use::UpTo(stream.id(), event);
        }
    }
}
