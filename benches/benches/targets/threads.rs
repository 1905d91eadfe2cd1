//! Two threads, each on a stream of its own.

use std::time::Duration;

use vmem_runtime::Tier;
use vmem_trace::{Trace, Workload};

use crate::rounds::{Effort, Spread};
use crate::subject::{Memory, alone, generate, together};
use crate::table::{Bound, Table, Unit};

/// What two threads get done in the time in which one gets one thing done.
pub(crate) fn two_over_one(effort: &Effort, table: &mut Table) {
    let trace = generate(Workload::Overlay);
    let mut yardstick = Yardstick::new(effort, &trace);
    let rows: [(_, fn() -> Memory, _); 4] = [
        ("pool", || Memory::pool(1), Bound::AtLeast(1.8)),
        ("tier A", || Memory::tier(Tier::A, 1), Bound::AtLeast(1.6)),
        ("offset-allocator behind a mutex", Memory::locked_offset_allocator, Bound::Free),
        ("RMM's model", || Memory::rmm(1), Bound::Free),
    ];
    for (name, memory, bound) in rows {
        let what = format!("two threads on two streams over one, {name}");
        let memory = memory();
        let shared = memory.share().expect("threads can share it");
        match throughput(effort, &trace, [memory, shared], &mut yardstick) {
            Some(throughput) => table.measured(&what, throughput, Unit::Ratio, bound),
            None => table.unmeasured(&what, "other work kept the processors busy"),
        }
    }
}

/// The time of one thread over that of two that do the same each, doubled. Of the time of one the
/// lower quartile counts. Of two, the rounds count in which the yardstick said, before and after,
/// that two processors were there: two threads that take turns on one do not contend, so that a
/// busy machine would flatter what does not scale. `None` if there are too few such rounds.
fn throughput(
    effort: &Effort,
    trace: &Trace,
    [mut own, mut others]: [Memory; 2],
    yardstick: &mut Yardstick,
) -> Option<Spread> {
    let pairs = |units| u64::from(units) * trace.allocations();
    let units = effort
        .calibrate(&mut |units| alone(trace, pairs(units), &mut own), &mut |_| Duration::ZERO);
    let (mut of_one, mut of_two) = (Vec::new(), Vec::new());
    let mut free_before = yardstick.finds_two_processors(trace);
    for _ in 0..effort.rounds() {
        of_one.push(alone(trace, pairs(units), &mut own).as_secs_f64());
        free_before &= yardstick.finds_two_processors(trace);
        let taken = together(trace, pairs(units), [&mut own, &mut others]).as_secs_f64();
        let free_after = yardstick.finds_two_processors(trace);
        if free_before && free_after {
            of_two.push(taken);
        }
        free_before = free_after;
    }
    let enough = of_one.len().div_ceil(4);
    let one = Spread::of(of_one.into_iter()).low;
    (of_two.len() >= enough).then(|| Spread::of(of_two.into_iter().map(|two| 2.0 * one / two)))
}

/// Two threads that share nothing, which take as long as one where there are two processors.
struct Yardstick {
    own: [Memory; 2],
    pairs: u64,
    /// The shortest time that one thread was seen to take.
    alone: Duration,
}

impl Yardstick {
    fn new(effort: &Effort, trace: &Trace) -> Self {
        let mut own = [Memory::offset_allocator(), Memory::offset_allocator()];
        let pairs = |units| u64::from(units) * trace.allocations() / 4;
        let mut run = |units| alone(trace, pairs(units), &mut own[0]);
        let units = effort.calibrate(&mut run, &mut |_| Duration::ZERO).div_ceil(2);
        let alone = (0..effort.rounds()).map(|_| run(units)).min().expect("there are rounds");
        Self { own, pairs: pairs(units), alone }
    }

    fn finds_two_processors(&mut self, trace: &Trace) -> bool {
        let [first, second] = &mut self.own;
        together(trace, self.pairs, [first, second]) < self.alone * 5 / 4
    }
}
