//! Memory that a pool holds.

use std::sync::Arc;

use vmem_core::{Device, DevicePtr, DriverError};

/// One driver allocation, freed on drop after a wait for the whole device, as `cudaFree` does.
///
/// Rules drop it only when no block in it is handed out.
#[derive(Debug)]
pub(in crate::baselines) struct Segment {
    device: Arc<dyn Device>,
    ptr: DevicePtr,
}

impl Segment {
    /// Asks the driver for `bytes` bytes.
    pub(in crate::baselines) fn new(
        device: &Arc<dyn Device>,
        bytes: u64,
    ) -> Result<Self, DriverError> {
        Ok(Self { ptr: device.allocate(bytes)?, device: device.clone() })
    }

    /// The address of the byte at `offset`.
    pub(in crate::baselines) fn at(&self, offset: u64) -> DevicePtr {
        self.ptr.checked_add(offset).expect("the driver's range ends below 2^64")
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let freed = self.device.synchronize().and_then(|()| {
            // SAFETY: contract, devices/handles and devices/pending-work: the memory came from
            // `allocate`, no block in it is handed out, and all work on those that were has just
            // completed.
            unsafe { self.device.free(self.ptr) }
        });
        if let Err(error) = freed {
            self.device.base().drop_failures().record("a segment", &error);
        }
    }
}
