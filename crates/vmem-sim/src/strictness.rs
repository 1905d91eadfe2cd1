//! Refusals of this device that a driver does not make.

use std::fmt;
use std::str::FromStr;

use bitflags::bitflags;

bitflags! {
    /// Refusals of the device that CUDA would not make. Each can be switched off, and the device
    /// then does what CUDA does (measured on an H200 with driver 580).
    ///
    /// Where a refusal is switched off, what the caller did wrong is still reported as a
    /// [violation](crate::Violation), except where CUDA allows it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
    pub struct Strictness: u32 {
        /// Stream-ordered allocation on a capturing stream. CUDA makes it a node of the graph, which
        /// owns the memory: outside it can be neither used nor freed before the graph is launched.
        /// No violation.
        const GRAPH_MEMORY = 1 << 0;
        /// Allocating and freeing, except in stream order, while a capture forbids the calling
        /// thread unsafe calls. vmem's CUDA device makes these calls in the relaxed mode, in which
        /// nothing forbids them. No violation.
        const ALLOCATION_IN_CAPTURE = 1 << 1;
        /// Freeing memory under work that the host has not seen complete. CUDA waits for all work
        /// of the device, but promises nothing.
        const PENDING_FREE = 1 << 2;
        /// Unmapping under such work. CUDA unmaps at once, and the work then faults; here it runs
        /// before.
        const PENDING_UNMAP = 1 << 3;
        /// Setting access to a range under such work.
        const PENDING_ACCESS = 1 << 4;
        /// Unmapping a range in which something is not mapped.
        const UNMAPPED_SPACE = 1 << 5;
        /// Copying between ranges that overlap. CUDA leaves the bytes undefined.
        const OVERLAPPING_COPY = 1 << 6;
        /// Destroying a stream on which a capture began. CUDA drops the capture with it.
        const CAPTURING_DESTROY = 1 << 7;
        /// The host touching memory, through a view, under work that it has not seen complete. No
        /// driver knows of it; here the work runs before.
        const HOST_ACCESS = 1 << 8;
    }
}

/// The environment's variable that says how strict devices are whose configuration does not.
const VARIABLE: &str = "VMEM_SIM_STRICTNESS";

impl Default for Strictness {
    /// All, unless the environment's variable `VMEM_SIM_STRICTNESS` holds something else in the form
    /// that [`FromStr`] reads: so tests run both ways without being written twice.
    ///
    /// # Panics
    /// If the variable's value is not understood: tests would not run as asked.
    fn default() -> Self {
        match std::env::var(VARIABLE) {
            Ok(text) => text.parse().unwrap_or_else(|error| panic!("{VARIABLE}: {error}")),
            Err(_) => Self::all(),
        }
    }
}

impl FromStr for Strictness {
    type Err = UnknownStrictness;

    /// Reads `all`, `none`, or names joined by `+`, as in `PENDING_FREE+PENDING_UNMAP`; each name after
    /// a `-` is taken away from all: `-GRAPH_MEMORY-PENDING_FREE`.
    fn from_str(text: &str) -> Result<Self, UnknownStrictness> {
        let named = |name: &str| {
            let found = Self::from_name(&name.trim().to_ascii_uppercase());
            found.ok_or_else(|| UnknownStrictness(name.to_owned()))
        };
        match text.trim() {
            "all" => Ok(Self::all()),
            "none" => Ok(Self::empty()),
            less if less.starts_with('-') => {
                less[1..].split('-').try_fold(Self::all(), |all, name| Ok(all - named(name)?))
            }
            some => some.split('+').try_fold(Self::empty(), |sum, name| Ok(sum | named(name)?)),
        }
    }
}

/// A name that is none of [`Strictness`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownStrictness(String);

impl fmt::Display for UnknownStrictness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no strictness; there are all, none", self.0)?;
        Strictness::all().iter_names().try_for_each(|(name, _)| write!(f, ", {name}"))
    }
}

impl std::error::Error for UnknownStrictness {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strictness_is_read_as_all_none_a_sum_or_all_but_some() {
        let read = |text: &str| text.parse::<Strictness>().unwrap();
        assert_eq!(read("all"), Strictness::all());
        assert_eq!(read("none"), Strictness::empty());
        let two = Strictness::PENDING_FREE | Strictness::GRAPH_MEMORY;
        assert_eq!(read("pending_free+GRAPH_MEMORY"), two);
        assert_eq!(read("-PENDING_FREE-GRAPH_MEMORY"), Strictness::all() - two);
        let error = "PENDING".parse::<Strictness>().unwrap_err().to_string();
        assert!(error.starts_with("`PENDING` is no strictness") && error.contains("HOST_ACCESS"));
    }
}
