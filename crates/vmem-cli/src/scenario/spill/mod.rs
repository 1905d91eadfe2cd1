//! An overlay whose arrays spill, under ceilings below its live peak.

mod furthest;
mod plan;
mod run;

use std::time::Duration;

use vmem_adaptors::{MayRest, SpillCounts};
use vmem_core::{BoxedError, DevicePtr, Stream};
use vmem_runtime::{PoolLimit, Runtime, RuntimeConfig, Size};
use vmem_sim::{Kernel, Pattern};
use vmem_trace::{GenerateError, Scale, Workload, WorkloadOptions};

use crate::Row;
use crate::measure::{Job, Place};
use crate::tier::Tier;
use plan::Plan;
use run::{Mode, Run};

/// Bytes per microsecond at which moved bytes are judged: what copies between device and host reach.
const LINK: f64 = 52_000.0;

/// The overlay's live peak over what the device may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// 1.2
    Fifth,
    /// 1.5
    Half,
    /// 2
    Twice,
}

impl Over {
    const fn tenths(self) -> u64 {
        match self {
            Self::Fifth => 12,
            Self::Half => 15,
            Self::Twice => 20,
        }
    }
}

/// How kernels read arrays. What they write they write front to back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// All of it, front to back.
    Streaming,
    /// A quarter of it, four bytes here and there.
    Random,
    /// All of it four times, four bytes here and there, as a walk that goes from one to the next.
    Chasing,
}

impl Reading {
    fn kernels(self, ptr: DevicePtr, bytes: u64) -> impl Iterator<Item = Kernel> {
        let (pattern, bytes, times) = match self {
            Self::Streaming => (Pattern::Sequential, bytes, 1),
            Self::Random => (Pattern::Random, bytes.div_ceil(4), 1),
            Self::Chasing => (Pattern::Random, bytes, 4),
        };
        (0..times).map(move |_| Kernel::new("read").touching(pattern).reads(ptr, bytes))
    }
}

pub(crate) const fn name(over: Over, reading: Reading) -> &'static str {
    match (over, reading) {
        (Over::Fifth, Reading::Streaming) => "spill-1.2-streaming",
        (Over::Fifth, Reading::Random) => "spill-1.2-random",
        (Over::Fifth, Reading::Chasing) => "spill-1.2-chasing",
        (Over::Half, Reading::Streaming) => "spill-1.5-streaming",
        (Over::Half, Reading::Random) => "spill-1.5-random",
        (Over::Half, Reading::Chasing) => "spill-1.5-chasing",
        (Over::Twice, Reading::Streaming) => "spill-2-streaming",
        (Over::Twice, Reading::Random) => "spill-2-random",
        (Over::Twice, Reading::Chasing) => "spill-2-chasing",
    }
}

/// The overlay under a ceiling, beside the same with room, and with all of it in the host's memory.
///
/// # Errors
/// If the overlay cannot be generated at this scale.
pub(super) fn job(
    (over, reading): (Over, Reading),
    tier: Tier,
    scale: Scale,
    place: Place,
) -> Result<Job, GenerateError> {
    let options = WorkloadOptions { scale, passes: 1, ..Workload::Overlay.defaults() };
    let trace = Workload::Overlay.generate(&options)?;
    let capacity = trace.peak_live() / over.tenths() * 10;
    let blank = Row {
        scale: Some(scale.get()),
        allocations: trace.allocations(),
        peak_live_bytes: trace.peak_live(),
        ..place.blank(name(over, reading), tier, capacity)
    };
    Ok(compared(Plan::new(&trace), reading, blank, place))
}

