//! Physical memory and where it is mapped. The only file here that makes driver calls.

use std::collections::BTreeSet;
use std::sync::Arc;

use vmem_core::author::fork;
use vmem_core::{
    Allowance, Device, DevicePtr, DriverCode, DriverError, PhysicalHandle, VirtualMemory,
};

use crate::space::{pointer, visits};
use crate::sync::{Mutex, MutexGuard};

/// A range of addresses and physical memory, one handle a granule. Every handle has a granule of its
/// own, its *home*, and can be mapped in windows besides.
///
/// What it holds is what the driver has not confirmed to have taken back, so the figures stay true
/// whichever call fails. Whoever maps or unmaps holds the pool's growth lock.
pub(super) struct Mapping {
    device: Arc<dyn Device>,
    base: DevicePtr,
    size: u64,
    granule: u64,
    /// What is charged for every handle, if anything is.
    allowance: Option<Arc<dyn Allowance>>,
    handles: Mutex<Handles>,
}

#[derive(Default)]
struct Handles {
    /// By granule of the address range.
    at_home: Vec<Option<PhysicalHandle>>,
    /// Mapped nowhere, because the driver did not take them back.
    spare: Vec<PhysicalHandle>,
    /// Homes that stayed mapped when a failed mapping was to be undone. Nothing is placed there.
    stuck: BTreeSet<u64>,
    /// Handles at home and spare.
    held: u64,
}

impl Mapping {
    pub(super) fn new(device: Arc<dyn Device>, base: DevicePtr, size: u64, granule: u64) -> Self {
        Self { device, base, size, granule, allowance: None, handles: Mutex::default() }
    }

    /// From now on `allowance` is charged for what is held.
    pub(super) fn charge_to(&mut self, allowance: Arc<dyn Allowance>) {
        self.allowance = Some(allowance);
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

    /// Maps memory at home at every granule of an unmapped range and makes it accessible. If a call
    /// fails, undoes exactly the mappings it made.
    pub(super) fn map(&self, start: u64, size: u64) -> Result<(), DriverError> {
        let mut done = 0;
        let mut result = Ok(());
        while done < size && result.is_ok() {
            result = self.map_granule(start + done);
            done += if result.is_ok() { self.granule } else { 0 };
        }
        let accessible = result.and_then(|()| self.make_accessible(start, size));
        if accessible.is_err() {
            self.undo(start, done);
        }
        accessible
    }

    /// Unmaps memory that was mapped at home for nothing. What the driver keeps is unmapped when
    /// [`release_spares`](Self::release_spares) asks again, or used when its addresses are.
    pub(super) fn undo(&self, start: u64, size: u64) {
        let (done, _) = self.unmap(start, size);
        let stuck = self.granules(start + done, start + size);
        self.lock().stuck.extend(stuck);
    }

    /// Whether memory is held that nothing can use.
    pub(super) fn has_stuck(&self) -> bool {
        !self.lock().stuck.is_empty()
    }

    fn map_granule(&self, at: u64) -> Result<(), DriverError> {
        let index = self.index(at);
        let spare = {
            let mut handles = self.lock();
            if handles.at_home.len() <= index {
                handles.at_home.resize(index + 1, None);
            }
            if handles.at_home[index].is_some() {
                handles.stuck.remove(&at);
                return Ok(());
            }
            handles.spare.pop()
        };
        let handle = match spare {
            Some(handle) => handle,
            None => {
                let handle = self.create()?;
                self.lock().held += 1;
                handle
            }
        };
        if let Err(error) = self.map_handle(at, handle) {
            self.release(handle);
            return Err(error);
        }
        self.lock().at_home[index] = Some(handle);
        Ok(())
    }

    /// Maps the memory that is at home at `homes`, one after the other, at an unmapped window as
    /// well, and makes it accessible there. If a call fails, undoes exactly the mappings it made; says
    /// where it could not, as start and end.
    pub(super) fn show(
        &self,
        window: u64,
        homes: &[(u64, u64)],
    ) -> Result<(), (DriverError, Option<(u64, u64)>)> {
        let mut at = window;
        let mut result = Ok(());
        for home in homes.iter().flat_map(|&(start, end)| self.granules(start, end)) {
            let handle = self.lock().at_home[self.index(home)].expect("a home is mapped");
            result = self.map_handle(at, handle);
            if result.is_err() {
                break;
            }
            at += self.granule;
        }
        let accessible = result.and_then(|()| self.make_accessible(window, at - window));
        accessible.map_err(|error| {
            let (done, stopped) = self.hide(window, at - window);
            (error, stopped.map(|_| (window + done, at)))
        })
    }

    /// Unmaps a window through which no work is pending, granule by granule. Returns how many bytes
    /// are unmapped, from the start, and what stopped it.
    pub(super) fn hide(&self, window: u64, size: u64) -> (u64, Option<DriverError>) {
        for at in self.granules(window, window + size) {
            if let Err(error) = self.unmap_handle(at) {
                return (at - window, Some(error));
            }
        }
        (size, None)
    }

    /// Unmaps and releases every granule of a range of homes that no work touches and that no window
    /// shows, from the lowest, as far as the driver agrees. Returns how many bytes are unmapped, and
    /// what stopped it.
    pub(super) fn unmap(&self, start: u64, size: u64) -> (u64, Option<DriverError>) {
        for at in self.granules(start, start + size) {
            if let Err(error) = self.unmap_handle(at) {
                return (at - start, Some(error));
            }
            let handle = self.lock().at_home[self.index(at)].take();
            if let Some(handle) = handle {
                self.release(handle);
            }
        }
        (size, None)
    }

    /// Offers what the driver would not take back to it again.
    pub(super) fn release_spares(&self) {
        let stuck = std::mem::take(&mut self.lock().stuck);
        for at in stuck {
            self.undo(at, self.granule);
        }
        let spares = std::mem::take(&mut self.lock().spare);
        for handle in spares {
            self.release(handle);
        }
    }

    /// A new handle, for which the allowance is charged until it is released.
    fn create(&self) -> Result<PhysicalHandle, DriverError> {
        let Some(allowance) = &self.allowance else { return self.vm().create(self.granule) };
        if !allowance.take(self.granule) {
            let refused = DriverError::new("Allowance::take", DriverCode::OUT_OF_MEMORY);
            return Err(
                refused.with_detail(format!("{allowance:?} has not {} B left", self.granule))
            );
        }
        self.vm().create(self.granule).inspect_err(|_| allowance.give_back(self.granule))
    }

    /// Gives a handle that is mapped nowhere back, or keeps it as a spare if the driver refuses.
    fn release(&self, handle: PhysicalHandle) {
        // SAFETY: contract, devices/handles: a handle of ours; it is used again only if this fails.
        let released = unsafe { self.vm().release(handle) };
        let mut handles = self.lock();
        match released {
            Ok(()) => {
                handles.held -= 1;
                drop(handles);
                if let Some(allowance) = &self.allowance {
                    allowance.give_back(self.granule);
                }
            }
            Err(error) => {
                handles.spare.push(handle);
                drop(handles);
                tracing::warn!(%error, "physical memory was not taken back; it is kept for reuse");
            }
        }
    }

    fn map_handle(&self, at: u64, handle: PhysicalHandle) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles and devices/ranges: an unmapped granule of our range, a
        // whole handle of ours.
        unsafe { self.vm().map(pointer(at), self.granule, handle) }
    }

