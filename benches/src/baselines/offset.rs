//! The crate offset-allocator as a memory resource.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use offset_allocator::{Allocation, Allocator};
use vmem_core::{Device, DevicePtr, DriverCode, DriverError, MemoryResource, Stream};

use super::model::{Model, Rules, Segment, put_after};

/// The crate [offset-allocator](https://crates.io/crates/offset-allocator) over one range of
/// `bytes` bytes, taken from `device` at once: not a model, the crate itself, in units of 256 bytes
/// and behind a mutex.
///
/// It is a two-level segregated fit with eight bins per power of two: a search starts at the bin
/// above the request's own, unless the request has exactly its bin's size, so holes that would just
/// do are missed. It knows nothing of streams; whenever the stream of a call differs from that of
/// the call before, the one waits for the other on the device.
///
/// O(1) per call.
///
/// # Errors
/// The driver's, for the range.
pub fn offset_allocator(
    device: Arc<dyn Device>,
    bytes: u64,
) -> Result<impl MemoryResource + 'static, DriverError> {
    let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX);
    let rules = OneRange {
        segment: Segment::new(&device, u64::from(units) * UNIT)?,
        allocator: Allocator::new(units),
        last: None,
    };
    Ok(Model::new("offset_allocator", device, rules))
}

/// The crate counts in 32 bits, so it is given units of so many bytes.
const UNIT: u64 = 256;

struct OneRange {
    segment: Segment,
    allocator: Allocator,
    /// The stream of the last call.
    last: Option<Stream>,
}

/// The crate's handle of a block.
struct Held(Allocation);

impl OneRange {
    /// Puts what is queued on `stream` from now on after what was queued on the stream of every
    /// call so far.
    fn follow(&mut self, stream: &Stream) -> Result<(), DriverError> {
        if let Some(last) = &self.last {
            if last == stream {
                return Ok(());
            }
            put_after(stream, last)?;
        }
        self.last = Some(stream.clone());
        Ok(())
    }
}

impl Rules for OneRange {
    type Held = Held;

    fn allocate(
        &mut self,
        bytes: u64,
        stream: &Stream,
    ) -> Result<(DevicePtr, Self::Held), DriverError> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok();
        let full = || DriverError::new("offset_allocator", DriverCode::OUT_OF_MEMORY);
        let block = units.and_then(|units| self.allocator.allocate(units)).ok_or_else(full)?;
        if let Err(error) = self.follow(stream) {
            self.allocator.free(block);
            return Err(error);
        }
        Ok((self.segment.at(u64::from(block.offset) * UNIT), Held(block)))
    }

    fn free(&mut self, held: &Self::Held, stream: &Stream) -> Result<(), DriverError> {
        self.follow(stream)?;
        self.allocator.free(held.0);
        Ok(())
    }
}

impl fmt::Debug for OneRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneRange").field("segment", &self.segment).finish_non_exhaustive()
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unit {}", self.0.offset)
    }
}
