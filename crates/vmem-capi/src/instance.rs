//! Open devices.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use arc_swap::{ArcSwapOption, Guard};
use vmem_core::author::fork;
use vmem_core::{BoxedError, MemoryResource, ResourceId};
use vmem_cuda::CudaDevice;
use vmem_runtime::{Runtime, RuntimeConfig, Stack};

use crate::callback::Pressure;
use crate::copies::Claim;
use crate::recording::Recording;
use crate::status::{Failure, vmem_status};
use crate::streams::Streams;

/// So many devices can be open.
pub(crate) const DEVICES: usize = 64;

/// The devices by number.
static ALL: [Slot; DEVICES] = [const { Slot::new() }; DEVICES];

/// What there is of one device.
struct Slot {
    open: ArcSwapOption<Instance>,
    /// Held while the device is opened or closed.
    opening: Mutex<()>,
    /// What was closed while blocks of it were out, or holds memory that nothing gives back yet: its streams
    /// can still be forgotten, and waited for. Held while one ends, so that nobody forgets a stream in vain
    /// that the end is about to name.
    closed: Mutex<Vec<Arc<Instance>>>,
    /// How many those are.
    closed_len: AtomicUsize,
    /// Somebody who could not wait for that list left it to whoever had it to look which of them end.
    is_missed: AtomicBool,
}

impl Slot {
    const fn new() -> Self {
        Self {
            open: ArcSwapOption::const_empty(),
            opening: Mutex::new(()),
            closed: Mutex::new(Vec::new()),
            closed_len: AtomicUsize::new(0),
            is_missed: AtomicBool::new(false),
        }
    }

    fn lock_closed(&self) -> MutexGuard<'_, Vec<Arc<Instance>>> {
        fork::locked(|| self.closed.lock())
    }

    /// Ends what nobody uses any more.
    fn end_unused(&self, closed: &mut Vec<Arc<Instance>>, wait: Wait) {
        // Nobody else has those, and nobody can come by one but through the list.
        closed.retain(|one| Arc::strong_count(one) > 1 || !one.give_back(wait));
        self.closed_len.store(closed.len(), Ordering::SeqCst);
    }

    /// Ends what nobody uses any more, after a wait for the work that is pending on its memory.
    fn settle(&self) {
        if self.closed_len.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut closed = self.lock_closed();
        self.end_unused(&mut closed, Wait::ForPending);
        drop(closed);
        self.settle_missed();
    }

    /// The same, without a wait for anything.
    #[cold]
    fn settle_at_once(&self) {
        self.is_missed.store(true, Ordering::SeqCst);
        self.settle_missed();
    }

    /// What others left to be looked at. Waits neither for the list nor for pending work.
    fn settle_missed(&self) {
        while self.is_missed.load(Ordering::SeqCst) {
            let mut closed = match self.closed.try_lock() {
                Ok(closed) => closed,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                // Whoever has it looks when it is done.
                Err(TryLockError::WouldBlock) => return,
            };
            self.is_missed.store(false, Ordering::SeqCst);
            self.end_unused(&mut closed, Wait::No);
        }
    }
}

/// Whether to wait on the host for work that is pending on what was freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    No,
    ForPending,
}

/// A device with its memory. After it was closed it ends once its blocks are freed and nothing of its memory
/// waits for a stream that cannot be named.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) ordinal: u32,
    pub(crate) streams: Streams,
    pub(crate) resource: Arc<dyn MemoryResource>,
    pub(crate) recording: ArcSwapOption<Recording>,
    /// Whether there is one: most often there is none, and this is cheaper to ask.
    pub(crate) is_recorded: AtomicBool,
    /// Whose events recordings are.
    pub(crate) id: ResourceId,
    pub(crate) pressure: Mutex<Option<Pressure>>,
    pub(crate) runtime: Runtime,
    /// Given up last.
    _claim: Claim,
}

impl Instance {
    fn new(ordinal: u32, config: RuntimeConfig) -> Result<Self, Failure> {
        let claim = Claim::take(ordinal)?;
        // Said apart from what the runtime says, so that a program can tell what its machine lacks.
        let cuda = CudaDevice::open(ordinal).map_err(|error| Failure::from(&error))?;
        let device = cuda.clone();
        let runtime = Runtime::new(config, move || Ok::<_, BoxedError>(device.clone()));
        let resource = runtime.ensure_ready()?.resource.clone();
        Ok(Self {
            ordinal,
            streams: Streams::new(cuda),
            resource,
            recording: ArcSwapOption::const_empty(),
            is_recorded: AtomicBool::new(false),
            id: ResourceId::new(),
            pressure: Mutex::default(),
            runtime,
            _claim: claim,
        })
    }

    /// Gives back what is free. Returns whether nothing is left that waits for work, or for a stream which
    /// cannot be named.
    fn give_back(&self, wait: Wait) -> bool {
        match wait {
            Wait::No => self.runtime.trim(),
            Wait::ForPending => self.runtime.free_pool_memory(),
        };
        let is_none = |held: u64| held == 0;
        let aside = self.stack().ok().and_then(|stack| stack.managed.as_ref()?.quarantined());
        let stats = self.runtime.stats();
        stats.reserved.is_none_or(is_none)
            && stats.on_host.is_none_or(is_none)
            && aside.is_none_or(|aside| is_none(aside.bytes))
    }