    fn unmap_handle(&self, at: u64) -> Result<(), DriverError> {
        // SAFETY: contract, devices/ranges and devices/pending-work: one whole mapping; the caller
        // has claimed the range and the host has observed that all work through it completed.
        unsafe { self.vm().unmap(pointer(at), self.granule) }
    }

    /// Only for what was just mapped: access is never set over a range in use.
    fn make_accessible(&self, start: u64, size: u64) -> Result<(), DriverError> {
        // SAFETY: contract, devices/ranges: exactly the mappings just made, which nothing uses yet.
        unsafe { self.vm().set_access(pointer(start), size) }
    }

    /// The addresses of the granules of a range.
    fn granules(&self, start: u64, end: u64) -> impl Iterator<Item = u64> + use<> {
        let granule = self.granule;
        (0..(end - start) / granule).map(move |i| start + i * granule)
    }

    fn vm(&self) -> &dyn VirtualMemory {
        self.device.virtual_memory().expect("the device had virtual memory at construction")
    }

    fn lock(&self) -> MutexGuard<'_, Handles> {
        visits::note_lock();
        fork::locked(|| self.handles.lock())
    }

    fn index(&self, address: u64) -> usize {
        usize::try_from((address - self.base.get()) / self.granule).expect("a granule fits usize")
    }
}

impl Drop for Mapping {
    /// Gives the address range back. What is still held is live, or could not be returned: it leaks
    /// with its addresses, and the pool has reported it.
    fn drop(&mut self) {
        if fork::is_child() {
            return;
        }
        if self.held() > 0 {
            return;
        }
        // SAFETY: contract, devices/ranges: the whole range, in which nothing is mapped any more.
        if let Err(error) = unsafe { self.vm().free_range(self.base, self.size) } {
            self.device.base().drop_failures().record("an address range", &error);
        }
    }
}
