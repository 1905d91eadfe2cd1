//! Queued work: what it does, what it touches, what it waits for.

use std::fmt;

use crate::checker::Point;
use crate::kernel::{Body, Pattern};
use crate::memory::Piece;

/// Host memory that a queued copy names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostPtr(pub(crate) *mut u8);

// SAFETY: it is only used when the copy runs; whoever queued the copy promised that the memory is
// valid and left alone until then, on whichever thread that is (contract, devices/host-memory).
unsafe impl Send for HostPtr {}

// SAFETY: as above; sharing the address reads no memory.
unsafe impl Sync for HostPtr {}

/// What work does when it runs.
#[derive(Clone)]
pub(crate) enum Work {
    /// Nothing: a recorded event, a wait, an allocation in stream order.
    Mark,
    /// Fills what it writes with these bytes again and again.
    Fill([u8; 4]),
    /// Copies from host memory to what it writes.
    CopyFromHost(HostPtr),
    /// Copies what it reads to host memory.
    CopyToHost(HostPtr),
    /// Copies what it reads to what it writes.
    CopyWithin,
    /// Runs a kernel's body.
    Kernel(Option<Body>),
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mark => "Mark",
            Self::Fill(_) => "Fill",
            Self::CopyFromHost(_) => "CopyFromHost",
            Self::CopyToHost(_) => "CopyToHost",
            Self::CopyWithin => "CopyWithin",
            Self::Kernel(_) => "Kernel",
        })
    }
}

/// Work as it is asked for, its ranges still addresses.
#[derive(Debug, Clone)]
pub(crate) struct Submission {
    pub(crate) name: &'static str,
    pub(crate) work: Work,
    /// Address and length.
    pub(crate) reads: Vec<(u64, u64)>,
    pub(crate) writes: Vec<(u64, u64)>,
    /// How long it runs, faults, and what it touches, aside.
    pub(crate) device_ns: u64,
    /// In which order a kernel touches what it names, for as long as that takes.
    pub(crate) touches: Option<Pattern>,
}

impl Submission {
    /// Work that touches nothing.
    pub(crate) const fn mark(name: &'static str) -> Self {
        Self {
            name,
            work: Work::Mark,
            reads: Vec::new(),
            writes: Vec::new(),
            device_ns: 0,
            touches: None,
        }
    }
}

/// Work in a lane's queue, its ranges resolved. Addresses cannot change under it: freeing and
/// unmapping are refused while it is pending.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) name: &'static str,
    pub(crate) work: Work,
    pub(crate) reads: Vec<Piece>,
    pub(crate) writes: Vec<Piece>,
    /// Points that must be reached first, besides the work before it on its lane.
    pub(crate) needs: Vec<Point>,
}
