//! What there is between `cuInit` and the process's end: devices, contexts, and who owns what.

use std::collections::{BTreeMap, HashMap};
use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ThreadId;

use vmem_core::{Device, DeviceFacts, DriverCode, RawStream};
use vmem_sim::{CaptureMode, Graph, SimDevice};

use crate::config::Config;
use crate::driver::with_contexts;
use crate::refusal::{Answer, INVALID_DEVICE, Refusal};

/// What initialisation makes.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) config: Config,
    pub(crate) gpus: Vec<Gpu>,
    /// Memory by address. Whoever frees names the address alone, and the same function frees plain
    /// and managed memory of every device.
    pub(crate) allocations: BTreeMap<u64, Allocation>,
    pub(crate) pools: HashMap<u64, MemoryPool>,
    pub(crate) graphs: HashMap<u64, Graph>,
    /// The numbers of streams, by handle, for the default ones also by device and thread.
    ids: HashMap<(u64, usize, Option<ThreadId>), u64>,
}

/// One device and its primary context.
#[derive(Debug)]
pub(crate) struct Gpu {
    pub(crate) sim: Arc<SimDevice>,
    /// The primary context's handle while it is retained.
    context: Option<u64>,
    retained: u32,
    /// What the device was in contexts that were released with something outstanding in them, for
    /// reports: a driver destroys that with the context.
    pub(crate) former: Vec<Arc<SimDevice>>,
}

/// Memory that some function must give back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allocation {
    pub(crate) ordinal: usize,
    pub(crate) kind: AllocationKind,
    pub(crate) bytes: u64,
}

/// Which function made memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AllocationKind {
    Plain,
    Managed,
    Pinned,
    /// Of the pool with this handle.
    StreamOrdered(u64),
}

/// A stream-ordered pool. All pools of a device share the simulation's reserve.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryPool {
    pub(crate) ordinal: usize,
    pub(crate) threshold: u64,
}

/// The device of the calling thread's current context.
#[derive(Debug, Clone)]
pub(crate) struct Here {
    pub(crate) ordinal: usize,
    pub(crate) sim: Arc<SimDevice>,
}

impl Session {
    pub(crate) fn new(config: Config) -> Answer<Self> {
        let gpus: Answer<Vec<Gpu>> = (0..config.devices).map(|_| Gpu::new(&config)).collect();
        Ok(Self {
            config,
            gpus: gpus?,
            allocations: BTreeMap::new(),
            pools: HashMap::new(),
            graphs: HashMap::new(),
            ids: HashMap::new(),
        })
    }

    /// The device with a number, by its index.
    pub(crate) fn ordinal(&self, number: c_int) -> Answer<usize> {
        let index = usize::try_from(number).ok().filter(|&index| index < self.gpus.len());
        index.ok_or_else(|| {
            let why = format!("device {number} of {}", self.gpus.len());
            Refusal::new(INVALID_DEVICE, why)
        })
    }

    /// What is known of a device.
    pub(crate) fn facts(&self, number: c_int) -> Answer<&DeviceFacts> {
        Ok(self.gpus[self.ordinal(number)?].sim.facts())
    }

    /// The device of the calling thread's current context.
    pub(crate) fn here(&self) -> Answer<Here> {
        let current = with_contexts(|contexts| contexts.last().copied())?;
        let current =
            current.ok_or_else(|| Refusal::context("the thread has no current context"))?;
        let ordinal = self.of_context(current)?;
        Ok(Here { ordinal, sim: self.gpus[ordinal].sim.clone() })
    }

    /// The device of the calling thread's current context, if the driver is so strict that it wants
    /// one where CUDA does not.
    pub(crate) fn want_context(&self) -> Answer {
        if self.config.strict_contexts { self.here().map(drop) } else { Ok(()) }
    }

    /// The device that made a stream or an event; of default streams, that of the current context.
    /// If the driver is strict, its context must be current.
    pub(crate) fn maker(&self, handle: u64) -> Answer<Here> {
        if self.config.strict_contexts || RawStream(handle).is_default() {
            return self.here();
        }
        let found = self.gpus.iter().position(|gpu| gpu.sim.made_handle(handle));
        let ordinal =
            found.ok_or_else(|| Refusal::handle(format!("{handle:#x} is of no device")))?;
        Ok(Here { ordinal, sim: self.gpus[ordinal].sim.clone() })
    }

    /// The device that an address of device memory is of. If the driver is strict, its context must
    /// be current.
    pub(crate) fn place(&self, address: u64) -> Answer<Here> {
        if self.config.strict_contexts {
            return self.here();
        }
        let found = self.gpus.iter().position(|gpu| gpu.sim.has_address(address));
        let ordinal =
            found.ok_or_else(|| Refusal::value(format!("{address:#x} is of no device")))?;
        Ok(Here { ordinal, sim: self.gpus[ordinal].sim.clone() })
    }

    /// A call on one device that is unsafe while a stream of any captures. (The device itself sees
    /// to its own streams.)
    pub(crate) fn unsafe_call(&self, ordinal: usize) -> Answer {
        let others = self.gpus.iter().enumerate().filter(|&(other, _)| other != ordinal);
        // It breaks the captures on all of them.
        let answers: Vec<_> = others.map(|(_, gpu)| gpu.sim.unsafe_call_elsewhere()).collect();
        Ok(answers.into_iter().collect::<Result<(), _>>()?)
    }

    /// The device of a context.
    pub(crate) fn of_context(&self, context: u64) -> Answer<usize> {
        self.gpus.iter().position(|gpu| gpu.context == Some(context)).ok_or_else(|| {
            Refusal::context(format!("context {context:#x} was released, or never was one"))
        })
    }

