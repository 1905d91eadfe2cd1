//! Leaves: resources that ask the driver for every block.

mod async_memory;
mod plain;

pub use async_memory::AsyncMemory;
pub use plain::{DeviceMemory, PinnedMemory};

use std::sync::Arc;

use crate::{
    AllocError, AllocErrorKind, Block, BlockLayout, BlockTable, Device, DevicePtr, DriverError,
    Request,
};

/// What every leaf does: ask for enough to align the block, and keep the base it must free.
#[derive(Debug)]
struct Leaf {
    name: &'static str,
    device: Arc<dyn Device>,
    /// The driver's address of each block.
    blocks: BlockTable<DevicePtr>,
}

impl Leaf {
    fn new(name: &'static str, device: Arc<dyn Device>) -> Self {
        Self { name, device, blocks: BlockTable::new() }
    }

    fn allocate(
        &self,
        request: &Request<'_>,
        driver: impl FnOnce(u64) -> Result<DevicePtr, DriverError>,
    ) -> Result<Block, AllocError> {
        let layout = request.layout;
        if request.stream.device_id() != self.device.id() {
            return Err(AllocError::new(AllocErrorKind::InvalidStream, layout, self.name));
        }
        // Drivers align to 256 or better, so this slack is enough to align further.
        let slack = layout.alignment().saturating_sub(BlockLayout::DEFAULT_ALIGNMENT);
        let base = driver(layout.size() + slack)
            .map_err(|error| AllocError::from_driver(error, layout, self.name))?;
        let ptr = base.align_up(layout.alignment()).expect("the driver's range ends below 2^64");
        Ok(self.blocks.issue(ptr, layout, request.label, base))
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        let live = self.blocks.len();
        if live != 0 {
            let failures = self.device.base().drop_failures();
            failures.record(self.name, &format_args!("{live} live blocks leak"));
        }
    }
}
