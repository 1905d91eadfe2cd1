//! Steps under a capture, and on a thread that ends.

use vmem_core::{
    AllocErrorKind, BlockLayout, DriverCode, DriverError, Label, Request, Stream, StreamKind,
};

use super::buffers::Kept;
use super::model::Entry;
use super::run::{Run, elsewhere};
use crate::{Finding, TrackedBlock};

impl Run<'_> {
    /// Captures a write and a request, and launches what was captured.
    pub(super) fn capture(
        &mut self,
        block: usize,
        size: u64,
        stream: &Stream,
    ) -> Result<(), Finding> {
        if stream.kind() == StreamKind::LegacyDefault {
            return Ok(());
        }
        let (resource, control) = (self.resource(), self.device_control());
        let layout = BlockLayout::new(size)?;
        let request = Request::new(layout, stream).with_label(Label::NONE);
        let mut served = None;
        let mut capture = |write: &mut dyn FnMut() -> Result<(), DriverError>| {
            let captured = control.capture(stream, &mut || {
                write()?;
                served = Some(resource.allocate(&request));
                write()
            });
            // Without a capture the write is made all the same.
            captured.unwrap_or_else(write)
        };
        let written = match self.model.pick(block) {
            Some(place) => self.model.at(place).write_by(stream, capture),
            None => capture(&mut || Ok(())),
        };
        match served {
            Some(Ok(block)) => {
                let block = TrackedBlock::adopt(block, resource, stream)?;
                self.admit(Entry { block, drawn_from: None }, layout, Label::NONE)?;
            }
            Some(Err(error)) if error.kind() == AllocErrorKind::Capturing => self.note_refusal(),
            Some(Err(error)) => self.may_refuse(false, error)?,
            None => {}
        }
        Ok(written?)
    }

    /// Drops a buffer while `capturing` captures, and lets another stream ask for a block and write
    /// it. The capture ends well, and what was asked for was not captured.
    pub(super) fn ask_in_capture(
        &mut self,
        kept: Kept<'_>,
        capturing: &Stream,
        asks: Option<(&Stream, u64)>,
    ) -> Result<(), Finding> {
        let (resource, control) = (self.resource(), self.device_control());
        let (mut kept, mut asked) = (Some(kept), None);
        let captured = control.capture(capturing, &mut || {
            drop(kept.take());
            if let Some((asker, size)) = asks {
                let layout = BlockLayout::new(size).map_err(|_| no_layout())?;
                let request = Request::new(layout, asker).with_label(Label::NONE);
                let block = TrackedBlock::allocate(resource, &request).map(|mut block| {
                    let written = block.write(asker);
                    (block, written)
                });
                asked = Some((layout, block));
            }
            Ok(())
        });
        drop(kept);
        match asked {
            Some((layout, Ok((block, written)))) => {
                self.admit(Entry { block, drawn_from: None }, layout, Label::NONE)?;
                written?;
            }
            Some((_, Err(error))) if error.kind() == AllocErrorKind::Capturing => {
                self.note_refusal();
            }
            Some((_, Err(error))) => self.may_refuse(false, error)?,
            None => {}
        }
        match captured {
            Some(Err(error)) => Err(Finding::new(format!("the capture was broken: {error}"))),
            _ => Ok(()),
        }
    }

    /// On a thread that ends with its work pending: asks for a block, writes it, and frees another.
    pub(super) fn in_thread(&mut self, size: u64, block: usize) -> Result<(), Finding> {
        let layout = BlockLayout::new(size)?;
        let fits = self.must_serve(size, self.has_room_elsewhere(layout));
        let (resource, device) = (self.resource(), self.device().clone());
        let old = self.model.pick(block).map(|place| self.model.remove(place));
        let (new, old) = elsewhere(move || {
            let stream = Stream::per_thread_default(device.clone());
            let request = Request::new(layout, &stream).with_label(Label::NONE);
            let new = TrackedBlock::allocate(resource, &request).map(|mut block| {
                let written = block.write(&stream);
                (block, written)
            });
            let old = old.map(|Entry { block, drawn_from }| {
                let freed = block.free(resource, &stream);
                (freed, drawn_from)
            });
            (new, old)
        });
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
}

fn no_layout() -> DriverError {
    DriverError::new("Program::run", DriverCode::INVALID_VALUE)
}
