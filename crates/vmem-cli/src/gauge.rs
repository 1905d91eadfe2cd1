//! What a device says of itself beside a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use vmem_core::{Device, DriverError};
use vmem_sim::SimDevice;

use crate::{Backend, OpenError};

/// What can be asked of a device beside a run.
#[derive(Debug, Clone)]
pub enum Gauge {
    /// The simulated device answers for free.
    Simulated(Arc<SimDevice>),
    /// A card's driver has to be asked.
    Hardware(Arc<Card>),
}

/// A device of a backend since it was opened.
#[derive(Debug)]
pub struct Card {
    backend: Arc<dyn Backend>,
    ordinal: u32,
    device: Arc<dyn Device>,
    /// What was free then, in bytes.
    free: u64,
    /// The driver calls made until then, and those of this gauge since.
    not_the_stacks: AtomicU64,
}

impl Card {
    /// Opens the device of this number.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn open(backend: &Arc<dyn Backend>, ordinal: u32) -> Result<Arc<Self>, OpenError> {
        let device = backend.open(ordinal)?;
        let info = device.memory_info().map_err(|error| OpenError::Failed(error.into()))?;
        let before = backend.driver_calls(ordinal).unwrap_or(0);
        let backend = backend.clone();
        let not_the_stacks = AtomicU64::new(before);
        Ok(Arc::new(Self { backend, ordinal, device, free: info.free, not_the_stacks }))
    }

    pub(crate) fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// What was free when it was opened, in bytes.
    pub(crate) fn free(&self) -> u64 {
        self.free
    }
}

impl Gauge {
    /// What of the device's memory is free now, in bytes.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    pub fn free(&self) -> Result<u64, DriverError> {
        Ok(match self {
            Self::Simulated(device) => device.memory_info()?.free,
            Self::Hardware(card) => {
                card.not_the_stacks.fetch_add(1, Ordering::Relaxed);
                card.device.memory_info()?.free
            }
        })
    }

    /// Bytes of the device's memory in use; on hardware, by whomever, since it was opened.
    pub fn used(&self) -> u64 {
        match self {
            Self::Simulated(device) => device.used(),
            // A device that does not answer fails the run elsewhere.
            Self::Hardware(card) => card.free.saturating_sub(self.free().unwrap_or(card.free)),
        }
    }

    /// Driver calls so far, if they are counted.
    pub fn driver_calls(&self) -> Option<u64> {
        match self {
            Self::Simulated(device) => Some(device.calls().total()),
            Self::Hardware(card) => {
                let calls = card.backend.driver_calls(card.ordinal)?;
                Some(calls.saturating_sub(card.not_the_stacks.load(Ordering::Relaxed)))
            }
        }
    }

    /// The simulated device's clock.
    pub fn virtual_time(&self) -> Option<Duration> {
        match self {
            Self::Simulated(device) => Some(device.virtual_time()),
            Self::Hardware(_) => None,
        }
    }
}
