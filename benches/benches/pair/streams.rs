//! Two streams of one thread.

use criterion::Criterion;
use vmem_trace::Workload;

use crate::row;
use crate::subject::{Labels, Memory, Traced, generate};

/// Two overlays, interleaved; where results are freed on the other stream, the wait that orders
/// the two is in the time of every stack.
pub(crate) fn two_overlays(criterion: &mut Criterion) {
    let trace = generate(Workload::OverlayTwoStreams);
    let streams = trace.streams() as usize;
    let mut group = row(criterion, "two overlays on two streams");
    for (name, mut memory) in Memory::all(streams) {
        let mut traced = Traced::new(&trace, Labels::Dropped);
        group.bench_function(name, |bencher| bencher.iter(|| traced.step(&mut memory)));
        traced.end(&mut memory);
    }
    group.finish();
}

/// One block that two streams use in turn, so that each finds it in the other's hands.
pub(crate) fn ping_pong(criterion: &mut Criterion) {
    let mut group = row(criterion, "1 MiB, two streams in turn");
    for (name, mut memory) in Memory::all(2) {
        let mut stream = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let held = memory.allocate(1 << 20, stream);
                memory.free(held, stream);
                stream = 1 - stream;
            });
        });
    }
    group.finish();
}
