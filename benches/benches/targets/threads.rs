//! Two threads, each on a stream of its own.

use std::time::Duration;

use vmem_runtime::Tier;
use vmem_trace::{Trace, Workload};

use crate::rounds::{Effort, Spread};
use crate::subject::{Job, Memory, generate, turns_in};
use crate::table::{Bound, Table, Unit};

/// What the launch of a kernel takes, about.
const LAUNCH: Duration = Duration::from_micros(2);

/// What two threads get done in the time in which one gets one thing done.
pub(crate) fn two_over_one(effort: &Effort, table: &mut Table) {
    let trace = generate(Workload::Overlay);
    let mut yardstick = Yardstick::new(effort, &trace);
    let launch = ("with 2 µs of work between pairs", turns_in(LAUNCH));
    let bare = ("bare loop", 0);
    let pool: (_, fn() -> Memory) = ("pool", || Memory::pool(1));
    let tier_a: (_, fn() -> Memory) = ("tier A", || Memory::tier(Tier::A, 1));
    let rmm: (_, fn() -> Memory) = ("RMM's model", || Memory::rmm(1));
    let rows = [
        (pool, launch, Bound::AtLeast(1.8)),
        (tier_a, launch, Bound::AtLeast(1.8)),
        (pool, bare, Bound::Free),
        (tier_a, bare, Bound::Free),
        (rmm, bare, Bound::Free),
    ];
    for ((name, memory), (between, turns), bound) in rows {
        let what = format!("two threads on two streams over one, {name}, {between}");
        let memory = memory();
        let shared = memory.share().expect("threads can share it");
        match throughput(effort, (&trace, turns), [memory, shared], &mut yardstick) {
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
    (trace, turns): (&Trace, u64),
    [mut own, mut others]: [Memory; 2],
    yardstick: &mut Yardstick,
) -> Option<Spread> {
    // A part of the trace is enough where work lies between.
    let pairs = if turns == 0 { trace.allocations() } else { trace.allocations() / 16 };
    let job = |units| Job { trace, turns, pairs: u64::from(units) * pairs };
    let units = effort.calibrate(&mut |units| job(units).alone(&mut own), &mut |_| Duration::ZERO);
    let (mut of_one, mut of_two) = (Vec::new(), Vec::new());
    let mut free_before = yardstick.finds_two_processors();
    for _ in 0..effort.rounds() {
        of_one.push(job(units).alone(&mut own).as_secs_f64());
        free_before &= yardstick.finds_two_processors();
        let taken = job(units).together([&mut own, &mut others]).as_secs_f64();
        let free_after = yardstick.finds_two_processors();
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
struct Yardstick<'a> {
    own: [Memory; 2],
    job: Job<'a>,
    /// The shortest time that one thread was seen to take.
    alone: Duration,
}

impl<'a> Yardstick<'a> {
    fn new(effort: &Effort, trace: &'a Trace) -> Self {
        let mut own = [Memory::locked_offset_allocator(), Memory::locked_offset_allocator()];
        let job =
            |units| Job { trace, turns: 0, pairs: u64::from(units) * trace.allocations() / 4 };
        let mut run = |units| job(units).alone(&mut own[0]);
        let units = effort.calibrate(&mut run, &mut |_| Duration::ZERO).div_ceil(2);
        let alone = (0..effort.rounds()).map(|_| run(units)).min().expect("there are rounds");
        Self { own, job: job(units), alone }
    }

    fn finds_two_processors(&mut self) -> bool {
        let [first, second] = &mut self.own;
        self.job.together([first, second]) < self.alone * 5 / 4
    }
}
