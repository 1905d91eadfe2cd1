//! Random sizes and lifetimes.

use vmem_core::Label;

use super::error::Reason;
use super::rng::Rng;
use super::{GenerateError, Workload, WorkloadOptions, check_length};
use crate::{Mark, Origin, Trace, TraceBuilder};

/// A random workload: sizes drawn evenly from a range, a fixed number of blocks live.
///
/// Each pass allocates until [`live`](Self::live) blocks are; from then on it frees one of them,
/// each equally likely, before every allocation, and frees all at its end. One stream; the same in
/// every pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomConfig {
    /// Allocations in a pass.
    pub allocations: u64,
    /// The smallest size, in bytes; at least 1.
    pub min_size: u64,
    /// The largest size, in bytes.
    pub max_size: u64,
    /// The largest number of blocks live at once; at least 1.
    pub live: u64,
}

impl RandomConfig {
    /// 256 B to 64 KiB, 2,000 live: many small blocks.
    pub const SMALL: Self =
        Self { allocations: 100_000, min_size: 256, max_size: 64 << 10, live: 2_000 };

    /// 1 B to 1 MiB, 36,000 live: what RMM's `random_allocations` benchmark comes to with 100,000
    /// allocations of up to 1 MiB.
    pub const LARGE: Self =
        Self { allocations: 100_000, min_size: 1, max_size: 1 << 20, live: 36_000 };
}

/// Generates a random workload; of `options` only the passes and the seed are used.
///
/// ```
/// use vmem_trace::{RandomConfig, Workload, random};
///
/// let trace = random(&RandomConfig::LARGE, &Workload::Random.defaults())?;
/// assert_eq!((trace.slots(), trace.allocations()), (36_000, 300_000));
/// # Ok::<(), vmem_trace::GenerateError>(())
/// ```
///
/// # Errors
/// [`GenerateError`] if there are no passes, the range of sizes is empty or starts at zero, nothing
/// may be live, the sum of live sizes overflows, or the trace would have more than
/// [`TraceBuilder::MAX_EVENTS`] events.
pub fn random(config: &RandomConfig, options: &WorkloadOptions) -> Result<Trace, GenerateError> {
    generate(config, options).map_err(|reason| reason.of(Workload::Random))
}

pub(super) fn generate(config: &RandomConfig, options: &WorkloadOptions) -> Result<Trace, Reason> {
    let RandomConfig { allocations, min_size, max_size, live: most_live } = *config;
    if options.passes == 0 {
        return Err(Reason("0 passes; at least 1 is needed".to_owned()));
    }
    if min_size == 0 || min_size > max_size {
        return Err(Reason(format!(
            "sizes from {min_size} to {max_size}; the smallest must be at least 1 and at most the \
             largest"
        )));
    }
    if most_live == 0 {
        return Err(Reason("0 blocks live; at least 1 is needed".to_owned()));
    }
    check_length(options.passes, 1, allocations)?;
    let origin = Origin::default();
    let mut builder = TraceBuilder::new();
    for _ in 0..options.passes {
        builder.mark(Mark::Pass)?;
        let mut rng = Rng::new(options.seed);
        let mut live: Vec<u32> = Vec::new();
        for _ in 0..allocations {
            if live.len() as u64 == most_live {
                let freed = live.swap_remove(rng.index(live.len()));
                builder.free(freed, origin)?;
            }
            let size = rng.between(min_size, max_size);
            live.push(builder.allocate(size, origin, Label::NONE)?);
        }
        for slot in live {
            builder.free(slot, origin)?;
        }
    }
    Ok(builder.finish(Workload::Random.name()))
}
