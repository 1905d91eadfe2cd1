//! Work of other streams on a piece of memory.

use crate::author::{IdleEvent, StreamExt};
use crate::{Device, DriverCode, DriverError, Event, RawStream, Stream, StreamId};

/// The latest use of memory by each stream, which covers the earlier ones, until it is ordered before
/// whatever ends the memory. Oldest first.
#[derive(Debug, Default)]
pub(crate) struct Uses(Vec<Use>);

#[derive(Debug)]
enum Use {
    /// Of a stream, up to the event.
    UpTo(StreamId, Event),
    /// It could be neither marked nor waited for. The stream is held, so that it can be marked later, or has
    /// left a final marker.
    Lost(Stream),
}

/// So many uses are remembered; the oldest beyond them is waited for.
pub(crate) const MOST: usize = 16;

impl Uses {
    /// Notes that work of `stream` up to `marker` uses the memory, instead of what was noted of it
    /// before.
    ///
    /// Where several threads may note uses of the memory, the lock around this is taken before the
    /// marker is recorded: otherwise an older marker could replace another thread's newer one.
    pub(crate) fn note(&mut self, stream: StreamId, marker: Event) {
        self.0.retain(|used| match used {
            Use::UpTo(id, event) => *id != stream && !event.was_observed(),
            Use::Lost(_) => true,
        });
        self.0.push(Use::UpTo(stream, marker));
    }

    /// Notes that a use by `stream` could be neither marked nor waited for. Until it can, nothing may be
    /// done with the memory.
    pub(crate) fn lose(&mut self, stream: &Stream) {
        self.0.push(Use::Lost(stream.clone()));
    }

    /// Whether a use is [lost](Self::lose).
    pub(crate) fn has_lost(&self) -> bool {
        self.0.iter().any(|used| matches!(used, Use::Lost(_)))
    }

    /// Tries again to mark what was lost.
    ///
    /// # Errors
    /// [`ILLEGAL_STATE`](DriverCode::ILLEGAL_STATE) if that fails.
    pub(crate) fn recover(&mut self) -> Result<(), DriverError> {
        if !self.has_lost() {
            return Ok(());
        }
        for lost in self.0.extract_if(.., |used| matches!(used, Use::Lost(_))).collect::<Vec<_>>() {
            let Use::Lost(stream) = lost else { continue };
            match stream.marker() {
                Ok(marker) => self.note(stream.id(), marker),
                Err(_) => self.0.push(Use::Lost(stream)),
            }
        }
        if !self.has_lost() {
            return Ok(());
        }
        let error = DriverError::new("the use of a block", DriverCode::ILLEGAL_STATE);
        Err(error.with_detail("the driver could neither mark it nor wait for it"))
    }

    fn marked(&self) -> impl Iterator<Item = (StreamId, &Event)> {
        self.0.iter().filter_map(|used| match used {
            Use::UpTo(id, event) => Some((*id, event)),
            Use::Lost(_) => None,
        })
    }

    /// The markers, oldest first.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Event> {
        self.marked().map(|(_, event)| event)
    }

    /// The markers of all streams but one.
    pub(crate) fn events_but(&self, stream: StreamId) -> impl Iterator<Item = &Event> {
        self.marked().filter(move |(id, _)| *id != stream).map(|(_, event)| event)
    }

    /// Forgets the oldest uses beyond [`MOST`], once they are over or `order` has ordered them before
    /// whatever ends the memory. If that fails they stay.
    pub(crate) fn limit(&mut self, order: impl Fn(&Event) -> Result<(), DriverError>) {
        while self.marked().count() > MOST {
            let is_marked = |used: &Use| matches!(used, Use::UpTo(..));
            let Some(oldest) = self.0.iter().position(is_marked) else { return };
            if let Use::UpTo(_, event) = &self.0[oldest]
                && !matches!(event.is_complete(), Ok(true))
                && order(event).is_err()
            {
                return;
            }
            self.0.remove(oldest);
        }
    }

    /// Forgets all uses but those that were lost: they are ordered before whatever ends the memory.
    pub(crate) fn forget(&mut self) {
        self.0.retain(|used| matches!(used, Use::Lost(_)));
    }

    /// Orders work that is about to be queued on `home` after all uses: `home` waits for them on the
    /// device, or the host does where it cannot.
    pub(crate) fn precede_work(&mut self, home: &Stream) -> Result<(), DriverError> {
        self.recover()?;
        if let Err(error) = home.wait_all(self.events()) {
            self.observe().map_err(|_| error)?;
        }
        self.forget();
        Ok(())
    }

    /// Orders a free on `home` after all uses. Of a capturing stream the waits are left to whoever uses
    /// the memory again.
    #[inline]
    pub(crate) fn precede_free(&mut self, home: &Stream) -> Result<(), DriverError> {
        if self.0.is_empty() { Ok(()) } else { self.order_before_free(home) }
    }

    #[cold]
    fn order_before_free(&mut self, home: &Stream) -> Result<(), DriverError> {
        self.recover()?;
        self.events().try_for_each(|event| wait_or_leave(home, event)).or_else(|error| {
            // The home stream cannot wait; the host can.
            self.observe().map_err(|_| error)
        })?;
        self.forget();
        Ok(())
    }

    /// Waits for all uses on the host.
    pub(crate) fn observe(&self) -> Result<(), DriverError> {
        self.events().try_for_each(Event::synchronize)
    }
}

/// Makes `home` wait for `event` before memory freed on it is used again.
pub(crate) fn wait_or_leave(home: &Stream, event: &Event) -> Result<(), DriverError> {
    if event.was_observed() {
        return Ok(());
    }
    match home.wait(event) {
        Err(error) if error.is_capture() => home.wait_later(event),
        waited => waited,
    }
}

/// How the end of queued work is known.
#[derive(Debug)]
pub(crate) enum Marked {
    /// By an event.
    At(Event),
    /// It has completed.
    Complete,
    /// Not at all: the driver refused to mark it and to wait for it.
    Lost(DriverError),
}

/// Queues work outside of any capture, with an event behind it. Whatever can fail without harm comes
/// before the work: an error means that nothing was queued.
pub(crate) fn queue_marked(
    stream: &Stream,
    call: &'static str,
    queue: impl FnOnce(&dyn Device, RawStream) -> Result<(), DriverError>,
) -> Result<Marked, DriverError> {
    let event = IdleEvent::new(stream.device().clone())?;
    stream.with_raw_outside_capture(call, queue)?;
    Ok(match stream.record(event) {
        Ok(event) => Marked::At(event),
        Err((_, error)) => match stream.synchronize_alone() {
            Ok(()) => Marked::Complete,
            Err(_) => Marked::Lost(error),
        },
    })
}
