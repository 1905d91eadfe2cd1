//! Physical memory and where it is mapped. The only file here that makes driver calls.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vmem_core::author::fork;
use vmem_core::{
    Allowance, Device, DevicePtr, DriverCode, DriverError, PhysicalHandle, VirtualMemory,
};

use crate::space::{Span, pointer};

/// A range of addresses and physical memory, one handle a granule. Every handle has a granule of its
/// own, its *home*, and can be mapped at aliases besides.
///
/// What it holds is what the driver has not confirmed to have taken back, so the figures stay true
/// whichever call fails.
pub(super) struct Mapping {
    device: Arc<dyn Device>,
    base: DevicePtr,
    size: u64,
    granule: u64,
    /// What is charged for every handle, if anything is.
    allowance: Option<Arc<dyn Allowance>>,
    /// Handles at home and spare. Changed by whoever has those.
    held: AtomicU64,
}

/// The physical memory, which only the thread that grows or shrinks the pool may touch.
#[derive(Default)]
pub(crate) struct Handles {
    /// By granule of the address range.
    at_home: Vec<Option<PhysicalHandle>>,
    /// Mapped nowhere, because the driver did not take them back.
    spare: Vec<PhysicalHandle>,
    /// Homes that stayed mapped when a failed mapping was to be undone. Nothing is placed there.
    stuck: BTreeSet<u64>,
}

impl Handles {
    /// Whether memory is held that nothing can use.
    pub(super) fn has_stuck(&self) -> bool {
        !self.stuck.is_empty()
    }
}

