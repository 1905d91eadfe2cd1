//! Steps with memory that is set aside.

use vmem_core::{BlockLayout, Label, Request, Stream};

use super::model::Entry;
use super::run::Run;
use crate::{Finding, TrackedBlock};

impl Run<'_> {
    pub(super) fn reserve(&mut self, size: u64, stream: &Stream) -> Result<(), Finding> {
        // Whatever a reservation rounds to.
        let fits = self.must_serve(size.next_multiple_of(4096), false);
        match self.subject.probe.reserve(size, stream) {
            None => {}
            Some(Ok(handle)) => self.holds.admit(handle),
            Some(Err(error)) => self.may_refuse(fits, error)?,
        }
        Ok(())
    }

    pub(super) fn draw(&mut self, any: usize, size: u64, stream: &Stream) -> Result<(), Finding> {
        let Some((id, largest)) = self.holds.pick(any).map(|hold| (hold.id(), hold.largest()))
        else {
            return Ok(());
        };
        let layout = BlockLayout::new(size)?;
        let fits = self.must_serve(size, size.next_multiple_of(256) <= largest);
        let request = Request::new(layout, stream).with_label(Label::NONE).with_reservation(id);
        match TrackedBlock::allocate(self.subject.resource, &request) {
            Ok(block) => {
                let is_drawn = self.holds.pick(any).is_some_and(|hold| hold.contains(block.ptr()));
                let drawn_from = is_drawn.then_some(id);
                if drawn_from.is_some() {
                    self.holds.draw(id);
                }
                self.admit(Entry { block, drawn_from }, layout, Label::NONE)
            }
            Err(error) => self.may_refuse(fits, error),
        }
    }

    /// Notes what a reservation may have lost that ended since `before`, if a call was failed since.
    pub(super) fn note_lost_hold(&mut self, before: (usize, (u64, u64))) {
        let (faults, (holds, bytes)) = before;
        if self.faults() != faults {
            let (holds_now, bytes_now) = self.holds.held();
            self.note_leak(holds - holds_now, bytes - bytes_now);
        }
    }
}