    /// The context of a device, which its streams belong to.
    pub(crate) fn context(&self, ordinal: usize) -> u64 {
        self.gpus[ordinal].context.unwrap_or(0)
    }

    /// The context of a stream on any device.
    pub(crate) fn context_of_stream(&self, stream: RawStream) -> Answer<u64> {
        if stream.is_default() {
            let here = self.here()?;
            // SAFETY: contract, devices/handles: a default stream.
            unsafe { here.sim.name_stream(stream, false) }?;
            return Ok(self.context(here.ordinal));
        }
        self.want_context()?;
        for (ordinal, gpu) in self.gpus.iter().enumerate() {
            // SAFETY: contract, devices/handles: the simulation refuses handles that are not valid.
            if unsafe { gpu.sim.owns_stream(stream) }? {
                return Ok(self.context(ordinal));
            }
        }
        Err(Refusal::handle(format!("stream {:#x} is of no device", stream.0)))
    }

    /// Keeps in mind who owns an address.
    pub(crate) fn own(&mut self, here: &Here, address: u64, kind: AllocationKind, bytes: usize) {
        let (ordinal, bytes) = (here.ordinal, bytes as u64);
        self.allocations.insert(address, Allocation { ordinal, kind, bytes });
    }

    /// The allocation that starts at an address, with its device.
    pub(crate) fn owner(&self, address: u64) -> Answer<(Allocation, Arc<SimDevice>)> {
        let found = self
            .allocations
            .get(&address)
            .copied()
            .ok_or_else(|| Refusal::value(format!("no allocation starts at {address:#x}")))?;
        Ok((found, self.gpus[found.ordinal].sim.clone()))
    }

    /// The device that the allocation holding an address belongs to.
    pub(crate) fn holder(&self, address: u64) -> Answer<(Allocation, Arc<SimDevice>)> {
        let base = self.allocations.range(..=address).next_back().map(|(&base, _)| base);
        let (found, sim) = self.owner(base.unwrap_or(address))?;
        if base.is_some_and(|base| address - base < found.bytes) {
            return Ok((found, sim));
        }
        Err(Refusal::value(format!("{address:#x} is in no allocation")))
    }

    /// Sets the thread's capture mode on every device, and returns what it was.
    pub(crate) fn exchange_capture_mode(&self, mode: CaptureMode) -> CaptureMode {
        let modes = self.gpus.iter().map(|gpu| gpu.sim.exchange_capture_mode(mode));
        // One device after the other: all of them are told.
        modes.fold(CaptureMode::Global, |_, was| was)
    }

    /// A stream's number, which its handle's next owner does not get.
    pub(crate) fn stream_id(&mut self, ordinal: usize, stream: RawStream) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let thread = (stream == RawStream::PER_THREAD).then(|| std::thread::current().id());
        let stream = if stream == RawStream::NULL { RawStream::LEGACY } else { stream };
        let key = (stream.0, if stream.is_default() { ordinal } else { 0 }, thread);
        *self.ids.entry(key).or_insert_with(|| NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// A stream was destroyed: its handle may come again.
    pub(crate) fn forget_stream(&mut self, stream: u64) {
        self.ids.remove(&(stream, 0, None));
    }

    /// Takes a reference to a device's primary context, made if there is none.
    pub(crate) fn retain(&mut self, number: c_int) -> Answer<u64> {
        let ordinal = self.ordinal(number)?;
        let gpu = &mut self.gpus[ordinal];
        gpu.retained += 1;
        Ok(*gpu.context.get_or_insert_with(|| unique(CONTEXT)))
    }

    /// Gives a reference back. The last one destroys the context and all that is in it.
    pub(crate) fn release(&mut self, number: c_int) -> Answer {
        let ordinal = self.ordinal(number)?;
        let gpu = &mut self.gpus[ordinal];
        gpu.retained = gpu
            .retained
            .checked_sub(1)
            .ok_or_else(|| Refusal::context("the primary context is not retained"))?;
        if gpu.retained > 0 {
            return Ok(());
        }
        gpu.context = None;
        // A device that is lost, or on which something is outstanding, begins anew.
        let works = gpu.sim.memory_info().is_ok();
        if !works || !gpu.sim.leaks().is_empty() {
            let fresh = Gpu::new(&self.config)?;
            let former = std::mem::replace(&mut gpu.sim, fresh.sim);
            gpu.former.push(former);
            self.allocations.retain(|_, allocation| allocation.ordinal != ordinal);
            // Pools are the device's, not the context's: they go on.
            self.apply_threshold(ordinal)?;
        }
        Ok(())
    }

    /// How many references to a device's primary context there are.
    pub(crate) fn retained(&self, ordinal: usize) -> u32 {
        self.gpus[ordinal].retained
    }
}

impl Gpu {
    fn new(config: &Config) -> Answer<Self> {
        let sim = SimDevice::with_config(config.device.clone())
            .map_err(|error| Refusal::new(DriverCode::UNKNOWN, error.to_string()))?;
        Ok(Self { sim, context: None, retained: 0, former: Vec::new() })
    }

    /// The device as it is and as it was.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<SimDevice>> {
        self.former.iter().chain([&self.sim])
    }
}

/// What a handle that this library makes names, in its lowest bits; the simulation's own handles
/// have other ones, and no handle is given out twice.
pub(crate) const CONTEXT: u64 = 0x10;
pub(crate) const POOL: u64 = 0x11;
pub(crate) const GRAPH: u64 = 0x12;

/// A new handle.
pub(crate) fn unique(tag: u64) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    (0xcda << 32) | (NEXT.fetch_add(1, Ordering::Relaxed) * 0x40) | tag
}
