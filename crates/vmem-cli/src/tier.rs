//! The stacks that can be asked for by name.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use vmem_adaptors::{AdaptorExt, Budget, RecoveryHandle};
use vmem_benches::Baseline;
use vmem_core::{BoxedError, Device, DeviceMemory, MemoryResource};
use vmem_pool::{Chunks, Footprint, Pool, PoolConfig, PoolHandle, VirtualArena};
use vmem_runtime::{PoolLimit, Recovery, RuntimeConfig, Size, Stack};
use vmem_trace::ReplayStack;

use crate::gauge::StackMeter;
use crate::target::{Opened, Target, Wish};

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
    Runtime(vmem_runtime::Tier),
    Bare(fn(&Opened) -> Result<Built, BoxedError>),
    Baseline(&'static Baseline),
}

/// A stack on its device, with what can be known of it.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) opened: Opened,
    pub(crate) resource: Arc<dyn MemoryResource>,
    /// The stack in words.
    pub(crate) description: String,
    /// The pool, on stacks that have one.
    pub(crate) pool: Option<PoolHandle>,
    /// What bounds it, on stacks that no pool bounds and that are bounded.
    pub(crate) budget: Option<Budget>,
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
        Self { name: "a", source: Source::Runtime(vmem_runtime::Tier::A) },
        Self { name: "b", source: Source::Runtime(vmem_runtime::Tier::B) },
        Self { name: "c", source: Source::Runtime(vmem_runtime::Tier::C) },
        Self { name: "fallback", source: Source::Runtime(vmem_runtime::Tier::Fallback) },
        Self { name: "a-bare", source: Source::Bare(bare_arena) },
        Self { name: "a-tight", source: Source::Bare(tight_arena) },
        Self { name: "a-chunks", source: Source::Bare(bare_chunks) },
        Self { name: "plain", source: Source::Bare(plain) },
    ];

    /// Our stacks.
    pub(crate) fn ours() -> impl Iterator<Item = Self> {
        Self::OURS.iter().copied()
    }

    /// Our stacks, then the baselines.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::ours().chain(Self::baselines())
    }

    fn baselines() -> impl Iterator<Item = Self> {
        let tier = |baseline: &'static Baseline| Self {
            name: baseline.name,
            source: Source::Baseline(baseline),
        };
        vmem_benches::ALL.iter().map(tier)
    }

    /// What is compared: tier A, its pool with the tight footprint, and every baseline.
    pub(crate) fn compared() -> impl Iterator<Item = Self> {
        let ours = |tier: &Self| ["a", "a-tight"].contains(&tier.name);
        Self::ours().filter(ours).chain(Self::baselines())
    }

    /// The stacks that a runtime chooses among: those that run unless others are asked for.
    pub(crate) fn default_names() -> impl Iterator<Item = Self> {
        Self::ours().take(4)
    }

    /// Whether it needs room on the device for all that is live, so that there is a smallest device.
    pub(crate) fn needs_room(&self) -> bool {
        !self.is_managed()
    }

    /// Whether its memory is managed.
    pub(crate) fn is_managed(&self) -> bool {
        self.runtime() == Some(vmem_runtime::Tier::C)
    }

    /// Whether it is one of ours, and so bounded by what it is told it may hold.
    pub(crate) fn is_ours(&self) -> bool {
        !matches!(self.source, Source::Baseline(_))
    }

    /// Which of a runtime's tiers it is.
    pub(crate) fn runtime(&self) -> Option<vmem_runtime::Tier> {
        match self.source {
            Source::Runtime(tier) => Some(tier),
            Source::Bare(_) | Source::Baseline(_) => None,
        }
    }

    /// What the device lacks for this stack.
    pub(crate) fn missing(&self, device: &dyn Device) -> Option<&'static str> {
        let no_range = device.virtual_memory().is_none();
        let concurrent = device.managed().is_some_and(|managed| managed.concurrent_access());
        if ["a-bare", "a-tight"].contains(&self.name) && no_range {
            Some("the device has no virtual memory")
        } else if self.is_managed() && !concurrent {
            Some("the device has no managed memory that host and device may use at one time")
        } else {
            None
        }
    }

    /// The stack on a device that fits the wish.
    ///
    /// # Errors
    /// What opening the device or building the stack came to.
    pub(crate) fn build_on(&self, target: &Target, wish: &Wish) -> Result<Built, BoxedError> {
        self.build_over(target.open(wish)?)
    }

    /// The same on a device that is open.
    ///
    /// # Errors
    /// What building it came to.
    pub(crate) fn build_over(&self, opened: Opened) -> Result<Built, BoxedError> {
        match self.source {
            Source::Runtime(tier) => runtime(tier, &opened),
            Source::Bare(build) => build(&opened),
            Source::Baseline(baseline) => {
                let resource: Arc<dyn MemoryResource> =
                    Arc::from((baseline.build)(opened.device.clone())?);
                Ok(Built::new(&opened, resource, baseline.about.to_owned()))
            }
        }
    }
}

