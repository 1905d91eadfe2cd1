//! The allocations of a polygon overlay, about 128 live, on one stream.

use criterion::Criterion;
use vmem_trace::{Trace, Workload};

use crate::memory::Memory;
use crate::row;
use crate::traced::Traced;

/// A workload as it is by default.
pub(crate) fn generate(workload: Workload) -> Trace {
    workload.generate(&workload.defaults()).expect("defaults can be generated")
}

pub(crate) fn one_stream(criterion: &mut Criterion) {
    let trace = generate(Workload::Overlay);
    let mut group = row(criterion, "overlay, 128 live");
    for (name, mut memory) in Memory::all(1) {
        let mut traced = Traced::new(&trace);
        group.bench_function(name, |bencher| bencher.iter(|| traced.step(&mut memory)));
        traced.end(&mut memory);
    }
    group.finish();
}
