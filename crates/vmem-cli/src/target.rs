//! The device that was asked for, opened afresh for every run.

use std::fmt;
use std::sync::Arc;

use vmem_core::{BoxedError, Device};
use vmem_sim::{Bytes, Checker, CostTable, MeasuredCosts, SimConfig, SimDevice};

use crate::gauge::{Card, Gauge};
use crate::{Backend, Error, OpenError, bytes};

/// What a card keeps for others: the driver's own needs, and whoever else uses it.
pub const KEPT_FREE: u64 = 1 << 30;

/// The most managed memory that is asked of hardware at a time. Blocks are rounded up to pages of
/// 64 KiB, so half of the 256 MiB that a run may take is left to that.
const MANAGED_ON_HARDWARE: u64 = 128 << 20;

/// The simulated device's memory unless something else is asked for.
const SIMULATED: u64 = 80 << 30;

/// Where stacks run.
#[derive(Debug, Clone)]
pub enum Target {
    /// A new simulated device for each run, with these costs.
    Simulated(Box<MeasuredCosts>),
    /// The one device of this number.
    Hardware {
        /// Whose device.
        backend: Arc<dyn Backend>,
        /// Its number.
        ordinal: u32,
    },
}

/// What a run needs of its device.
#[derive(Debug, Clone, Copy)]
pub struct DeviceRequest {
    /// The memory that a simulated device has; what a stack may hold on hardware.
    pub capacity: Option<u64>,
    /// The most that a stack may hold and the most managed memory; none for what the device has.
    pub bounds: Bounds,
    /// Chooses among a simulated device's schedules.
    pub seed: u64,
    /// What a simulated device keeps and checks.
    pub purpose: Purpose,
}

/// The most that a stack may take, in bytes; none for no bound of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The device's own memory.
    pub device: Option<u64>,
    /// Managed memory.
    pub managed: Option<u64>,
}

/// What a simulated device is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Neither bytes nor the checker, so that neither is in a measured time.
    Measure,
    /// Both, so that a wrong byte or an unordered access shows.
    Verify,
}

/// A device to run one stack on.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The device.
    pub device: Arc<dyn Device>,
    /// Reads what it says of itself.
    pub gauge: Gauge,
    /// What the stack may hold.
    pub bounds: Bounds,
}

impl Target {
    /// Understands the argument of `--device`: `sim`, or a backend's name, perhaps with a number as
    /// in `cuda:1`.
    ///
    /// # Errors
    /// Usage, with what is accepted.
    pub fn parse(
        argument: Option<&str>,
        costs: Option<MeasuredCosts>,
        backend: &Arc<dyn Backend>,
    ) -> Result<Self, Error> {
        let argument = argument.map_or("sim", str::trim);
        let (name, number) = argument.split_once(':').unwrap_or((argument, "0"));
        if name.eq_ignore_ascii_case("sim") && number == "0" {
            return Ok(Self::Simulated(Box::new(costs.unwrap_or_else(MeasuredCosts::h100))));
        }
        let known = backend.name().eq_ignore_ascii_case(name);
        match number.parse() {
            Ok(_) if known && costs.is_some() => {
                Err(Error::usage("--costs is for the simulated device; hardware has its own"))
            }
            Ok(ordinal) if known => Ok(Self::Hardware { backend: backend.clone(), ordinal }),
            _ => Err(Error::usage(format!(
                "{argument:?} is not a device of this program; accepted: sim, {0}, {0}:1",
                backend.name()
            ))),
        }
    }

    /// What `--device` calls it.
    pub fn name(&self) -> String {
        match self {
            Self::Simulated(_) => "sim".to_owned(),
            Self::Hardware { backend, ordinal: 0 } => backend.name().to_owned(),
            Self::Hardware { backend, ordinal } => format!("{}:{ordinal}", backend.name()),
        }
    }

    /// The device after this one: the next of the driver's, or another simulated one.
    #[must_use]
    pub fn next(&self) -> Self {
        match self {
            Self::Simulated(costs) => Self::Simulated(costs.clone()),
            Self::Hardware { backend, ordinal } => {
                Self::Hardware { backend: backend.clone(), ordinal: ordinal.saturating_add(1) }
            }
        }
    }

    pub(crate) fn is_simulated(&self) -> bool {
        matches!(self, Self::Simulated(_))
    }

    /// What simulated calls cost.
    pub fn costs(&self) -> CostTable {
        match self {
            Self::Simulated(table) => table.costs,
            Self::Hardware { .. } => CostTable::default(),
        }
    }

    /// The device.
    ///
    /// # Errors
    /// Why there is none.
    pub fn open(&self, request: &DeviceRequest) -> Result<Opened, OpenError> {
        match self {
            Self::Simulated(_) => simulate(self.costs(), request),
            Self::Hardware { backend, ordinal } => {
                hardware(Card::open(backend, *ordinal)?, request)
            }
        }
    }
}

fn simulate(costs: CostTable, request: &DeviceRequest) -> Result<Opened, OpenError> {
    let (bytes, checker) = match request.purpose {
        Purpose::Measure => (Bytes::None, Checker::Off),
        Purpose::Verify => (Bytes::Stored, Checker::On),
    };
    let device = SimDevice::with_config(SimConfig {
        capacity: request.capacity.unwrap_or(SIMULATED),
        seed: request.seed,
        bytes,
        checker,
        costs,
        ..SimConfig::default()
    })
    .map_err(|error| OpenError::Failed(error.into()))?;
    Ok(Opened { device: device.clone(), gauge: Gauge::Simulated(device), bounds: request.bounds })
}

fn hardware(card: Arc<Card>, request: &DeviceRequest) -> Result<Opened, OpenError> {
    let room = card.free().saturating_sub(KEPT_FREE);
    if room == 0 {
        let (free, kept) = (bytes::show(card.free()), bytes::show(KEPT_FREE));
        return Err(OpenError::Absent(format!(
            "the device has {free} free, and {kept} of that stay untouched"
        )));
    }
    let least = |a: Option<u64>, b: Option<u64>| Some(a.into_iter().chain(b).fold(room, u64::min));
    let bounds = Bounds {
        device: least(request.bounds.device, request.capacity),
        managed: least(request.bounds.managed, Some(MANAGED_ON_HARDWARE)),
    };
    Ok(Opened { device: card.device().clone(), gauge: Gauge::Hardware(card), bounds })
}

impl DeviceRequest {
    /// A device to measure on.
    pub fn measuring(capacity: Option<u64>, seed: u64) -> Self {
        Self { capacity, bounds: Bounds::default(), seed, purpose: Purpose::Measure }
    }
}

impl Opened {
    /// The simulated device, for what only that can do.
    ///
    /// # Errors
    /// On hardware.
    pub fn simulated(&self) -> Result<&Arc<SimDevice>, BoxedError> {
        match &self.gauge {
            Gauge::Simulated(device) => Ok(device),
            Gauge::Hardware(_) => Err("this runs on the simulated device only".into()),
        }
    }

    /// What a stack may hold, in bytes.
    pub fn capacity(&self) -> u64 {
        self.bounds.device.unwrap_or(self.device.facts().total_memory)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Simulated(table) => write!(f, "simulated device (costs of {table})"),
            Self::Hardware { .. } => f.write_str(&self.name()),
        }
    }
}
