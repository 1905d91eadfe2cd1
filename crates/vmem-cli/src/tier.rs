//! The stacks that can be asked for by name.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use vmem_adaptors::RecoveryHandle;
use vmem_benches::Baseline;
use vmem_core::{BoxedError, Device, DeviceMemory, MemoryResource};
use vmem_pool::{Chunks, Pool, PoolConfig};
use vmem_runtime::{Recovery, RuntimeConfig, Size, Stack};
use vmem_sim::SimDevice;
use vmem_trace::ReplayStack;

use crate::device::{self, SimMeter};

/// A stack that can be asked for by name: an entry of the table below.
#[derive(Clone, Copy)]
pub(crate) struct Tier {
    /// Its name on the command line and in rows.
    pub(crate) name: &'static str,
    source: Source,
}

/// Where a stack comes from.
#[derive(Clone, Copy)]
enum Source {
    Ours(fn(Arc<SimDevice>) -> Result<Built, BoxedError>),
    Baseline(&'static Baseline),
}

/// A stack on its device, with what can be known of it.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) device: Arc<SimDevice>,
    pub(crate) resource: Arc<dyn MemoryResource>,
    /// The stack in words.
    pub(crate) description: String,
    /// Where caches register that can be dropped when memory is short.
    pub(crate) recovery: Recovery,
    /// What recovery did, on stacks that have it.
    pub(crate) recovered: Option<RecoveryHandle>,
    /// Whether the memory migrates.
    pub(crate) migrates: bool,
}

impl Tier {
    /// Our stacks, in the order of the table.
    const OURS: &[Self] = &[
        Self::ours("a", |device| runtime(vmem_runtime::Tier::A, device)),
        Self::ours("b", |device| runtime(vmem_runtime::Tier::B, device)),
        Self::ours("c", |device| runtime(vmem_runtime::Tier::C, device)),
        Self::ours("fallback", |device| runtime(vmem_runtime::Tier::Fallback, device)),
        Self::ours("a-bare", bare_arena),
        Self::ours("a-chunks", bare_chunks),
        Self::ours("plain", |device| Ok(described(device.clone(), DeviceMemory::new(device)))),
    ];

    const fn ours(
        name: &'static str,
        build: fn(Arc<SimDevice>) -> Result<Built, BoxedError>,
    ) -> Self {
        Self { name, source: Source::Ours(build) }
    }

    /// Our stacks, then the baselines.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::OURS.iter().copied().chain(Self::baselines())
    }

    fn baselines() -> impl Iterator<Item = Self> {
        let tier = |baseline: &'static Baseline| Self {
            name: baseline.name,
            source: Source::Baseline(baseline),
        };
        vmem_benches::ALL.iter().map(tier)
    }

    /// What is compared: tier A and every baseline.
    pub(crate) fn compared() -> impl Iterator<Item = Self> {
        Self::OURS.iter().copied().take(1).chain(Self::baselines())
    }

    /// The stacks that a runtime chooses among: those that run unless others are asked for.
    pub(crate) fn default_names() -> impl Iterator<Item = Self> {
        Self::OURS.iter().copied().take(4)
    }

    /// Whether it needs room on the device for all that is live, so that there is a smallest device.
    pub(crate) fn needs_room(&self) -> bool {
        self.name != "c"
    }

    /// The stack on a fresh device of `capacity` bytes.
    ///
    /// # Errors
    /// What building it came to.
    pub(crate) fn build_on(&self, capacity: u64, seed: u64) -> Result<Built, BoxedError> {
        let device = device::open(capacity, seed)?;
        match self.source {
            Source::Ours(build) => build(device),
            Source::Baseline(baseline) => {
                let resource = (baseline.build)(device.clone())?;
                Ok(Built::new(device, Arc::from(resource), baseline.about.to_owned()))
            }
        }
    }

    /// The same, for a replay.
    ///
    /// # Errors
    /// What building it came to.
    pub(crate) fn build(&self, capacity: u64, seed: u64) -> Result<ReplayStack, BoxedError> {
        Ok(self.build_on(capacity, seed)?.for_replay())
    }
}

impl Built {
    /// A stack of which nothing more is known.
    fn new(device: Arc<SimDevice>, resource: Arc<dyn MemoryResource>, description: String) -> Self {
        Self {
            device,
            resource,
            description,
            recovery: Recovery::default(),
            recovered: None,
            migrates: false,
        }
    }

    /// The stack as a replay wants it.
    pub(crate) fn for_replay(self) -> ReplayStack {
        let Self { device, resource, description, recovered, migrates, .. } = self;
        let meter = SimMeter { device: device.clone(), recovered, migrates };
        ReplayStack { device, resource, description, meter: Box::new(meter) }
    }
}

/// A runtime's stack of that tier, without a reserve: the device is the workload's alone.
fn runtime(tier: vmem_runtime::Tier, device: Arc<SimDevice>) -> Result<Built, BoxedError> {
    let config = RuntimeConfig { memory_reserve: Some(Size::Bytes(0)), ..RuntimeConfig::default() };
    let recovery = Recovery::default();
    let stack = Stack::build(tier, device.clone(), &config, &recovery)?;
    Ok(Built {
        device,
        resource: stack.resource.clone(),
        description: stack.description.clone(),
        recovery,
        recovered: stack.recovery.clone(),
        migrates: tier == vmem_runtime::Tier::C,
    })
}

fn bare_arena(device: Arc<SimDevice>) -> Result<Built, BoxedError> {
    let arena = vmem_pool::VirtualArena::new(device.clone())?;
    Ok(described(device, Pool::new(arena, PoolConfig::default())?))
}

fn bare_chunks(device: Arc<SimDevice>) -> Result<Built, BoxedError> {
    let ceiling = Some(device.facts().total_memory);
    let chunks = Chunks::new(DeviceMemory::new(device.clone()), device.clone());
    Ok(described(device, Pool::new(chunks, PoolConfig { ceiling, ..PoolConfig::default() })?))
}

fn described(device: Arc<SimDevice>, stack: impl MemoryResource + fmt::Display + 'static) -> Built {
    let description = stack.to_string();
    Built::new(device, Arc::new(stack), description)
}

impl FromStr for Tier {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.trim();
        Self::all().find(|tier| tier.name.eq_ignore_ascii_case(wanted)).ok_or_else(|| {
            let names: Vec<_> = Self::all().map(|tier| tier.name).collect();
            format!("{text:?} is not a tier; accepted: {}", names.join(", "))
        })
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

impl fmt::Debug for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tier").field(&self.name).finish()
    }
}
