//! An overlay larger than the device, on managed memory, with kernels that touch what it allocates.
//!
//! Every array is written front to back when it is allocated and read front to back before it is
//! freed. In between comes the face walk, which follows half-edges around their faces. How it
//! touches memory is what makes managed memory slow or not, so it comes in three variants.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};
use vmem_core::{BoxedError, DeviceBuffer, DevicePtr, Label, MemoryResource, Stream};
use vmem_sim::{Kernel, SimDevice};
use vmem_trace::{Event, GenerateError, Operands, Scale, Trace, Workload, WorkloadOptions};

use crate::Row;
use crate::measure::{Job, Place};
use crate::tier::Tier;

/// The device holds two thirds of what is live at the peak.
const LIVE_OVER_DEVICE: (u64, u64) = (3, 2);

/// Threads that a data-centre GPU holds at once: 132 multiprocessors of 2,048 threads (NVIDIA H100
/// Tensor Core GPU Architecture). A launch of more runs in waves.
const RESIDENT_THREADS: u64 = 132 * 2048;

/// Half-edges that one warp handles with one access.
const WARP: u64 = 32;

/// The bytes that pages move in.
const PAGE_GROUP: u64 = 2 << 20;

/// How the face walk touches memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// Pointer jumping over edges sorted by row: neighbours lie within a few hundred bytes, so a
    /// round passes over each operand front to back.
    Local,
    /// Pointer jumping through one giant row: every wave of threads touches all pages, in no order.
    Global,
    /// One thread follows each face edge by edge: every warp's access goes somewhere else.
    Dependent,
}

impl Walk {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Local => "face-walk-local",
            Self::Global => "face-walk-global",
            Self::Dependent => "face-walk-dependent",
        }
    }
}

/// One variant, on a device too small for it beside one that holds it.
///
/// # Errors
/// If the overlay cannot be generated at this scale.
pub(super) fn job(
    walk: Walk,
    tier: Tier,
    scale: Scale,
    place: Place,
) -> Result<Job, GenerateError> {
    let seed = place.seed;
    let options = WorkloadOptions { scale, passes: 1, seed, ..Workload::Overlay.defaults() };
    let trace = Workload::Overlay.generate(&options)?;
    let (live, device) = LIVE_OVER_DEVICE;
    let capacity = (trace.peak_live() / live * device).next_multiple_of(PAGE_GROUP);
    let blank = Row {
        scale: Some(scale.get()),
        allocations: trace.allocations(),
        peak_live_bytes: trace.peak_live(),
        ..place.blank(walk.name(), tier, capacity)
    };
    Ok(Job::new(blank, move |row| {
        let roomy = run_on(trace.peak_live() * 2, walk, tier, &place, &trace)?;
        let tight = run_on(capacity, walk, tier, &place, &trace)?;
        Ok(Row {
            stack: Some(tight.stack),
            passed: true,
            peak_reserved_bytes: Some(tight.reserved),
            driver_calls: Some(tight.calls),
            migrated_bytes: Some(tight.migrated),
            virtual_ms: Some(tight.time.as_secs_f64() * 1e3),
            slowdown: Some(tight.time.as_secs_f64() / roomy.time.as_secs_f64()),
            ..row
        })
    }))
}

fn run_on(
    capacity: u64,
    walk: Walk,
    tier: Tier,
    place: &Place,
    trace: &Trace,
) -> Result<Outcome, BoxedError> {
    let built = tier.build_on(&place.target, &place.request(capacity))?;
    let device = built.opened.simulated()?.clone();
    let stream = Stream::new(device.clone())?;
    let mut run = Running {
        walk,
        device: device.clone(),
        resource: built.resource.clone(),
        stream,
        buffers: HashMap::new(),
        rng: SplitMix64::seed_from_u64(place.seed),
    };
    for event in trace.events() {
        run.step(event)?;
    }
    run.stream.synchronize()?;
    Ok(Outcome {
        stack: built.description.clone(),
        time: device.virtual_time(),
        migrated: device.migrated_bytes(),
        reserved: device.peak_used(),
        calls: device.calls().total(),
    })
}

struct Outcome {
    stack: String,
    time: Duration,
    migrated: u64,
    reserved: u64,
    calls: u64,
}

