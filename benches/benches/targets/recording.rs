//! Recording what passes through a stack.

use std::sync::Arc;

use vmem_benches::device;
use vmem_core::{Device, MemoryResource, ResourceExt};
use vmem_trace::{Record, Recorder, Workload};

use crate::heap;
use crate::pairs::replayed;
use crate::rounds::Effort;
use crate::subject::{CAPACITY, Labels, Memory, Traced, arena_pool, generate};
use crate::table::{Bound, Table, Unit};

/// What recording a labelled overlay adds to the pool's time, for each of a pair's two events, into
/// a file and without one; and how often an event allocates from the host's heap.
pub(crate) fn event(effort: &Effort, table: &mut Table) {
    let path = std::env::temp_dir().join(format!("vmem-targets-{}.trace", std::process::id()));
    let recorders = [
        ("into a file", Recorder::create(&path), Bound::AtMost(60.0)),
        ("into nothing", Recorder::new(std::io::sink()), Bound::Free),
    ];
    let trace = generate(Workload::Overlay);
    // So long that the buffer is written several times in every round.
    let long = trace.repeated(8).expect("it is not too long");
    for (name, recorder, bound) in recorders {
        let recorder = Arc::new(recorder.expect("a temporary file can be written"));
        let mut recorded = recorded(recorder.clone());
        let mut bare = Memory::pool(1);
        let rounds = replayed(effort, (&long, Labels::Kept), &mut recorded, &mut bare);
        recorder.flush().expect("a temporary file can be written");
        let per_event = rounds.difference().times(0.5 / long.allocations() as f64);
        let what = format!("recording an event {name}");
        table.measured(&what, per_event, Unit::Nanoseconds, bound);
    }
    std::fs::remove_file(path).expect("it is there");

    let recorder = Recorder::new(std::io::sink()).expect("nothing can fail");
    let mut memory = recorded(Arc::new(recorder));
    let mut traced = Traced::new(&trace, Labels::Kept);
    let mut replay = || (0..trace.allocations()).for_each(|_| traced.step(&mut memory));
    // Labels are named once, and the pool grows.
    replay();
    let before = heap::allocations();
    replay();
    let made = (heap::allocations() - before) as f64;
    traced.end(&mut memory);
    let what = "heap allocations of a recorded overlay, from the second on";
    table.exact(what, made, Unit::Count, Bound::AtMost(0.0));
}

fn recorded(recorder: Arc<Recorder>) -> Memory {
    let build = |device: Arc<dyn Device>| -> Arc<dyn MemoryResource> {
        Record::new(arena_pool(device), recorder).into_dyn()
    };
    Memory::on(device(CAPACITY), 1, build)
}
