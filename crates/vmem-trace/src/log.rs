//! Logs of real programs, which come with the crate.

use std::fmt;
use std::str::FromStr;

use crate::workload::ParseError;
use crate::{Trace, read};

/// What a real program asked of its allocator on one GPU, from its start to its end: a [`Trace`] that
/// replays anywhere. Nothing in it is generated, so it has one size, and it is a whole run rather than a
/// pass of one.
///
/// Those of vibeSpatial and CuPy were logged above RMM's pool, those of PyTorch are its allocator's history
/// of 13 steps; `data/logs.md` of the package says how they were made. Threads and streams are as they were;
/// labels are left out.
///
/// ```
/// use vmem_trace::Log;
///
/// let trace = Log::Overlay100k.trace();
/// assert_eq!(trace.name(), "overlay_100k");
/// assert_eq!(trace.peak_live() >> 20, 2105);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Log {
    /// vibeSpatial at a million candidate pairs: intersection, difference, union and a part of a
    /// symmetric difference.
    Overlay1m,
    /// vibeSpatial at 100,000 candidate pairs: five overlays, an index, two joins.
    Overlay100k,
    /// vibeSpatial at 200,000 candidate pairs under a pool limit of 1 GiB, at which five requests failed:
    /// overlays, joins, dissolves.
    Limit1Gib,
    /// Seven CuPy programs at three sizes, one after the other.
    CupyPrograms,
    /// PyTorch: a transformer in training, with sequences of changing length.
    TorchGpt,
    /// PyTorch: ResNet-50 in training, with batches of changing size.
    TorchResnet,
    /// PyTorch: a graph network in training, with graphs of changing size.
    TorchGnn,
}

impl Log {
    /// All logs.
    pub const ALL: [Self; 7] = [
        Self::Overlay1m,
        Self::Overlay100k,
        Self::Limit1Gib,
        Self::CupyPrograms,
        Self::TorchGpt,
        Self::TorchResnet,
        Self::TorchGnn,
    ];

    /// The name by which [`from_str`](Self::from_str) knows it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overlay1m => "overlay_1m",
            Self::Overlay100k => "overlay_100k",
            Self::Limit1Gib => "limit_1gib",
            Self::CupyPrograms => "cupy_programs",
            Self::TorchGpt => "torch_gpt",
            Self::TorchResnet => "torch_resnet",
            Self::TorchGnn => "torch_gnn",
        }
    }

    /// The trace. O(events), of which there are at most 71,000.
    pub fn trace(self) -> Trace {
        let reading = read(self.name(), self.bytes());
        reading.expect("the logs of the crate can be read").trace
    }

    /// A recording, compressed with gzip.
    const fn bytes(self) -> &'static [u8] {
        match self {
            Self::Overlay1m => include_bytes!("../data/overlay_1m.trace.gz"),
            Self::Overlay100k => include_bytes!("../data/overlay_100k.trace.gz"),
            Self::Limit1Gib => include_bytes!("../data/limit_1gib.trace.gz"),
            Self::CupyPrograms => include_bytes!("../data/cupy_programs.trace.gz"),
            Self::TorchGpt => include_bytes!("../data/torch_gpt.trace.gz"),
            Self::TorchResnet => include_bytes!("../data/torch_resnet.trace.gz"),
            Self::TorchGnn => include_bytes!("../data/torch_gnn.trace.gz"),
        }
    }
}

impl FromStr for Log {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wanted = text.trim();
        let known = Self::ALL.into_iter().find(|log| log.name().eq_ignore_ascii_case(wanted));
        known.ok_or_else(|| ParseError::new("log", text, Self::ALL.map(Self::name).join(", ")))
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
