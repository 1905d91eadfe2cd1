//! What each of several threads does, and how that is drawn.

use proptest::prelude::*;

use super::allowance::{LARGEST, LEAST_PERCENT};

/// One step of one thread, on one of its streams.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Allocate {
        size: u64,
        stream: usize,
    },
    Write {
        block: usize,
        stream: usize,
    },
    Verify {
        block: usize,
        stream: usize,
    },
    Free {
        block: usize,
        stream: usize,
    },
    /// Hands a block to the next thread.
    HandOver {
        block: usize,
    },
    /// Hands a filled buffer to the next thread, which uses it and drops it.
    Buffer {
        size: u64,
    },
    Cache {
        size: u64,
        stream: usize,
    },
    Reserve {
        size: u64,
        stream: usize,
    },
    Draw {
        size: u64,
        stream: usize,
    },
    Retire {
        stream: usize,
    },
    Limit {
        percent: u64,
    },
    Trim,
    /// Makes a block with the thread's own label.
    Label {
        size: u64,
        stream: usize,
    },
    /// Puts all blocks of that label to sleep, or wakes them.
    Nap {
        stream: usize,
        wakes: bool,
    },
    /// Has a block rest on the host, or be the device's again, once all work on it is complete.
    Rest {
        block: usize,
        stream: usize,
        wakes: bool,
    },
}

/// The streams of a thread: owned ones, and last its default stream.
pub(super) const STREAMS: usize = 3;
pub(super) const DEFAULT: usize = STREAMS - 1;

/// Any step.
pub(super) fn step() -> impl Strategy<Value = Step> + use<> {
    let (size, stream, block) = (1..=LARGEST, 0..STREAMS, 0..32_usize);
    let on = || (block.clone(), stream.clone());
    let sized = || (size.clone(), stream.clone());
    prop_oneof![
        6 => sized().prop_map(|(size, stream)| Step::Allocate { size, stream }),
        4 => on().prop_map(|(block, stream)| Step::Write { block, stream }),
        2 => on().prop_map(|(block, stream)| Step::Verify { block, stream }),
        4 => on().prop_map(|(block, stream)| Step::Free { block, stream }),
        2 => block.clone().prop_map(|block| Step::HandOver { block }),
        2 => size.clone().prop_map(|size| Step::Buffer { size }),
        1 => sized().prop_map(|(size, stream)| Step::Cache { size, stream }),
        1 => sized().prop_map(|(size, stream)| Step::Reserve { size, stream }),
        1 => sized().prop_map(|(size, stream)| Step::Draw { size, stream }),
        1 => stream.clone().prop_map(|stream| Step::Retire { stream }),
        1 => (LEAST_PERCENT..=100).prop_map(|percent| Step::Limit { percent }),
        1 => Just(Step::Trim),
        2 => (on(), any::<bool>())
            .prop_map(|((block, stream), wakes)| Step::Rest { block, stream, wakes }),
        1 => sized().prop_map(|(size, stream)| Step::Label { size, stream }),
        2 => (stream.clone(), any::<bool>())
            .prop_map(|(stream, wakes)| Step::Nap { stream, wakes }),
    ]
}
