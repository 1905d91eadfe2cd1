//! The stacks that can be asked for by name.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use vmem_core::{BoxedError, Device, DeviceMemory, MemoryResource};
use vmem_pool::{Chunks, Pool, PoolConfig, VirtualArena};
use vmem_sim::SimDevice;
use vmem_trace::ReplayStack;

use crate::device::{self, SimMeter};

/// A stack that can be asked for by name: an entry of the table below.
#[derive(Clone, Copy)]
pub(crate) struct Tier {
    /// Its name on the command line and in rows.
    pub(crate) name: &'static str,
    /// Builds it on a device, and says what it is.
    build: fn(Arc<SimDevice>) -> Result<Built, BoxedError>,
}

/// A stack and its description.
type Built = (Arc<dyn MemoryResource>, String);

impl Tier {
    /// Every stack, in the order of the table.
    pub(crate) const ALL: &[Self] = &[
        Self {
            name: "a",
            build: |device| {
                let pool = Pool::new(VirtualArena::new(device)?, PoolConfig::default())?;
                Ok(described(pool))
            },
        },
        Self {
            name: "a-chunks",
            build: |device| {
                let config = PoolConfig {
                    ceiling: Some(device.facts().total_memory),
                    ..PoolConfig::default()
                };
                let pool =
                    Pool::new(Chunks::new(DeviceMemory::new(device.clone()), device), config)?;
                Ok(described(pool))
            },
        },
        Self { name: "plain", build: |device| Ok(described(DeviceMemory::new(device))) },
    ];

    /// The stack on a fresh device of `capacity` bytes.
    ///
    /// # Errors
    /// What building it came to.
    pub(crate) fn build(&self, capacity: u64, seed: u64) -> Result<ReplayStack, BoxedError> {
        let device = device::open(capacity, seed)?;
        let (resource, description) = (self.build)(device.clone())?;
        Ok(ReplayStack {
            device: device.clone(),
            resource,
            description,
            meter: Box::new(SimMeter(device)),
        })
    }
}

fn described(stack: impl MemoryResource + fmt::Display + 'static) -> Built {
    let description = stack.to_string();
    (Arc::new(stack), description)
}

impl FromStr for Tier {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.trim();
        Self::ALL.iter().find(|tier| tier.name.eq_ignore_ascii_case(wanted)).copied().ok_or_else(
            || {
                let names: Vec<_> = Self::ALL.iter().map(|tier| tier.name).collect();
                format!("{text:?} is not a tier; accepted: {}", names.join(", "))
            },
        )
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
