//! Copies of blocks taken when they were freed, compared later.

use std::sync::Arc;

use vmem_cli::parts::bytes;
use vmem_core::{BoxedError, Device, DeviceMemory, DriverError, Request, Stream};
use vmem_testkit::TrackedBlock;

/// How much is kept before it is compared, in bytes.
const MOST: u64 = 64 << 20;

/// What blocks held when they were freed.
///
/// A copy is queued on the freeing stream right before the free, and nothing waits for it on the
/// host: were the memory handed on too early, its next owner's bytes would be in the copy.
#[derive(Debug)]
pub(super) struct Evidence {
    memory: DeviceMemory,
    /// On which copies are compared.
    stream: Stream,
    kept: Vec<TrackedBlock>,
    bytes: u64,
    /// How many blocks were compared.
    blocks: u64,
    verified: u64,
}

impl Evidence {
    /// # Errors
    /// The driver's, for a stream.
    pub(super) fn new(device: &Arc<dyn Device>) -> Result<Self, DriverError> {
        Ok(Self {
            memory: DeviceMemory::new(device.clone()),
            stream: Stream::new(device.clone())?,
            kept: Vec::new(),
            bytes: 0,
            blocks: 0,
            verified: 0,
        })
    }

    /// Queues a copy of what a block holds; waits on the host only to compare what has gathered.
    ///
    /// # Errors
    /// The driver's; a copy taken earlier that is wrong.
    pub(super) fn take(
        &mut self,
        block: &mut TrackedBlock,
        stream: &Stream,
    ) -> Result<(), BoxedError> {
        if self.bytes + block.size() > MOST {
            self.settle()?;
        }
        let request = Request::new(block.layout(), stream);
        let mut copy = TrackedBlock::allocate(&self.memory, &request)?;
        let copied = block.copy_to(&mut copy, stream);
        self.bytes += copy.size();
        self.kept.push(copy);
        Ok(copied?)
    }

    /// Compares every byte of every copy.
    ///
    /// # Errors
    /// The first wrong byte; the driver's.
    pub(super) fn settle(&mut self) -> Result<(), BoxedError> {
        for mut copy in self.kept.drain(..) {
            let size = copy.size();
            let compared = copy.verify(&self.stream);
            copy.free(&self.memory, &self.stream)?;
            compared?;
            self.blocks += 1;
            self.verified += size;
        }
        self.bytes = 0;
        Ok(())
    }

    /// What was compared, for people.
    pub(super) fn summary(&self) -> String {
        format!("{} blocks, {} verified", self.blocks, bytes::show(self.verified))
    }
}
