//! The stacks that can be asked for by name.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use vmem_core::{BoxedError, Device, DeviceMemory, MemoryResource};
use vmem_pool::{Backing, Chunks, Footprint, Pool, PoolConfig, VirtualArena};

use crate::stack::BuiltStack;
use crate::target::{DeviceRequest, Opened, Target};

/// A stack that can be asked for by name: an entry of the table below, or a peer.
#[derive(Clone, Copy)]
pub struct Tier {
    /// Its name on the command line and in rows.
    pub name: &'static str,
    source: Source,
}

/// Builds a peer on a device.
type BuildPeer = fn(Arc<dyn Device>) -> Result<Box<dyn MemoryResource>, BoxedError>;

/// Where a stack comes from.
#[derive(Clone, Copy)]
enum Source {
    Runtime(vmem_runtime::Tier),
    Bare(fn(&Opened) -> Result<BuiltStack, BoxedError>),
    Peer { about: &'static str, build: BuildPeer },
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
    pub fn ours() -> impl Iterator<Item = Self> {
        Self::OURS.iter().copied()
    }

    /// A stack that ours are compared with, which bounds itself by nothing but the device.
    pub const fn peer(name: &'static str, about: &'static str, build: BuildPeer) -> Self {
        Self { name, source: Source::Peer { about, build } }
    }

    /// The stacks that a runtime chooses among: those that run unless others are asked for.
    pub(crate) fn default_names() -> impl Iterator<Item = Self> {
        Self::ours().take(4)
    }

    /// The one of these that has this name.
    ///
    /// # Errors
    /// The names there are.
    pub fn find(text: &str, among: impl Iterator<Item = Self>) -> Result<Self, String> {
        let (wanted, among) = (text.trim(), among.collect::<Vec<_>>());
        let found = among.iter().find(|tier| tier.name.eq_ignore_ascii_case(wanted)).copied();
        found.ok_or_else(|| {
            let names: Vec<_> = among.iter().map(|tier| tier.name).collect();
            format!("{text:?} is not a tier; accepted: {}", names.join(", "))
        })
    }

    /// Whether its memory is managed, so that there is no smallest device for it.
    pub fn is_managed(&self) -> bool {
        self.runtime() == Some(vmem_runtime::Tier::C)
    }

    /// Whether it is one of ours, and so bounded by what it is told it may hold.
    pub(crate) fn is_ours(&self) -> bool {
        !matches!(self.source, Source::Peer { .. })
    }

    /// Which of a runtime's tiers it is.
    pub fn runtime(&self) -> Option<vmem_runtime::Tier> {
        match self.source {
            Source::Runtime(tier) => Some(tier),
            Source::Bare(_) | Source::Peer { .. } => None,
        }
    }

    /// What the device lacks for this stack.
    pub fn missing(&self, device: &dyn Device) -> Option<&'static str> {
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

    /// The stack on a device that is as requested.
    ///
    /// # Errors
    /// Why the device could not be opened, or the stack not be built.
    pub(crate) fn build_on(
        &self,
        target: &Target,
        request: &DeviceRequest,
    ) -> Result<BuiltStack, BoxedError> {
        self.build_over(&target.open(request)?)
    }

    /// The same on a device that is open.
    ///
    /// # Errors
    /// Why it could not be built.
    pub fn build_over(&self, opened: &Opened) -> Result<BuiltStack, BoxedError> {
        match self.source {
            Source::Runtime(tier) => BuiltStack::of_tier(tier, opened),
            Source::Bare(build) => build(opened),
            Source::Peer { about, build } => {
                let resource = Arc::from(build(opened.device.clone())?);
                Ok(BuiltStack::new(opened, resource, about.to_owned()))
            }
        }
    }
}

fn bare_arena(opened: &Opened) -> Result<BuiltStack, BoxedError> {
    arena(opened, Footprint::Lazy)
}

fn tight_arena(opened: &Opened) -> Result<BuiltStack, BoxedError> {
    arena(opened, Footprint::Tight)
}

fn arena(opened: &Opened, footprint: Footprint) -> Result<BuiltStack, BoxedError> {
    let ceiling = opened.bounds.device;
    let arena = VirtualArena::new(opened.device.clone())?;
    pooled(
        opened,
        Pool::new(arena, PoolConfig::default().with_ceiling(ceiling).with_footprint(footprint))?,
    )
}

fn bare_chunks(opened: &Opened) -> Result<BuiltStack, BoxedError> {
    let ceiling = Some(opened.capacity());
    let device = opened.device.clone();
    let chunks = Chunks::new(DeviceMemory::new(device.clone()));
    pooled(opened, Pool::new(chunks, PoolConfig::default().with_ceiling(ceiling))?)
}

fn pooled<B>(opened: &Opened, pool: Pool<B>) -> Result<BuiltStack, BoxedError>
where
    B: Backing + fmt::Display + 'static,
{
    let (handle, description) = (pool.handle(), pool.to_string());
    Ok(BuiltStack { pool: Some(handle), ..BuiltStack::new(opened, Arc::new(pool), description) })
}

fn plain(opened: &Opened) -> Result<BuiltStack, BoxedError> {
    let memory = DeviceMemory::new(opened.device.clone());
    let description = memory.to_string();
    Ok(BuiltStack::new(opened, Arc::new(memory), description).bounded(opened.bounds.device))
}

impl FromStr for Tier {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::find(text, Self::ours())
            .map_err(|error| format!("{error}; `vmem-lab` has models of other allocators as well"))
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
