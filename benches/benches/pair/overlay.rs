//! The allocations of a polygon overlay, about 128 live, on one stream.

use criterion::Criterion;
use vmem_trace::Workload;

use crate::row;
use crate::subject::{Labels, Memory, Traced, generate};

pub(crate) fn one_stream(criterion: &mut Criterion) {
    replay(criterion, "overlay, 128 live", Labels::Dropped);
}

/// The same with a label on every array.
pub(crate) fn labelled(criterion: &mut Criterion) {
    replay(criterion, "overlay, 703 labels", Labels::Kept);
}

fn replay(criterion: &mut Criterion, name: &str, labels: Labels) {
    let trace = generate(Workload::Overlay);
    let mut group = row(criterion, name);
    for (name, mut memory) in Memory::all(1) {
        let mut traced = Traced::new(&trace, labels);
        group.bench_function(name, |bencher| bencher.iter(|| traced.step(&mut memory)));
        traced.end(&mut memory);
    }
    group.finish();
}
