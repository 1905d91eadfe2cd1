//! Segments that grow: a range of addresses, and the pages of memory in it.

use std::ops::Range;

use vmem_core::{DevicePtr, DriverCode, DriverError, PhysicalHandle, VirtualMemory};

use super::rules::{PoolKind, segment_range};

/// A range of addresses for one pool of one stream (`ExpandableSegment`).
#[derive(Debug)]
pub(super) struct ExpandableSegment {
    base: DevicePtr,
    page: u64,
    /// What each page is mapped to.
    pages: Vec<Option<PhysicalHandle>>,
}

impl ExpandableSegment {
    /// Reserves addresses, and no memory.
    pub(super) fn new(
        memory: &dyn VirtualMemory,
        device_memory: u64,
        kind: PoolKind,
    ) -> Result<Self, DriverError> {
        let page = kind.page();
        let bytes = segment_range(device_memory, page);
        let base = memory.reserve(bytes)?;
        let pages = usize::try_from(bytes / page).expect("a device has fewer than 2^32 pages");
        Ok(Self { base, page, pages: vec![None; pages] })
    }

    pub(super) const fn base(&self) -> u64 {
        self.base.get()
    }

    /// The bytes of address space.
    pub(super) const fn size(&self) -> u64 {
        self.pages.len() as u64 * self.page
    }

    /// Puts memory under the pages that hold `size` bytes from `ptr`, the start of an unmapped
    /// page, and returns how many bytes those are. All or nothing.
    ///
    /// # Errors
    /// The driver's, out of memory among them.
    pub(super) fn map(
        &mut self,
        memory: &dyn VirtualMemory,
        ptr: u64,
        size: u64,
    ) -> Result<u64, DriverError> {
        let first = self.index(ptr - self.base());
        let pages = first..self.index((ptr - self.base() + size).next_multiple_of(self.page));
        debug_assert_eq!(self.address(first).get(), ptr);
        // As PyTorch does: all memory first, then all mappings, then access to all.
        for page in pages.clone() {
            match memory.create(self.page) {
                Ok(handle) => self.pages[page] = Some(handle),
                Err(error) => {
                    self.release(memory, first..page)?;
                    return Err(error);
                }
            }
        }
        let mut mapped = first..first;
        match self.map_and_set_access(memory, pages.clone(), &mut mapped) {
            Ok(()) => Ok(pages.len() as u64 * self.page),
            Err(error) => {
                self.unmap_pages(memory, mapped.clone()).1?;
                self.release(memory, mapped.end..pages.end)?;
                Err(error)
            }
        }
    }

    /// Maps pages that have memory; `mapped` says how far it came.
    fn map_and_set_access(
        &self,
        memory: &dyn VirtualMemory,
        pages: Range<usize>,
        mapped: &mut Range<usize>,
    ) -> Result<(), DriverError> {
        for page in pages.clone() {
            let handle = self.pages[page].expect("the page has memory");
            // SAFETY: contract, devices/handles and devices/ranges: our own handle of this size,
            // and an unmapped page of our own range.
            unsafe { memory.map(self.address(page), self.page, handle) }?;
            mapped.end = page + 1;
        }
        let bytes = pages.len() as u64 * self.page;
        // SAFETY: contract, devices/ranges: whole mappings, just made, so that no work uses them.
        unsafe { memory.set_access(self.address(pages.start), bytes) }
    }

    /// Takes the memory from the whole pages in `size` bytes at `ptr`: which bytes those were, and
    /// the driver's error where it did not come to the end.
    ///
    /// # Safety
    /// All these pages are mapped, and all work on them has completed.
    pub(super) unsafe fn unmap(
        &mut self,
        memory: &dyn VirtualMemory,
        ptr: u64,
        size: u64,
    ) -> (Range<u64>, Result<(), DriverError>) {
        let offset = ptr - self.base();
        let first = self.index(offset.next_multiple_of(self.page));
        let end = self.index(offset + size);
        let (pages, result) = self.unmap_pages(memory, first..end.max(first));
        let start = self.base() + first as u64 * self.page;
        (start..start + pages as u64 * self.page, result)
    }

    /// Unmaps and releases mapped pages without work, one by one: how many, and why no more.
    fn unmap_pages(
        &mut self,
        memory: &dyn VirtualMemory,
        pages: Range<usize>,
    ) -> (usize, Result<(), DriverError>) {
        for (done, page) in pages.clone().enumerate() {
            // SAFETY: contract, devices/ranges and devices/pending-work: a whole mapping, and no
            // work is pending on it.
            let unmapped = unsafe { memory.unmap(self.address(page), self.page) };
            if unmapped.is_err() {
                return (done, unmapped);
            }
            let released = self.release(memory, page..page + 1);
            if released.is_err() {
                return (done + 1, released);
            }
        }
        (pages.len(), Ok(()))
    }

    /// Gives up the memory of pages that are not mapped.
    fn release(
        &mut self,
        memory: &dyn VirtualMemory,
        pages: Range<usize>,
    ) -> Result<(), DriverError> {
        for handle in self.pages[pages].iter_mut().filter_map(Option::take) {
            // SAFETY: contract, devices/handles: our own handle, which is mapped nowhere and
            // forgotten.
            unsafe { memory.release(handle) }?;
        }
        Ok(())
    }

    /// Gives back the addresses of a segment without memory.
    ///
    /// # Errors
    /// The driver's; and [`ILLEGAL_STATE`](DriverCode::ILLEGAL_STATE) if memory is left in it,
    /// because the driver refused to take it back.
    pub(super) fn free(self, memory: &dyn VirtualMemory) -> Result<(), DriverError> {
        if self.pages.iter().any(Option::is_some) {
            return Err(DriverError::new("ExpandableSegment::free", DriverCode::ILLEGAL_STATE));
        }
        // SAFETY: contract, devices/ranges: the range we reserved; nothing is mapped in it.
        unsafe { memory.free_range(self.base, self.size()) }
    }

    fn index(&self, offset: u64) -> usize {
        usize::try_from(offset / self.page).expect("the page is one of `pages`")
    }

    const fn address(&self, page: usize) -> DevicePtr {
        match self.base.checked_add(page as u64 * self.page) {
            Some(address) => address,
            None => panic!("the range ends below 2^64"),
        }
    }
}
