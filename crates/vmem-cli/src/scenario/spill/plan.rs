//! What the overlay's kernels use, step by step.

use std::collections::HashMap;

use vmem_trace::{Event, Operands, Trace};

/// A kernel's work: it makes an array out of others, or reads one for the last time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Make { array: usize, from: Vec<usize> },
    Finish { array: usize },
}

impl Step {
    /// All arrays that are used together.
    pub(super) fn used(&self) -> Vec<usize> {
        match self {
            Self::Make { array, from } => from.iter().copied().chain([*array]).collect(),
            Self::Finish { array } => vec![*array],
        }
    }
}

/// All arrays of an overlay with their sizes, and the steps in which they are used.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) sizes: Vec<u64>,
    pub(super) steps: Vec<Step>,
}

impl Plan {
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
}