/// The overlay on its way.
struct Running {
    walk: Walk,
    device: Arc<SimDevice>,
    resource: Arc<dyn MemoryResource>,
    stream: Stream,
    /// By the trace's slots.
    buffers: HashMap<u32, (Label, DeviceBuffer)>,
    rng: SplitMix64,
}

impl Running {
    fn step(&mut self, event: &Event) -> Result<(), BoxedError> {
        match *event {
            Event::Allocate { slot, size, label, .. } => {
                let buffer = {
                    let _scope = label.enter();
                    DeviceBuffer::new(self.resource.clone(), size, &self.stream)?
                };
                if let Some(ptr) = buffer.ptr() {
                    self.launch(Kernel::new("produce").writes(ptr, size))?;
                }
                self.buffers.insert(slot, (label, buffer));
                if Operands::ROUNDS.contains(&label.as_str()) {
                    self.walk_half()?;
                }
            }
            Event::Free { slot, .. } => {
                let (_, buffer) =
                    self.buffers.remove(&slot).ok_or("the trace frees what is not live")?;
                if let Some(ptr) = buffer.ptr() {
                    self.launch(Kernel::new("consume").reads(ptr, buffer.len()))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Half of the walk's rounds: the model unrolls two of them.
    fn walk_half(&mut self) -> Result<(), BoxedError> {
        let operands: Vec<(DevicePtr, u64)> =
            Operands::WALK.iter().filter_map(|name| self.find(Label::intern(name))).collect();
        let edges = operands.iter().map(|&(_, bytes)| bytes / 4).max().unwrap_or(0);
        let rounds = u64::from(edges.max(2).ilog2() + 1).div_ceil(2);
        match self.walk {
            Walk::Local => {
                for _ in 0..rounds {
                    let whole =
                        |kernel: Kernel, &(ptr, bytes): &(DevicePtr, u64)| kernel.reads(ptr, bytes);
                    self.launch(operands.iter().fold(Kernel::new("jump"), whole))?;
                }
            }
            Walk::Global => {
                for _ in 0..rounds * edges.div_ceil(RESIDENT_THREADS) {
                    let kernel = self.scattered("jump", &operands, PAGE_GROUP, 1);
                    self.launch(kernel)?;
                }
            }
            Walk::Dependent => {
                let accesses = (edges / WARP / 2).div_ceil(operands.len().max(1) as u64);
                let kernel = self.scattered("follow", &operands, 4 * WARP, accesses);
                self.launch(kernel)?;
            }
        }
        Ok(())
    }

    /// A kernel that reads pieces of `size` bytes of each operand in no order: each piece once, or
    /// `count` of them if that is more than one.
    fn scattered(
        &mut self,
        name: &'static str,
        operands: &[(DevicePtr, u64)],
        size: u64,
        count: u64,
    ) -> Kernel {
        let mut kernel = Kernel::new(name);
        for &(ptr, bytes) in operands {
            let pieces = bytes.div_ceil(size);
            let count = if count > 1 { count } else { pieces };
            // An odd stride visits every piece of a power-of-two table once, in a scattered order.
            let table = pieces.next_power_of_two();
            let stride = self.rng.next_u64() | 1;
            let visited = (0..table.max(count)).map(|i| i.wrapping_mul(stride) % table);
            let wanted = usize::try_from(count).unwrap_or(usize::MAX);
            for piece in visited.filter(|&piece| piece < pieces).take(wanted) {
                let at = piece * size;
                if let Some(start) = ptr.checked_add(at) {
                    kernel = kernel.reads(start, size.min(bytes - at));
                }
            }
        }
        kernel
    }

    fn find(&self, wanted: Label) -> Option<(DevicePtr, u64)> {
        let (_, buffer) = self.buffers.values().find(|(label, _)| *label == wanted)?;
        Some((buffer.ptr()?, buffer.len()))
    }

    #[expect(unsafe_code, reason = "nothing can check what a kernel touches")]
    fn launch(&self, kernel: Kernel) -> Result<(), BoxedError> {
        // SAFETY: contract, devices/handles and devices/ranges: a live stream, and ranges of live
        // buffers, which free themselves on the same stream after this work.
        unsafe { self.device.launch(&self.stream, kernel) }?;
        Ok(())
    }
}
