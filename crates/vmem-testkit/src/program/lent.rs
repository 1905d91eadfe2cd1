//! Steps on a stream of somebody else, who destroys it without a word.

use vmem_core::author::StreamExt;
use vmem_core::{BlockLayout, DriverError, Label, Request, Stream};

use super::model::Entry;
use super::run::Run;
use crate::{Finding, TrackedBlock};

/// A stream that somebody else made.
#[derive(Debug)]
pub(super) struct Lent {
    /// Destroys it when dropped. No call of a step names the stream by this.
    _owner: Stream,
    borrowed: Stream,
}

impl Run<'_> {
    pub(super) fn on_lent(&mut self, size: u64, block: usize, ends: bool) -> Result<(), Finding> {
        let layout = BlockLayout::new(size)?;
        let fits = self.must_serve(size, self.has_room_elsewhere(layout));
        let lent = match self.lent.take() {
            Some(lent) => lent,
            None => self.borrow()?,
        };
        let stream = lent.borrowed.clone();
        let resource = self.resource();
        let request = Request::new(layout, &stream).with_label(Label::NONE);
        let allocate = || {
            TrackedBlock::allocate(resource, &request).map(|mut block| {
                let written = block.write(&stream);
                (block, written)
            })
        };
        // SAFETY: contract, devices/handles: the owner lives until after the call.
        let new = unsafe { stream.vouched(allocate) };
        let old = self.model.pick(block).map(|place| self.model.remove(place));
        let free =
            || old.map(|Entry { block, drawn_from }| (block.free(resource, &stream), drawn_from));
        let old = if ends {
            drop(lent);
            free()
        } else {
            // SAFETY: contract, devices/handles: as above.
            let old = unsafe { stream.vouched(free) };
            self.lent = Some(lent);
            old
        };
        let freed = old.map_or(Ok(()), |(freed, drawn_from)| self.was_freed(freed, drawn_from));
        match new {
            Ok((block, written)) => {
                self.admit(Entry { block, drawn_from: None }, layout, Label::NONE)?;
                written?;
            }
            Err(error) => self.may_refuse(fits, error)?,
        }
        freed
    }

    fn borrow(&self) -> Result<Lent, DriverError> {
        let owner = Stream::new(self.device().clone())?;
        // SAFETY: contract, devices/handles: the owner lives.
        let borrowed = unsafe { Stream::borrowed(self.device().clone(), owner.raw()) }?;
        Ok(Lent { _owner: owner, borrowed })
    }
}
