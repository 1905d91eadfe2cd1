//! Open devices.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwapOption, Guard};
use vmem_adaptors::Registration;
use vmem_core::author::fork;
use vmem_core::{BoxedError, MemoryResource, ResourceId};
use vmem_cuda::CudaDevice;
use vmem_runtime::{Runtime, RuntimeConfig, Stack};

use crate::copies::Claim;
use crate::recording::Recording;
use crate::status::{Failure, vmem_status};
use crate::streams::Streams;

/// So many devices can be open.
pub(crate) const DEVICES: usize = 64;

/// The open devices by number.
static OPEN: [ArcSwapOption<Instance>; DEVICES] = [const { ArcSwapOption::const_empty() }; DEVICES];

/// Devices that were closed while blocks of theirs were out, or that hold memory which nothing gives back yet:
/// their streams can still be forgotten, and waited for. Held while one ends, so that nobody forgets a stream
/// in vain that the end is about to name.
static CLOSED: Mutex<Vec<Arc<Instance>>> = Mutex::new(Vec::new());

/// Held while a device is opened or closed.
static OPENING: Mutex<()> = Mutex::new(());

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
    /// The pressure callback.
    pub(crate) pressure: Mutex<Option<Registration>>,
    pub(crate) runtime: Runtime,
    is_closed: AtomicBool,
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
            is_closed: AtomicBool::new(false),
            _claim: claim,
        })
    }

    /// Whether the device was closed. Who gives one up that was [settles](settle).
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    /// Gives back what is free, after a wait for pending frees. Returns whether nothing is left that waits
    /// for a stream which cannot be named.
    fn give_back(&self) -> bool {
        self.runtime.free_pool_memory();
        let is_none = |held: u64| held == 0;
        let aside = self.stack().ok().and_then(|stack| stack.managed.as_ref()?.quarantined());
        self.runtime.stats().reserved.is_none_or(is_none)
            && aside.is_none_or(|aside| is_none(aside.bytes))
    }

    /// The stack, which was built when the device was opened.
    pub(crate) fn stack(&self) -> Result<&Stack, Failure> {
        Ok(self.runtime.ensure_ready()?)
    }
}

fn slot(device: i32) -> Result<(u32, &'static ArcSwapOption<Instance>), Failure> {
    let number = u32::try_from(device).ok();
    let found = number.and_then(|number| Some((number, OPEN.get(number as usize)?)));
    found.ok_or_else(|| {
        let text = format!("device {device}; accepted: 0 to {}", DEVICES - 1);
        Failure::new(vmem_status::VMEM_ERROR_NO_DEVICE, text)
    })
}

/// An open device.
pub(crate) fn open_device(device: i32) -> Result<Guard<Option<Arc<Instance>>>, Failure> {
    let open = slot(device)?.1.load();
    if open.is_some() { Ok(open) } else { Err(not_open(device)) }
}

/// The same, to be kept.
pub(crate) fn instance(device: i32) -> Result<Arc<Instance>, Failure> {
    slot(device)?.1.load_full().ok_or_else(|| not_open(device))
}

#[cold]
fn not_open(device: i32) -> Failure {
    let text = format!("device {device} is not open; call vmem_open first");
    Failure::new(vmem_status::VMEM_ERROR_NOT_OPEN, text)
}

/// Opens a device.
pub(crate) fn open(device: i32, config: RuntimeConfig) -> Result<(), Failure> {
    let (ordinal, slot) = slot(device)?;
    let _opening = fork::locked(|| OPENING.lock());
    if slot.load().is_some() {
        let text = format!("device {device} is open already");
        return Err(Failure::new(vmem_status::VMEM_ERROR_ALREADY_OPEN, text));
    }
    slot.store(Some(Arc::new(Instance::new(ordinal, config)?)));
    Ok(())
}

/// Closes a device, whose blocks stay.
pub(crate) fn close(device: i32) -> Result<(), Failure> {
    let (_, slot) = slot(device)?;
    let _opening = fork::locked(|| OPENING.lock());
    let instance = slot.load_full().ok_or_else(|| not_open(device))?;
    // What was freed on streams that nobody can name would not go back to the device without.
    let waited = instance.runtime.synchronize().map_err(Failure::from_handle);
    if let Err(failure) = &waited
        && failure.status == vmem_status::VMEM_ERROR_CAPTURING
    {
        return waited;
    }
    instance.is_closed.store(true, Ordering::Relaxed);
    fork::locked(|| CLOSED.lock()).push(instance.clone());
    slot.store(None);
    let recording = instance.recording.swap(None);
    let pressure = fork::locked(|| instance.pressure.lock()).take();
    drop((recording, pressure, instance));
    settle();
    waited
}

/// Calls `visit` with the device as it is open, and as it was when it was closed before, as far as that
/// lasts. Returns the first failure.
pub(crate) fn visit_all(
    device: i32,
    visit: impl Fn(&Instance) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (ordinal, slot) = slot(device)?;
    let mut all: Vec<_> = slot.load_full().into_iter().collect();
    let closed = fork::locked(|| CLOSED.lock());
    all.extend(closed.iter().filter(|closed| closed.ordinal == ordinal).cloned());
    drop(closed);
    if all.is_empty() {
        return Err(not_open(device));
    }
    let mut result = Ok(());
    for instance in &all {
        result = result.and(visit(instance));
    }
    drop(all);
    settle();
    result
}

/// Ends the closed devices that nobody uses any more.
#[cold]
pub(crate) fn settle() {
    let mut closed = fork::locked(|| CLOSED.lock());
    // Nobody else has those, and nobody can come by one but through the list.
    closed.retain(|closed| Arc::strong_count(closed) > 1 || !closed.give_back());
}
