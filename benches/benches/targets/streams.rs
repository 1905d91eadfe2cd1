//! Two streams of one thread, beside the model of RMM's pool.

use vmem_benches::device;
use vmem_core::ResourceExt;
use vmem_trace::Workload;

use crate::pairs::replayed;
use crate::rounds::{Effort, time};
use crate::subject::{CAPACITY, Labels, Memory, arena_pool, generate};
use crate::table::{Bound, Table, Unit};

/// Turns in a unit of work.
const TURNS: u32 = 200;

pub(crate) fn beside_rmm(effort: &Effort, table: &mut Table) {
    let trace = generate(Workload::OverlayTwoStreams);
    let streams = trace.streams() as usize;
    let sides = (&mut Memory::pool(streams), &mut Memory::rmm(streams));
    let rounds = replayed(effort, (&trace, Labels::Dropped), sides.0, sides.1);
    let what = "pool over RMM's model, two overlays on two streams";
    table.measured(what, rounds.ratio(), Unit::Ratio, Bound::Free);

    let (mut own, mut rmm) = (Memory::pool(2), Memory::rmm(2));
    let hand_over = |memory: &mut Memory, units| time(units, || hand_back_and_forth(memory));
    let rounds = effort
        .compare(&mut |units| hand_over(&mut own, units), &mut |units| hand_over(&mut rmm, units));
    let what = "pool over RMM's model, a block that two streams use in turn";
    table.measured(what, rounds.ratio(), Unit::Ratio, Bound::AtMost(2.0));
}

/// Driver calls of the pool in a turn of one of two streams that use a block in turn.
pub(crate) fn calls_a_turn(table: &mut Table) {
    let device = device(CAPACITY);
    let mut memory = Memory::on(device.clone(), 2, |device| arena_pool(device).into_dyn());
    hand_back_and_forth(&mut memory);
    let before = device.calls();
    hand_back_and_forth(&mut memory);
    let calls = (device.calls() - before).total() as f64 / f64::from(TURNS);
    let what = "driver calls a turn of a block that two streams use in turn";
    table.exact(what, calls, Unit::Calls, Bound::AtMost(3.0));
}

fn hand_back_and_forth(memory: &mut Memory) {
    for turn in 0..TURNS {
        let stream = (turn % 2) as usize;
        let held = memory.allocate(1 << 20, stream);
        memory.free(held, stream);
    }
}
