//! Two streams of one thread, beside the model of RMM's pool.

use vmem_trace::Workload;

use crate::pairs::replayed;
use crate::rounds::{Effort, time};
use crate::subject::{Labels, Memory, generate};
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
    let rounds = effort
        .compare(&mut |units| ping_pong(&mut own, units), &mut |units| ping_pong(&mut rmm, units));
    let what = "pool over RMM's model, one block that two streams use in turn";
    table.measured(what, rounds.ratio(), Unit::Ratio, Bound::Free);
}

fn ping_pong(memory: &mut Memory, units: u32) -> std::time::Duration {
    time(units, || {
        for turn in 0..TURNS {
            let stream = (turn % 2) as usize;
            let held = memory.allocate(1 << 20, stream);
            memory.free(held, stream);
        }
    })
}
