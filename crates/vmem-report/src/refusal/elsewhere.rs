//! What the same request would have needed on other stacks.

use std::fmt;
use std::sync::Arc;

use vmem_core::{BoxedError, DeviceMemory, Label, MemoryResource};
use vmem_pool::{BinningPool, Chunks, Pool, PoolConfig, VirtualArena};
use vmem_sim::{Bytes, Checker, SimConfig, SimDevice};
use vmem_trace::{Event, Mark, ReplayStack, Trace, TraceBuilder, TraceError, min_device};

use crate::bytes::show;
use crate::composition::Held;

/// The smallest device on which a stack serves what was live and the request that was refused.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Need {
    /// The stack.
    pub name: String,
    /// That device's memory, in bytes; or why there is none.
    pub bytes: Result<u64, String>,
}

impl Need {
    /// Looks for the smallest device on which a stack, which `build` makes for so many bytes, serves a
    /// trace. O(log(bytes)) replays, as of [`min_device`].
    pub fn of<S: ReplayStack>(
        name: impl Into<String>,
        trace: &Trace,
        build: impl Fn(u64) -> Result<S, BoxedError>,
    ) -> Self {
        let bytes = min_device(trace, build).map_err(|error| error.to_string());
        Self { name: name.into(), bytes }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.bytes {
            Ok(bytes) => write!(f, "{} serves it on a device of {}", self.name, show(*bytes)),
            Err(reason) => write!(f, "{} does not serve it: {reason}", self.name),
        }
    }
}

/// What a trace does before `index`, and then the request that was refused.
pub(crate) fn until(
    trace: &Trace,
    index: usize,
    asked: u64,
    stream: u32,
) -> Result<Trace, TraceError> {
    let mut builder = TraceBuilder::new();
    for event in trace.events().iter().take(index) {
        match *event {
            // Slots are given out in the same order as they were.
            Event::Allocate { size, origin, label, .. } => {
                builder.allocate(size, origin, label)?;
            }
            Event::Free { slot, origin } => {
                builder.free(slot, origin)?;
            }
            Event::Mark(mark) => builder.mark(mark)?,
            _ => {}
        }
    }
    let origin = trace.events().get(index).and_then(|event| match *event {
        Event::Allocate { origin, .. } | Event::Failure { origin, .. } => Some(origin),
        _ => None,
    });
    let origin = origin.unwrap_or(vmem_trace::Origin::stream(stream));
    builder.allocate(asked, origin, Label::NONE)?;
    Ok(builder.finish(trace.name()))
}

/// What was live, allocated anew, oldest first, and then the request.
pub(crate) fn anew(held: &[Held], asked: u64) -> Result<Trace, TraceError> {
    let mut builder = TraceBuilder::new();
    builder.mark(Mark::Pass)?;
    for block in held {
        builder.allocate(block.size, vmem_trace::Origin::default(), block.label)?;
    }
    builder.allocate(asked, vmem_trace::Origin::default(), Label::NONE)?;
    Ok(builder.finish("what was live, and the request"))
}

/// What was live and the request need on stacks of this crate's own, all of it allocated anew.
pub(crate) fn fresh(held: &[Held], asked: u64) -> Vec<Need> {
    let Ok(trace) = anew(held, asked) else { return Vec::new() };
    FRESH
        .iter()
        .map(|&(name, build)| Need::of(name, &trace, |most| Fresh::new(most, build)))
        .collect()
}

type Build = fn(Arc<SimDevice>, PoolConfig) -> Result<Arc<dyn MemoryResource>, BoxedError>;

const FRESH: [(&str, Build); 4] = [
    ("pool over virtual memory", |device, config| {
        Ok(Arc::new(Pool::new(VirtualArena::new(device)?, config)?))
    }),
    ("pool over chunks", |device, config| {
        Ok(Arc::new(Pool::new(Chunks::new(DeviceMemory::new(device)), config)?))
    }),
    ("bins of powers of two", |device, config| {
        Ok(Arc::new(BinningPool::new(DeviceMemory::new(device), config)?))
    }),
    ("a driver call a block", |device, _| Ok(Arc::new(DeviceMemory::new(device)))),
];

/// A stack on a simulated device of its own.
#[derive(Debug)]
struct Fresh {
    device: Arc<SimDevice>,
    memory: Arc<dyn MemoryResource>,
}

impl Fresh {
    fn new(most: u64, build: Build) -> Result<Self, BoxedError> {
        let device = SimDevice::with_config(SimConfig {
            capacity: most,
            bytes: Bytes::None,
            checker: Checker::Off,
            ..SimConfig::default()
        })?;
        let memory = build(device.clone(), PoolConfig::default().with_ceiling(most))?;
        Ok(Self { device, memory })
    }
}

#[expect(clippy::missing_trait_methods, reason = "what is not asked here is not known")]
impl ReplayStack for Fresh {
    fn resource(&self) -> &Arc<dyn MemoryResource> {
        &self.memory
    }

    fn description(&self) -> String {
        self.memory.to_string()
    }

    fn reserved(&self) -> u64 {
        self.device.used()
    }

    fn peak_reserved(&self) -> u64 {
        self.device.peak_used()
    }
}

#[cfg(test)]
mod tests {
    use vmem_trace::Origin;

    use super::*;

    #[test]
    fn what_is_asked_elsewhere_is_the_trace_before_and_then_the_request() {
        let mut builder = TraceBuilder::new();
        let origin = Origin::default();
        let first = builder.allocate(100, origin, Label::NONE).unwrap();
        builder.allocate(50, origin, Label::NONE).unwrap();
        builder.free(first, origin).unwrap();
        builder.failure(500, origin).unwrap();
        builder.allocate(7, origin, Label::NONE).unwrap();
        let trace = until(&builder.finish("t"), 3, 500, 0).unwrap();
        assert_eq!((trace.events().len(), trace.peak_live()), (4, 550));
    }

    #[test]
    fn a_fresh_stack_needs_what_it_rounds_up_to() {
        let held = [Held { size: 5 << 20, label: Label::NONE, stream: 0, since: 0 }];
        let needs = fresh(&held, 3 << 20);
        let bytes: Vec<_> = needs.iter().map(|need| *need.bytes.as_ref().unwrap() >> 20).collect();
        assert_eq!(bytes, [8, 8, 12, 8]);
    }
}
