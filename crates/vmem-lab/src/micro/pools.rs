//! What a hit of a pool costs the host.

#![expect(unsafe_code, reason = "blocks are freed by hand, as a program that counts time does")]

use std::time::Instant;

use vmem_cli::parts::{Bounds, Opened, Tier};
use vmem_core::{BlockLayout, BoxedError, MemoryResource, Request, Stream};

use super::lab::{Lab, Setting};

/// The size of the blocks, in bytes.
const BYTES: u64 = 64 << 10;

/// Pairs of allocate and free that are timed together.
const PAIRS: u64 = 10_000;

/// The stacks with a pool, with what their rows are called.
const STACKS: [(&str, &str); 4] = [
    ("a-bare", "pair on the bare pool"),
    ("a-chunks", "pair on the bare pool over chunks"),
    ("a", "pair on tier A"),
    ("b", "pair on tier B"),
];

pub(super) fn measure(lab: &mut Lab) {
    for (name, operation) in STACKS {
        if let Err(error) = pairs(lab, name, operation) {
            lab.fail(operation, &error);
        }
    }
}

/// Times are the host's, on whatever device: a hit asks nothing of it.
fn pairs(lab: &mut Lab, name: &str, operation: &'static str) -> Result<(), BoxedError> {
    let tier: Tier = name.parse()?;
    if let Some(missing) = tier.missing(&*lab.device) {
        lab.leave_out(operation, missing);
        return Ok(());
    }
    let bounds = Bounds { device: Some(256 << 20), ..lab.opened.bounds };
    let built = tier.build_over(&Opened { bounds, ..lab.opened.clone() })?;
    let stream = Stream::new(lab.device.clone())?;
    let layout = BlockLayout::new(BYTES)?;
    let run = |count: u64| -> Result<u64, BoxedError> {
        let start = Instant::now();
        for _ in 0..count {
            let block = built.resource.allocate(&Request::new(layout, &stream))?;
            // SAFETY: contract, freeing: no work was queued on it, and the stream is live.
            unsafe { built.resource.deallocate(block, &stream) }?;
        }
        Ok(u64::try_from(start.elapsed().as_nanos())? / count)
    };
    run(PAIRS)?;
    // Where nobody counts, it is none before and after.
    let calls = || lab.opened.gauge.driver_calls().unwrap_or(0);
    let before = calls();
    let times = (0..20).map(|_| run(PAIRS)).collect::<Result<Vec<_>, _>>()?;
    let made = calls() - before;
    if made != 0 {
        lab.fail(operation, &format_args!("{made} driver calls were made by hits"));
    }
    lab.note(operation, Setting::of(BYTES), times);
    Ok(())
}
