//! Which physical memory is mapped where. The only file here that touches it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmem_core::{Device, DevicePtr, DriverError, PhysicalHandle, VirtualMemory};

/// An address range and the physical memory in it: one handle per mapped granule.
///
/// What it holds is what the driver has not confirmed to have taken back, so the figures stay true
/// whichever call fails.
pub(super) struct Mapping {
    device: Arc<dyn Device>,
    base: DevicePtr,
    size: u64,
    granule: u64,
    handles: Mutex<Handles>,
}

#[derive(Default)]
struct Handles {
    /// By granule of the address range.
    mapped: Vec<Option<PhysicalHandle>>,
    /// Mapped nowhere, because the driver did not take them back.
    spare: Vec<PhysicalHandle>,
    /// Granules mapped and spare.
    held: u64,
}

impl Mapping {
    pub(super) fn new(device: Arc<dyn Device>, base: DevicePtr, size: u64, granule: u64) -> Self {
        Self { device, base, size, granule, handles: Mutex::default() }
    }

    pub(super) fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    pub(super) fn base(&self) -> DevicePtr {
        self.base
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn granule(&self) -> u64 {
        self.granule
    }

    /// Physical bytes held, mapped or not.
    pub(super) fn held(&self) -> u64 {
        self.lock().held * self.granule
    }

    /// Physical bytes held that are mapped nowhere.
    pub(super) fn spare(&self) -> u64 {
        self.lock().spare.len() as u64 * self.granule
    }

    /// Maps memory at every granule of an unmapped range and makes it accessible. If a call fails,
    /// undoes exactly the mappings it made.
    pub(super) fn map(&self, start: u64, size: u64) -> Result<(), DriverError> {
        let mut done = 0;
        let mut result = Ok(());
        while done < size && result.is_ok() {
            result = self.map_granule(start + done);
            done += if result.is_ok() { self.granule } else { 0 };
        }
        let accessible = result.and_then(|()| {
            // SAFETY: contract, devices 2: exactly the mappings just made, which nothing uses yet.
            unsafe { self.vm().set_access(pointer(start), size) }
        });
        if accessible.is_err() {
            // What cannot be unmapped stays known as mapped, and is used when its turn comes.
            let _ = self.unmap(start, done);
        }
        accessible
    }

    fn map_granule(&self, at: u64) -> Result<(), DriverError> {
        let index = self.index(at);
        let spare = {
            let mut handles = self.lock();
            if handles.mapped.len() <= index {
                handles.mapped.resize(index + 1, None);
            }
            if handles.mapped[index].is_some() {
                return Ok(());
            }
            handles.spare.pop()
        };
        let handle = match spare {
            Some(handle) => handle,
            None => {
                let handle = self.vm().create(self.granule)?;
                self.lock().held += 1;
                handle
            }
        };
        // SAFETY: contract, devices 1, 2: an unmapped granule of our range, a whole handle of ours.
        if let Err(error) = unsafe { self.vm().map(pointer(at), self.granule, handle) } {
            self.release(handle);
            return Err(error);
        }
        self.lock().mapped[index] = Some(handle);
        Ok(())
    }

    /// Unmaps and releases every granule of a range that no work touches, from the lowest, as far
    /// as the driver agrees. Returns how many bytes are unmapped, and what stopped it.
    pub(super) fn unmap(&self, start: u64, size: u64) -> (u64, Option<DriverError>) {
        let mut done = 0;
        while done < size {
            let at = start + done;
            // SAFETY: contract, devices 2, 3: one whole mapping; the caller has claimed the range
            // and the host has observed that all work through it completed.
            if let Err(error) = unsafe { self.vm().unmap(pointer(at), self.granule) } {
                return (done, Some(error));
            }
            let handle = self.lock().mapped[self.index(at)].take();
            if let Some(handle) = handle {
                self.release(handle);
            }
            done += self.granule;
        }
        (done, None)
    }

    /// Offers the spare handles to the driver again.
    pub(super) fn release_spares(&self) {
        let spares = std::mem::take(&mut self.lock().spare);
        for handle in spares {
            self.release(handle);
        }
    }

    /// Gives a handle that is mapped nowhere back, or keeps it as a spare if the driver refuses.
    fn release(&self, handle: PhysicalHandle) {
        // SAFETY: contract, devices 1: a handle of ours; it is used again only if this fails.
        let released = unsafe { self.vm().release(handle) };
        let mut handles = self.lock();
        match released {
            Ok(()) => handles.held -= 1,
            Err(error) => {
                handles.spare.push(handle);
                drop(handles);
                tracing::warn!(%error, "physical memory was not taken back; it is kept for reuse");
            }
        }
    }

    fn vm(&self) -> &dyn VirtualMemory {
        self.device.virtual_memory().expect("the device had virtual memory at construction")
    }

    fn lock(&self) -> MutexGuard<'_, Handles> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index(&self, address: u64) -> usize {
        usize::try_from((address - self.base.get()) / self.granule).expect("a granule fits usize")
    }
}

impl Drop for Mapping {
    /// Gives the address range back. What is still held is live, or could not be returned: it leaks
    /// with its addresses, and the pool has reported it.
    fn drop(&mut self) {
        if self.held() > 0 {
            return;
        }
        // SAFETY: contract, devices 2: the whole range, in which nothing is mapped any more.
        if let Err(error) = unsafe { self.vm().free_range(self.base, self.size) } {
            self.device.base().drop_failures().record("an address range", &error);
        }
    }
}

fn pointer(address: u64) -> DevicePtr {
    DevicePtr::new(address).expect("an address range does not start at zero")
}
