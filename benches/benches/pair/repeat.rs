//! One allocation and free of a size that was just freed: the shortest path there is.

use std::hint::black_box;

use criterion::Criterion;

use crate::row;
use crate::subject::Memory;

pub(crate) fn one_size(criterion: &mut Criterion) {
    let mut group = row(criterion, "1 MiB again and again");
    for (name, mut memory) in Memory::all(1) {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let held = memory.allocate(black_box(1 << 20), 0);
                memory.free(held, 0);
            });
        });
    }
    group.finish();
}
