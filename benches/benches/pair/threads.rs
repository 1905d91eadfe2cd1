//! Two threads, each on a stream of its own.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use criterion::Criterion;
use vmem_trace::{Trace, Workload};

use crate::memory::Memory;
use crate::overlay::generate;
use crate::row;
use crate::traced::Traced;

/// The time in which each of two threads makes one pair of an overlay: with no interference, that
/// of one thread alone.
pub(crate) fn one_stream_each(criterion: &mut Criterion) {
    let trace = generate(Workload::Overlay);
    let mut group = row(criterion, "overlay, two threads on two streams");
    for (name, mut memory) in Memory::all(1) {
        let Some(mut shared) = memory.share() else { continue };
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|pairs| {
                let ready = Barrier::new(2);
                std::thread::scope(|scope| {
                    let other = scope.spawn(|| run(&trace, pairs, &mut shared, &ready));
                    let own = run(&trace, pairs, &mut memory, &ready);
                    own.max(other.join().expect("the other thread ends"))
                })
            });
        });
    }
    group.finish();
}

fn run(trace: &Trace, pairs: u64, memory: &mut Memory, ready: &Barrier) -> Duration {
    let mut traced = Traced::new(trace);
    ready.wait();
    let start = Instant::now();
    for _ in 0..pairs {
        traced.step(memory);
    }
    let taken = start.elapsed();
    traced.end(memory);
    taken
}
