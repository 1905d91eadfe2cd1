//! What kernels use, step by step.

use std::collections::HashMap;

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};
use vmem_trace::{Event, Operands, Trace};

/// A kernel's work: it makes an array out of others, or reads one, maybe for the last time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Make { array: usize, from: Vec<usize> },
    Read { array: usize },
    Finish { array: usize },
}

impl Step {
    /// All arrays that are used together.
    pub(super) fn used(&self) -> Vec<usize> {
        match self {
            Self::Make { array, from } => from.iter().copied().chain([*array]).collect(),
            Self::Read { array } | Self::Finish { array } => vec![*array],
        }
    }
}

/// All arrays with their sizes, and the steps in which they are used.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) sizes: Vec<u64>,
    pub(super) steps: Vec<Step>,
}

impl Plan {
    /// An overlay.
    pub(super) fn new(trace: &Trace) -> Self {
        let (mut sizes, mut steps) = (Vec::new(), Vec::new());
        let (mut operands, mut in_slot) = (Operands::default(), HashMap::new());
        for event in trace.events() {
            match *event {
                Event::Allocate { slot, size, label, .. } => {
                    let from = operands.made(slot, label);
                    let from = from.iter().filter_map(|slot| in_slot.get(slot).copied()).collect();
                    in_slot.insert(slot, sizes.len());
                    steps.push(Step::Make { array: sizes.len(), from });
                    sizes.push(size);
                }
                Event::Free { slot, .. } => {
                    operands.freed(slot);
                    steps.extend(in_slot.remove(&slot).map(|array| Step::Finish { array }));
                }
                _ => {}
            }
        }
        Self { sizes, steps }
    }

    /// A cache of so many entries of one size, that is used so often: the entry of rank k a k-th as often as
    /// the first.
    pub(super) fn cache(entries: usize, size: u64, uses: u64, seed: u64) -> Self {
        let mut rng = SplitMix64::seed_from_u64(seed);
        let weight = |rank: usize| 1.0 / (rank + 1) as f64;
        let all: f64 = (0..entries).map(weight).sum();
        let mut steps: Vec<Step> =
            (0..entries).map(|array| Step::Make { array, from: Vec::new() }).collect();
        for _ in 0..uses {
            let mut left = (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64 * all;
            let rank = (0..entries).find(|&rank| {
                left -= weight(rank);
                left < 0.0
            });
            // Neighbours in rank are none in age.
            steps.push(Step::Read { array: rank.unwrap_or(0) * 37 % entries });
        }
        steps.extend((0..entries).map(|array| Step::Finish { array }));
        Self { sizes: vec![size; entries], steps }
    }
}
