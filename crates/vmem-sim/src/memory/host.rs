//! Memory of the host that stands for pinned and managed memory, so that host views are real.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// Zeroed host memory at a fixed address, aligned to 256 bytes. The operating system provides
/// pages as they are touched.
#[derive(Debug)]
pub(crate) struct HostBuffer {
    allocation: NonNull<u8>,
    layout: Layout,
    /// Where the aligned part starts.
    start: NonNull<u8>,
}

const ALIGNMENT: usize = 256;

// SAFETY: the buffer owns its allocation; access to the bytes is ordered by the rules of the
// device (contract, devices/pending-work and devices/host-memory).
unsafe impl Send for HostBuffer {}

impl HostBuffer {
    /// `None` if the host has not enough.
    pub(crate) fn new(bytes: u64) -> Option<Self> {
        let size = usize::try_from(bytes).ok()?.checked_add(ALIGNMENT)?;
        // With byte alignment the allocator can return fresh pages without clearing them.
        let layout = Layout::from_size_align(size, 1).ok()?;
        // SAFETY: the size is not zero.
        let allocation = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        let slack = allocation.align_offset(ALIGNMENT);
        // SAFETY: the slack is below the alignment, which the allocation has in excess.
        let start = unsafe { allocation.add(slack) };
        Some(Self { allocation, layout, start })
    }

    pub(crate) fn address(&self) -> u64 {
        self.start.as_ptr().expose_provenance() as u64
    }

    /// Where byte `offset`, which lies inside, is.
    pub(crate) fn at(&self, offset: u64) -> *mut u8 {
        let offset = usize::try_from(offset).expect("it lies inside host memory");
        self.start.as_ptr().wrapping_add(offset)
    }

    pub(crate) fn read(&self, offset: u64, bytes: &mut [u8]) {
        let from = self.at(offset);
        // SAFETY: the range was resolved to lie inside; that no host access goes on is promised by
        // whoever queued the work (contract, devices/host-memory).
        unsafe { std::ptr::copy(from, bytes.as_mut_ptr(), bytes.len()) };
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) {
        let to = self.at(offset);
        // SAFETY: as for `read`.
        unsafe { std::ptr::copy(bytes.as_ptr(), to, bytes.len()) };
    }
}

impl Drop for HostBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.allocation.as_ptr(), self.layout) };
    }
}