impl Mapping {
    pub(super) fn new(device: Arc<dyn Device>, base: DevicePtr, size: u64, granule: u64) -> Self {
        Self { device, base, size, granule, allowance: None, held: AtomicU64::new(0) }
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

    /// All of its addresses.
    pub(super) fn range(&self) -> Span {
        Span::new(self.base.get(), self.size)
    }

    pub(super) fn granule(&self) -> u64 {
        self.granule
    }

    /// Physical bytes held, mapped or not.
    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed) * self.granule
    }

    /// Physical bytes held that are mapped nowhere.
    pub(super) fn spare(&self, held: &Handles) -> u64 {
        held.spare.len() as u64 * self.granule
    }

    /// Maps memory at home at all of several unmapped spans, or at none.
    pub(super) fn map_all(&self, held: &mut Handles, spans: &[Span]) -> Result<(), DriverError> {
        for (i, &span) in spans.iter().enumerate() {
            if let Err(error) = self.map(held, span) {
                spans[..i].iter().for_each(|&mapped| self.undo(held, mapped));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Maps memory at home at every granule of an unmapped span and makes it accessible. If a call
    /// fails, undoes exactly the mappings it made.
    fn map(&self, held: &mut Handles, span: Span) -> Result<(), DriverError> {
        let mut done = 0;
        let mut result = Ok(());
        while done < span.size && result.is_ok() {
            result = self.map_granule(held, span.start + done);
            done += if result.is_ok() { self.granule } else { 0 };
        }
        let accessible = result.and_then(|()| self.make_accessible(span));
        if accessible.is_err() {
            self.undo(held, Span::new(span.start, done));
        }
        accessible
    }

    /// Unmaps memory that was mapped at home for nothing. What the driver keeps is unmapped when
    /// [`release_spares`](Self::release_spares) asks again, or used when its addresses are.
    pub(super) fn undo(&self, held: &mut Handles, span: Span) {
        let (done, _) = self.unmap(held, span);
        held.stuck.extend(self.granules(Span::between(span.start + done, span.end())));
    }

    fn map_granule(&self, held: &mut Handles, at: u64) -> Result<(), DriverError> {
        let index = self.index(at);
        if held.at_home.len() <= index {
            held.at_home.resize(index + 1, None);
        }
        if held.at_home[index].is_some() {
            held.stuck.remove(&at);
            return Ok(());
        }
        let handle = match held.spare.pop() {
            Some(handle) => handle,
            None => self.create()?,
        };
        if let Err(error) = self.map_handle(at, handle) {
            self.release(held, handle);
            return Err(error);
        }
        held.at_home[index] = Some(handle);
        Ok(())
    }

    /// Maps the memory that is at home at `homes`, one after the other, at an unmapped alias as well,
    /// and makes it accessible there. If a call fails, undoes exactly the mappings it made; says where
    /// it could not.
    pub(super) fn show(
        &self,
        held: &Handles,
        alias: u64,
        homes: &[Span],
    ) -> Result<(), (DriverError, Option<Span>)> {
        let mut at = alias;
        let mut result = Ok(());
        for home in homes.iter().flat_map(|&home| self.granules(home)) {
            let handle = held.at_home[self.index(home)].expect("a home is mapped");
            result = self.map_handle(at, handle);
            if result.is_err() {
                break;
            }
            at += self.granule;
        }
        let mapped = Span::between(alias, at);
        let accessible = result.and_then(|()| self.make_accessible(mapped));
        accessible.map_err(|error| {
            let (done, stopped) = self.hide(mapped);
            (error, stopped.map(|_| Span::between(alias + done, at)))
        })
    }

    /// Unmaps an alias through which no work is pending, granule by granule. Returns how many bytes are
    /// unmapped, from the start, and what stopped it.
    pub(super) fn hide(&self, alias: Span) -> (u64, Option<DriverError>) {
        for at in self.granules(alias) {
            if let Err(error) = self.unmap_handle(at) {
                return (at - alias.start, Some(error));
            }
        }
        (alias.size, None)
    }

    /// Unmaps and releases every granule of a span of homes that no work touches and that no alias
    /// shows, from the lowest, as far as the driver agrees. Returns how many bytes are unmapped, and
    /// what stopped it.
    pub(super) fn unmap(&self, held: &mut Handles, span: Span) -> (u64, Option<DriverError>) {
        for at in self.granules(span) {
            if let Err(error) = self.unmap_handle(at) {
                return (at - span.start, Some(error));
            }
            if let Some(handle) = held.at_home[self.index(at)].take() {
                self.release(held, handle);
            }
        }
        (span.size, None)
    }

    /// Offers what the driver would not take back to it again.
    pub(super) fn release_spares(&self, held: &mut Handles) {
        for at in std::mem::take(&mut held.stuck) {
            self.undo(held, Span::new(at, self.granule));
        }
        for handle in std::mem::take(&mut held.spare) {
            self.release(held, handle);
        }
    }

    /// A new handle, for which the allowance is charged until it is released.
    fn create(&self) -> Result<PhysicalHandle, DriverError> {
        let allowance = self.allowance.as_ref();
        if let Some(allowance) = allowance.filter(|allowance| !allowance.take(self.granule)) {
            let refused = DriverError::new("Allowance::take", DriverCode::OUT_OF_MEMORY);
            return Err(
                refused.with_detail(format!("{allowance:?} has not {} B left", self.granule))
            );
        }
        let created = self.vm().create(self.granule);
        match created {
            Ok(_) => _ = self.held.fetch_add(1, Ordering::Relaxed),
            Err(_) => allowance.into_iter().for_each(|it| it.give_back(self.granule)),
        }
        created
    }

    /// Gives a handle that is mapped nowhere back, or keeps it as a spare if the driver refuses.
    fn release(&self, held: &mut Handles, handle: PhysicalHandle) {
        // SAFETY: contract, devices/handles: a handle of ours; it is used again only if this fails.
        match unsafe { self.vm().release(handle) } {
            Ok(()) => {
                self.held.fetch_sub(1, Ordering::Relaxed);
                if let Some(allowance) = &self.allowance {
                    allowance.give_back(self.granule);
                }
            }
            Err(error) => {
                held.spare.push(handle);
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
    fn make_accessible(&self, span: Span) -> Result<(), DriverError> {
        // SAFETY: contract, devices/ranges: exactly the mappings just made, which nothing uses yet.
        unsafe { self.vm().set_access(pointer(span.start), span.size) }
    }

    /// The addresses of the granules of a span.
    fn granules(&self, span: Span) -> impl Iterator<Item = u64> + use<> {
        let granule = self.granule;
        (0..span.size / granule).map(move |i| span.start + i * granule)
    }

    fn vm(&self) -> &dyn VirtualMemory {
        self.device.virtual_memory().expect("the device had virtual memory at construction")
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
