//! Two threads, each on a stream of its own.

use criterion::Criterion;
use vmem_trace::Workload;

use crate::row;
use crate::subject::{Job, Memory, generate};

/// The time in which each of two threads makes one pair of an overlay: with no interference, that
/// of one thread alone.
pub(crate) fn one_stream_each(criterion: &mut Criterion) {
    let trace = generate(Workload::Overlay);
    let mut group = row(criterion, "overlay, two threads on two streams");
    for (name, mut memory) in Memory::all(1) {
        let Some(mut shared) = memory.share() else { continue };
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|pairs| {
                Job { trace: &trace, pairs, turns: 0 }.together([&mut memory, &mut shared])
            });
        });
    }
    group.finish();
}
