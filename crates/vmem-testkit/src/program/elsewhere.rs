//! Steps with a stream of another device.

use vmem_core::{BlockLayout, Request, Stream};

use super::model::Entry;
use super::run::Run;
use crate::Finding;
use crate::finding::ensure;

impl Run<'_> {
    /// Offers a stream of another device to a request, a block, a buffer and a stream.
    pub(super) fn elsewhere(
        &mut self,
        block: usize,
        buffer: usize,
        stream: &Stream,
    ) -> Result<(), Finding> {
        let Some(device) = self.subject.other_device.clone() else {
            return Ok(());
        };
        let foreign = Stream::new(device)?;
        let request = Request::new(BlockLayout::new(256)?, &foreign);
        ensure!(
            self.resource().allocate(&request).is_err(),
            "a request on a stream of another device was served"
        );
        ensure!(
            stream.wait(&foreign.marker()?).is_err(),
            "a stream waits for an event of another device"
        );
        if let Some(place) = self.model.pick(block) {
            let Entry { block, drawn_from } = self.model.remove(place);
            match block.free(self.resource(), &foreign) {
                Ok(()) => return Err(Finding::new("a block was freed on another device's stream")),
                Err(failed) => {
                    let block = failed.into_block();
                    self.model.put_back(Entry { block, drawn_from });
                }
            }
        }
        if let Some(place) = self.buffers.pick(buffer) {
            let buffer = &mut self.buffers.at(place).buffer;
            ensure!(buffer.set_stream(&foreign).is_err(), "a buffer's home is on another device");
            ensure!(
                buffer.make_ready_on(&foreign).is_err(),
                "a stream of another device may use a buffer"
            );
            ensure!(
                buffer.record_use(&foreign).is_err(),
                "a use of a buffer on another device was recorded"
            );
            ensure!(buffer.try_clone(&foreign).is_err(), "a buffer was cloned to another device");
        }
        Ok(())
    }
}
