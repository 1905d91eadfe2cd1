//! One thread on one stream.

use std::hint::black_box;

use vmem_core::Label;
use vmem_runtime::Tier;
use vmem_trace::{RandomConfig, Trace, Workload};

use crate::rounds::{Effort, Rounds, time};
use crate::subject::{CAPACITY, Churn, Labels, Memory, Traced, generate};
use crate::table::{Bound, Table, Unit};

/// Replacements in a unit of work.
const STEPS: u32 = 500;

pub(crate) fn against_offset_allocator(effort: &Effort, table: &mut Table) {
    let trace = generate(Workload::Overlay);
    let sides = (&mut Memory::pool(1), &mut Memory::locked_offset_allocator());
    let replayed = replayed(effort, (&trace, Labels::Dropped), sides.0, sides.1);
    let [few, many] = [RandomConfig::SMALL, RandomConfig::LARGE].map(|config| {
        let sides = [Memory::pool(1), Memory::locked_offset_allocator()];
        replaced(effort, config, sides)
    });
    let rows = [
        ("overlay (128 live)", replayed, Bound::AtMost(1.15)),
        ("2,000 live", few, Bound::AtMost(1.15)),
        ("36,000 live", many, Bound::AtMost(1.3)),
    ];
    for (live, rounds, bound) in rows {
        let what = format!("pool over offset-allocator behind a mutex, {live}");
        table.measured(&what, rounds.ratio(), Unit::Ratio, bound);
    }
}

pub(crate) fn tier_b_over_pool(effort: &Effort, table: &mut Table) {
    let trace = generate(Workload::Overlay);
    let replays = [("overlay", Labels::Dropped), ("overlay with its 703 labels", Labels::Kept)];
    for (name, labels) in replays {
        let sides = (&mut Memory::tier(Tier::B, 1), &mut Memory::pool(1));
        let rounds = replayed(effort, (&trace, labels), sides.0, sides.1);
        let what = format!("tier B over the bare pool, {name}");
        table.measured(&what, rounds.ratio(), Unit::Ratio, Bound::AtMost(1.15));
    }
}

/// A request that is larger than the device, refused by tier B as the runtime builds it, hook and
/// all, and by the pool.
pub(crate) fn refusal(effort: &Effort, table: &mut Table) {
    let refuse = |memory: &mut Memory, units| {
        time(units, || {
            let answer = memory.try_allocate(black_box(CAPACITY + 1), 0, Label::NONE);
            assert!(answer.is_err(), "more than the device has was given");
        })
    };
    let (mut tier, mut pool) = (Memory::tier(Tier::B, 1), Memory::pool(1));
    for memory in [&mut tier, &mut pool] {
        // So that there is something that could be returned.
        let held = memory.allocate(1 << 20, 0);
        memory.free(held, 0);
    }
    let rounds = effort
        .compare(&mut |units| refuse(&mut tier, units), &mut |units| refuse(&mut pool, units));
    for (name, spread) in [("tier B", rounds.first()), ("pool", rounds.second())] {
        let what = format!("{name} refusing more than the device has");
        table.measured(&what, spread, Unit::Nanoseconds, Bound::AtMost(1000.0));
    }
}

/// A trace on two memories by turns, a whole one at a time.
pub(crate) fn replayed(
    effort: &Effort,
    (trace, labels): (&Trace, Labels),
    first: &mut Memory,
    second: &mut Memory,
) -> Rounds {
    let (mut on_first, mut on_second) = (Traced::new(trace, labels), Traced::new(trace, labels));
    let pairs = trace.allocations();
    let replay = |traced: &mut Traced<'_>, memory: &mut Memory, units| {
        time(units, || (0..pairs).for_each(|_| traced.step(memory)))
    };
    let rounds = effort.compare(&mut |units| replay(&mut on_first, first, units), &mut |units| {
        replay(&mut on_second, second, units)
    });
    on_first.end(first);
    on_second.end(second);
    rounds
}

/// Blocks replaced on two memories by turns.
fn replaced(effort: &Effort, config: RandomConfig, sides: [Memory; 2]) -> Rounds {
    let [mut first, mut second] = sides.map(|mut memory| {
        let live = usize::try_from(config.live).expect("they fit the host's memory");
        (Churn::new(live, config.min_size..=config.max_size, &mut memory), memory)
    });
    let replace = |(churn, memory): &mut (Churn, Memory), units| {
        time(units, || (0..STEPS).for_each(|_| churn.step(memory)))
    };
    let rounds = effort
        .compare(&mut |units| replace(&mut first, units), &mut |units| replace(&mut second, units));
    for (churn, mut memory) in [first, second] {
        churn.end(&mut memory);
    }
    rounds
}
