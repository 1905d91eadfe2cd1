//! What a resource knew when it gave up.

use std::fmt;

/// One thing that a resource tried for a request that it then refused. What there is to try, and
/// its name, is the resource's own: to be read, not to be matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Attempt {
    /// The measure that was tried, in a word or two.
    pub what: &'static str,
    /// Bytes it made available to the request, too few to satisfy it.
    pub freed: u64,
}

impl Attempt {
    /// `what` was tried and made `freed` bytes available.
    pub const fn new(what: &'static str, freed: u64) -> Self {
        Self { what, freed }
    }
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
    /// The bytes left of a budget, for a resource that holds no memory but counts it against one.
    pub budget_left: Option<u64>,
    /// The measures that were tried, in order.
    pub attempts: Vec<Attempt>,
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
        for (i, attempt) in self.attempts.iter().enumerate() {
            let lead = if i == 0 { "; tried " } else { ", " };
            write!(f, "{lead}{} ({} B)", attempt.what, attempt.freed)?;
        }
        Ok(())
    }
}
