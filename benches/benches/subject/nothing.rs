//! A resource that does nothing, so that what surrounds every resource can be taken off.

use std::sync::Arc;

use vmem_core::{
    AllocError, Block, Capabilities, Device, DevicePtr, Features, FreeError, MemoryResource,
    RawBlock, Request, ResourceId, Stream,
};

/// Hands out one address for every block, with nothing behind it.
#[derive(Debug)]
pub(crate) struct Nothing {
    pub(crate) device: Arc<dyn Device>,
    pub(crate) id: ResourceId,
}

impl std::fmt::Display for Nothing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nothing")
    }
}

// SAFETY: contract, implementing: not kept, for blocks lie over each other. No bench touches what is
// behind a block, and this resource stands in no stack.
unsafe impl MemoryResource for Nothing {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        let ptr = DevicePtr::new(1 << 30).expect("it is not zero");
        let raw = RawBlock::new(ptr, request.layout, self.id, 0, 0, request.label);
        // SAFETY: contract, implementing/owned: the resource issues its own block.
        Ok(unsafe { Block::from_raw(raw) })
    }

    unsafe fn deallocate(&self, block: Block, _: &Stream) -> Result<(), FreeError> {
        let _ = block.into_raw();
        Ok(())
    }

    fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(Features::STREAM_ORDERED)
    }
}