    /// The stack, which was built when the device was opened.
    pub(crate) fn stack(&self) -> Result<&Stack, Failure> {
        Ok(self.runtime.ensure_ready()?)
    }
}

fn slot(device: i32) -> Result<(u32, &'static Slot), Failure> {
    let number = u32::try_from(device).ok();
    let found = number.and_then(|number| Some((number, ALL.get(number as usize)?)));
    found.ok_or_else(|| {
        let text = format!("device {device}; accepted: 0 to {}", DEVICES - 1);
        Failure::new(vmem_status::VMEM_ERROR_NO_DEVICE, text)
    })
}

/// An open device.
pub(crate) fn open_device(device: i32) -> Result<Guard<Option<Arc<Instance>>>, Failure> {
    let open = slot(device)?.1.open.load();
    if open.is_some() { Ok(open) } else { Err(not_open(device)) }
}

/// The same, to be kept.
pub(crate) fn instance(device: i32) -> Result<Arc<Instance>, Failure> {
    slot(device)?.1.open.load_full().ok_or_else(|| not_open(device))
}

/// Whether it is what the device is open as.
pub(crate) fn is_open(device: i32, known: &Arc<Instance>) -> bool {
    instance(device).is_ok_and(|open| Arc::ptr_eq(&open, known))
}

#[cold]
fn not_open(device: i32) -> Failure {
    let text = format!("device {device} is not open; call vmem_open first");
    Failure::new(vmem_status::VMEM_ERROR_NOT_OPEN, text)
}

/// Opens a device.
pub(crate) fn open(device: i32, config: RuntimeConfig) -> Result<(), Failure> {
    let (ordinal, slot) = slot(device)?;
    // What it was before may have memory that is free by now.
    slot.settle_at_once();
    let _opening = fork::locked(|| slot.opening.lock());
    if slot.open.load().is_some() {
        let text = format!("device {device} is open already");
        return Err(Failure::new(vmem_status::VMEM_ERROR_ALREADY_OPEN, text));
    }
    slot.open.store(Some(Arc::new(Instance::new(ordinal, config)?)));
    Ok(())
}

/// Closes a device, whose blocks stay.
pub(crate) fn close(device: i32) -> Result<(), Failure> {
    let (_, slot) = slot(device)?;
    let opening = fork::locked(|| slot.opening.lock());
    let instance = slot.open.load_full().ok_or_else(|| not_open(device))?;
    // What was freed on streams that nobody can name would not go back to the device without.
    let waited = instance.runtime.synchronize().map_err(Failure::from_handle);
    if let Err(failure) = &waited
        && failure.status == vmem_status::VMEM_ERROR_CAPTURING
    {
        return waited;
    }
    let mut closed = slot.lock_closed();
    closed.push(instance.clone());
    slot.closed_len.store(closed.len(), Ordering::SeqCst);
    drop(closed);
    slot.open.store(None);
    drop(opening);
    let recording = instance.recording.swap(None);
    let pressure = fork::locked(|| instance.pressure.lock()).take();
    drop((recording, pressure, instance));
    slot.settle();
    waited
}

/// Calls `visit` with the device as it is open, and as it was when it was closed before, as far as that
/// lasts. Returns the first failure.
pub(crate) fn visit_all(
    device: i32,
    visit: impl Fn(&Instance) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (_, slot) = slot(device)?;
    let mut all: Vec<_> = slot.open.load_full().into_iter().collect();
    all.extend(slot.lock_closed().iter().cloned());
    if all.is_empty() {
        return Err(not_open(device));
    }
    let mut result = Ok(());
    for instance in &all {
        result = result.and(visit(instance));
    }
    drop(all);
    slot.settle();
    result
}

/// Gives up what a block kept of its device, after it was freed. The last block of one that was closed ends
/// it, if no work is pending on its memory; it waits for none.
pub(crate) fn leave(instance: Arc<Instance>) {
    let slot = &ALL[instance.ordinal as usize];
    let own = Arc::as_ptr(&instance).addr();
    drop(instance);
    // Looked at after the block left it: who closes the device sees no block of it, or is seen here.
    if slot.closed_len.load(Ordering::SeqCst) != 0 {
        let open = slot.open.load().as_ref().map(|open| Arc::as_ptr(open).addr());
        if open != Some(own) {
            slot.settle_at_once();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_opened_and_closed_while_another_one_is() {
        let (other, second) = (&ALL[62], 63);
        // As while it waits for the device.
        let _opening = other.opening.lock().unwrap();
        let _closed = other.lock_closed();
        let refused = close(second).unwrap_err();
        assert_eq!(refused.status, vmem_status::VMEM_ERROR_NOT_OPEN);
        let refused = visit_all(second, |_| Ok(())).unwrap_err();
        assert_eq!(refused.status, vmem_status::VMEM_ERROR_NOT_OPEN);
    }

    #[test]
    fn what_a_free_could_not_wait_for_is_looked_at_by_whoever_has_the_list() {
        let slot = Slot::new();
        let closed = slot.lock_closed();
        slot.settle_at_once();
        assert!(slot.is_missed.load(Ordering::SeqCst));
        drop(closed);
        slot.settle_missed();
        assert!(!slot.is_missed.load(Ordering::SeqCst));
    }
}