/// A cache of 64 entries, half of which fit: of as much memory at every scale as the overlay has live.
///
/// # Errors
/// If the overlay cannot be generated at this scale.
pub(super) fn cache(tier: Tier, scale: Scale, place: Place) -> Result<Job, GenerateError> {
    let options = WorkloadOptions { scale, passes: 1, ..Workload::Overlay.defaults() };
    let size = (Workload::Overlay.generate(&options)?.peak_live() / 64).next_multiple_of(2 << 20);
    let blank = Row {
        scale: Some(scale.get()),
        allocations: 64,
        peak_live_bytes: 64 * size,
        ..place.blank("spill-cache", tier, 32 * size)
    };
    Ok(compared(Plan::cache(64, size, 1000, place.seed), Reading::Streaming, blank, place))
}

fn compared(plan: Plan, reading: Reading, blank: Row, place: Place) -> Job {
    Job::new(blank, move |row| {
        let (live, capacity) = (row.peak_live_bytes, row.capacity_bytes);
        let measure = |ceiling, mode| measure(&plan, reading, ceiling, live, mode, &place);
        let room = measure(None, Mode::Leased)?;
        let host = measure(None, Mode::OnHost)?;
        let spilled = measure(Some(capacity), Mode::Leased)?;
        let moved = spilled.moved + spilled.on_host;
        let link = Duration::from_secs_f64(moved as f64 / LINK / 1e6);
        Ok(Row {
            stack: Some(spilled.stack),
            passed: true,
            peak_reserved_bytes: Some(spilled.reserved),
            driver_calls: Some(spilled.calls),
            migrated_bytes: Some(spilled.moved),
            used_on_host_bytes: Some(spilled.on_host),
            least_moved_bytes: Some(furthest::moved(&plan, capacity)),
            virtual_ms: Some(spilled.time.as_secs_f64() * 1e3),
            slowdown: Some(ratio(spilled.time, room.time)),
            over_link: Some(ratio(spilled.time, room.time + link)),
            over_host: Some(ratio(spilled.time, host.time)),
            ..row
        })
    })
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

struct Outcome {
    stack: String,
    time: Duration,
    /// Bytes that left the device or came back.
    moved: u64,
    /// Bytes of arrays that were left on the host and used there.
    on_host: u64,
    reserved: u64,
    calls: u64,
}

/// The second of two passes, once the pool has its memory and the reserve is filled.
fn measure(
    plan: &Plan,
    reading: Reading,
    ceiling: Option<u64>,
    live: u64,
    mode: Mode,
    place: &Place,
) -> Result<Outcome, BoxedError> {
    let opened = place.target.open(&place.request(live * 2))?;
    let device = opened.simulated()?.clone();
    let limit = ceiling.map_or(PoolLimit::Unlimited, |bytes| PoolLimit::AtMost(Size::Bytes(bytes)));
    let config = RuntimeConfig::default()
        .with_pool_limit(limit)
        .with_memory_reserve(Size::Bytes(0))
        .with_spill(Size::Bytes(live * 2));
    let theirs = device.clone();
    let runtime = Runtime::new(config, move || Ok(theirs.clone()));
    let stack = runtime.ensure_ready()?;
    let pool = stack.pool.clone().ok_or("the tier has no pool")?;
    let spill = stack.spill.clone().ok_or("nothing spills")?;
    let stream = Stream::new(device.clone())?;
    let memory = MayRest::new(stack.resource.clone());
    pool.fill_host_reserve(live)?;
    let run = Run { device, pool, spill, memory, stream, mode, reading };
    run.pass(plan)?;
    let (device, spill) = (&run.device, &run.spill);
    let (before, began, calls) = (spill.counts(), device.virtual_time(), device.calls().total());
    let passed = run.pass(plan)?;
    let after = spill.counts();
    let time = match mode {
        Mode::Leased => device.virtual_time().saturating_sub(began),
        Mode::OnHost => passed.working,
    };
    let moved = |counts: SpillCounts| counts.demoted_bytes + counts.promoted_bytes;
    Ok(Outcome {
        stack: stack.description.clone(),
        time,
        moved: moved(after) - moved(before),
        on_host: passed.on_host,
        reserved: device.peak_used(),
        calls: device.calls().total() - calls,
    })
}
