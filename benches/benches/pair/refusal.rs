//! A request that is larger than the device.

use std::hint::black_box;

use criterion::Criterion;
use vmem_core::Label;

use crate::row;
use crate::subject::{CAPACITY, Memory};

pub(crate) fn hopeless(criterion: &mut Criterion) {
    let mut group = row(criterion, "refusal of more than the device has");
    for (name, mut memory) in Memory::all(1) {
        // So that there is something that could be returned.
        let held = memory.allocate(1 << 20, 0);
        memory.free(held, 0);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let answer = memory.try_allocate(black_box(CAPACITY + 1), 0, Label::NONE);
                assert!(!matches!(answer, Ok(Some(_))), "more than the device has was given");
            });
        });
    }
    group.finish();
}