impl Built {
    /// A stack of which nothing more is known.
    fn new(opened: &Opened, resource: Arc<dyn MemoryResource>, description: String) -> Self {
        Self {
            opened: opened.clone(),
            resource,
            description,
            pool: None,
            budget: None,
            recovery: Recovery::default(),
            recovered: None,
            migrates: false,
        }
    }

    /// The stack as a replay wants it.
    pub(crate) fn for_replay(self) -> ReplayStack {
        let Self { opened, resource, description, pool, recovered, migrates, .. } = self;
        let meter = StackMeter { gauge: opened.gauge, pool, recovered, migrates };
        ReplayStack { resource, description, meter: Box::new(meter) }
    }

    /// The same, refusing what exceeds `most` bytes: for stacks that no pool bounds.
    fn bounded(self, most: Option<u64>) -> Self {
        let Some(most) = most else {
            return self;
        };
        let budget = Budget::new(most);
        Self {
            description: format!("Limit<{}, {most} B>", self.description),
            resource: Arc::new(self.resource.limited(budget.clone())),
            budget: Some(budget),
            ..self
        }
    }
}

/// A runtime's stack of that tier, without a reserve: the device is the workload's alone.
fn runtime(tier: vmem_runtime::Tier, opened: &Opened) -> Result<Built, BoxedError> {
    let config = config(opened);
    let recovery = Recovery::default();
    let stack = Stack::build(tier, opened.device.clone(), &config, &recovery)?;
    let migrates = tier == vmem_runtime::Tier::C;
    let built = Built {
        pool: stack.pool.clone(),
        recovery,
        recovered: stack.recovery.clone(),
        migrates,
        ..Built::new(opened, stack.resource.clone(), stack.description.clone())
    };
    Ok(if migrates { built.bounded(opened.bounds.managed) } else { built })
}

/// What a runtime on this device is configured to be, but for the choice of its tier.
pub(crate) fn config(opened: &Opened) -> RuntimeConfig {
    let pool_limit = match opened.bounds.device {
        Some(most) => PoolLimit::AtMost(Size::Bytes(most)),
        None => PoolLimit::TotalLessReserve,
    };
    RuntimeConfig::default().with_pool_limit(pool_limit).with_memory_reserve(Size::Bytes(0))
}

fn bare_arena(opened: &Opened) -> Result<Built, BoxedError> {
    arena(opened, Footprint::Lazy)
}

fn tight_arena(opened: &Opened) -> Result<Built, BoxedError> {
    arena(opened, Footprint::Tight)
}

fn arena(opened: &Opened, footprint: Footprint) -> Result<Built, BoxedError> {
    let ceiling = opened.bounds.device;
    let arena = VirtualArena::new(opened.device.clone())?;
    pooled(
        opened,
        Pool::new(arena, PoolConfig::default().with_ceiling(ceiling).with_footprint(footprint))?,
    )
}

fn bare_chunks(opened: &Opened) -> Result<Built, BoxedError> {
    let ceiling = Some(opened.capacity());
    let device = opened.device.clone();
    let chunks = Chunks::new(DeviceMemory::new(device.clone()));
    pooled(opened, Pool::new(chunks, PoolConfig::default().with_ceiling(ceiling))?)
}

fn pooled<B>(opened: &Opened, pool: Pool<B>) -> Result<Built, BoxedError>
where
    B: vmem_pool::Backing + fmt::Display + 'static,
{
    let (handle, description) = (pool.handle(), pool.to_string());
    Ok(Built { pool: Some(handle), ..Built::new(opened, Arc::new(pool), description) })
}

fn plain(opened: &Opened) -> Result<Built, BoxedError> {
    let memory = DeviceMemory::new(opened.device.clone());
    let description = memory.to_string();
    Ok(Built::new(opened, Arc::new(memory), description).bounded(opened.bounds.device))
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
