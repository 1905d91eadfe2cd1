//! What a resource knew when it gave up.

use std::fmt;
use std::time::Duration;

/// One way to satisfy a request, in the order in which a pool tries them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Rung {
    /// A block freed on the request's own stream.
    OwnStream,
    /// A block whose last use on another stream is known to be complete.
    Completed,
    /// A block of another stream, after a device-side wait for its last use.
    Wait,
    /// Neighbouring blocks of several streams, joined.
    Merge,
    /// More memory from the upstream or device.
    Growth,
    /// Physical memory moved from holes.
    Move,
    /// Unused memory returned first, then growth.
    Trim,
    /// A wait on the host for pending frees.
    HostWait,
}

/// What one rung came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RungReport {
    /// Which rung.
    pub rung: Rung,
    /// Bytes it made available to the request, too few to satisfy it.
    pub freed: u64,
}

impl RungReport {
    /// `rung` was tried and made `freed` bytes available.
    pub const fn new(rung: Rung, freed: u64) -> Self {
        Self { rung, freed }
    }
}

/// The device's own figures at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct DeviceSample {
    /// Bytes free on the device.
    pub free: u64,
    /// Bytes the device has.
    pub total: u64,
    /// How long before the report the device was asked.
    pub age: Duration,
}

/// The state of a resource that could not satisfy a request. All sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ExhaustionReport {
    /// The size asked for.
    pub requested: u64,
    /// The size it rounds up to.
    pub rounded: u64,
    /// Requested sizes of all live blocks.
    pub live: u64,
    /// Bytes held from the upstream or device.
    pub reserved: u64,
    /// Free bytes that no request can have until the program synchronises the device, because no event
    /// covers the work on them.
    pub quarantined: u64,
    /// The most the resource may hold; `None` if unlimited.
    pub ceiling: Option<u64>,
    /// The largest request that would have been satisfied without growing, on the request's stream.
    pub largest_free: u64,
    /// What is left of a budget, for a resource that holds no memory but counts it against one.
    pub budget_left: Option<u64>,
    /// The rungs that were tried, in order.
    pub rungs: Vec<RungReport>,
    /// The device's figures, if they were asked for.
    pub device: Option<DeviceSample>,
}

impl ExhaustionReport {
    /// A report on a request of `requested` bytes, everything else unknown or zero.
    pub fn new(requested: u64) -> Self {
        Self { requested, rounded: requested, ..Self::default() }
    }
}

impl fmt::Display for ExhaustionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(left), Some(budget)) = (self.budget_left, self.ceiling) {
            let Self { requested, live, .. } = self;
            return write!(
                f,
                "{requested} B asked for, {left} B left of {budget} B, {live} B used"
            );
        }
        write!(
            f,
            "{} B asked for ({} B rounded), {} B live, {} B reserved, ",
            self.requested, self.rounded, self.live, self.reserved
        )?;
        match self.ceiling {
            Some(ceiling) => write!(f, "ceiling {ceiling} B, ")?,
            None => write!(f, "no ceiling, ")?,
        }
        write!(f, "largest free block {} B", self.largest_free)?;
        if self.quarantined > 0 {
            write!(f, ", {} B in quarantine until the device is synchronised", self.quarantined)?;
        }
        for (i, rung) in self.rungs.iter().enumerate() {
            let lead = if i == 0 { "; tried " } else { ", " };
            write!(f, "{lead}{:?} ({} B)", rung.rung, rung.freed)?;
        }
        if let Some(device) = &self.device {
            write!(f, "; device had {} of {} B free", device.free, device.total)?;
        }
        Ok(())
    }
}
