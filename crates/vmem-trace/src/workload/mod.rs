//! Workloads: traces made from models of what programs allocate.

mod error;
mod expression;
mod model;
mod operands;
mod paged;
mod random;
mod rng;
mod scale;
mod schedule;
mod two_streams;

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use error::Reason;
pub use error::{GenerateError, ParseError};
use model::Model;
pub use operands::Operands;
pub use random::{RandomConfig, random};
pub use scale::Scale;
use schedule::Pass;

use crate::{Mark, Origin, Trace, TraceBuilder, TraceError};

/// A pattern of allocations that can be generated at any scale.
///
/// The first six are models of a geospatial engine: an operation is a table of arrays, each with a
/// formula for its size, the step at which it is allocated and the step before which it is freed.
/// An array without elements allocates nothing. Each pass runs the operation once, frees everything
/// and starts with [`Mark::Pass`]; the labels are the arrays' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Workload {
    /// Polygon overlay with all its temporaries: 703 arrays, about 128 live at the peak.
    Overlay,
    /// Polygon overlay without short-lived temporaries: 123 arrays.
    OverlayCore,
    /// Polygon overlay in pages of [`page_pairs`](WorkloadOptions::page_pairs) candidate pairs.
    /// What comes before the pages is allocated once, for all pairs; a page allocates its arrays
    /// for its own pairs and at its end frees all but its outputs (`fin.*`) and the sort scratch
    /// (`cccl.*`), which the first page allocates for all. After the last page the outputs are
    /// concatenated. Each page ends with [`Mark::Page`].
    OverlayPaged,
    /// Two overlays at a time on two streams of two threads, interleaved: each allocates 1 to 20
    /// arrays at a time, as the seed has it, the same way in every pass. Of every third overlay
    /// the results are freed on the other stream.
    OverlayTwoStreams,
    /// Dissolve of polygons into groups: 120 arrays.
    Dissolve,
    /// Join of points with polygons: 125 arrays.
    SpatialJoin,
    /// Random sizes, of [`RandomConfig::SMALL`] at the scale asked for; see [`random()`].
    Random,
}

/// Options for generating a [`Workload`]. Start from [`Workload::defaults`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkloadOptions {
    /// The size of the input.
    pub scale: Scale,
    /// The number of repetitions of the pattern; at least 1.
    pub passes: u32,
    /// The seed of everything random; used by `overlay-2s` and `random`.
    pub seed: u64,
    /// Candidate pairs in a page of `overlay-paged`; the last page may have fewer.
    pub page_pairs: NonZeroU64,
}

impl Workload {
    /// All workloads.
    pub const ALL: [Self; 7] = [
        Self::Overlay,
        Self::OverlayCore,
        Self::OverlayPaged,
        Self::OverlayTwoStreams,
        Self::Dissolve,
        Self::SpatialJoin,
        Self::Random,
    ];

    /// The name by which [`from_str`](Self::from_str) knows it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::OverlayCore => "overlay-core",
            Self::OverlayPaged => "overlay-paged",
            Self::OverlayTwoStreams => "overlay-2s",
            Self::Dissolve => "dissolve",
            Self::SpatialJoin => "spatial-join",
            Self::Random => "random",
        }
    }

    /// The options' default values: 3 passes, 1 million inputs for dissolve and spatial join and
    /// 100,000 for the others, pages of 2,000 pairs (100 pages at 100,000).
    pub const fn defaults(self) -> WorkloadOptions {
        let scale = match self {
            Self::Dissolve | Self::SpatialJoin => 1_000_000,
            _ => 100_000,
        };
        let (Some(scale), Some(page_pairs)) = (Scale::new(scale), NonZeroU64::new(2_000)) else {
            unreachable!()
        };
        WorkloadOptions { scale, passes: 3, seed: 0, page_pairs }
    }

    /// Generates the trace. O(events).
    ///
    /// ```
    /// use vmem_trace::{Workload, WorkloadOptions};
    ///
    /// let options = WorkloadOptions {
    ///     scale: "10k".parse()?,
    ///     ..Workload::Overlay.defaults()
    /// };
    /// let trace = Workload::Overlay.generate(&options)?;
    /// assert_eq!((trace.passes(), trace.allocations()), (3, 3 * 703));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`GenerateError`] if there are no passes, a size or the sum of live sizes overflows, or the
    /// trace would have more than [`TraceBuilder::MAX_EVENTS`] events.
    pub fn generate(self, options: &WorkloadOptions) -> Result<Trace, GenerateError> {
        self.try_generate(options).map_err(|reason| reason.of(self))
    }

    fn try_generate(self, options: &WorkloadOptions) -> Result<Trace, Reason> {
        if options.passes == 0 {
            return Err(Reason("0 passes; at least 1 is needed".to_owned()));
        }
        let source = match self {
            Self::Overlay | Self::OverlayPaged | Self::OverlayTwoStreams => model::OVERLAY,
            Self::OverlayCore => model::OVERLAY_CORE,
            Self::Dissolve => model::DISSOLVE,
            Self::SpatialJoin => model::SPATIAL_JOIN,
            Self::Random => {
                let config =
                    RandomConfig { allocations: options.scale.get(), ..RandomConfig::SMALL };
                return random::generate(&config, options);
            }
        };
        let model = Model::load(source)?;
        let mut builder = TraceBuilder::new();
        match self {
            Self::OverlayPaged => paged::generate(&model, options, &mut builder)?,
            Self::OverlayTwoStreams => two_streams::generate(&model, options, &mut builder)?,
            _ => whole(&model, options, &mut builder)?,
        }
        Ok(builder.finish(self.name()))
    }
}

/// The rows once per pass, on one stream.
fn whole(
    model: &Model,
    options: &WorkloadOptions,
    builder: &mut TraceBuilder,
) -> Result<(), Reason> {
    let sizes = model.sizes(&[("N", options.scale.get())])?;
    check_length(options.passes, 1, model.rows.len() as u64)?;
    for _ in 0..options.passes {
        builder.mark(Mark::Pass)?;
        let mut pass = Pass::new(model, Origin::default());
        for step in model.steps() {
            pass.step(step, &sizes, builder)?;
        }
    }
    Ok(())
}

/// Refuses a trace that would be too long, before any of it is made.
fn check_length(passes: u32, times: u64, allocations: u64) -> Result<(), Reason> {
    let pairs = u64::from(passes).checked_mul(times).and_then(|n| n.checked_mul(allocations));
    let events = pairs.and_then(|pairs| pairs.checked_mul(2));
    match events {
        Some(events) if events <= TraceBuilder::MAX_EVENTS as u64 => Ok(()),
        _ => Err(TraceError::TooManyEvents.into()),
    }
}

impl FromStr for Workload {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wanted = text.trim();
        let known =
            Self::ALL.into_iter().find(|workload| workload.name().eq_ignore_ascii_case(wanted));
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            ParseError::new("workload", text, names)
        })
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
