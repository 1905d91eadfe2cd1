//! Random sizes and lifetimes, few blocks and many.

use criterion::Criterion;
use vmem_trace::RandomConfig;

use crate::row;
use crate::subject::{Churn, Memory};

pub(crate) fn small_blocks(criterion: &mut Criterion) {
    replace(criterion, "256 B to 64 KiB, 2,000 live", RandomConfig::SMALL);
}

pub(crate) fn many_blocks(criterion: &mut Criterion) {
    replace(criterion, "1 B to 1 MiB, 36,000 live", RandomConfig::LARGE);
}

fn replace(criterion: &mut Criterion, name: &str, config: RandomConfig) {
    let live = usize::try_from(config.live).expect("they fit the host's memory");
    let mut group = row(criterion, name);
    for (name, mut memory) in Memory::all(1) {
        let mut churn = Churn::new(live, config.min_size..=config.max_size, &mut memory);
        group.bench_function(name, |bencher| bencher.iter(|| churn.step(&mut memory)));
        churn.end(&mut memory);
    }
    group.finish();
}
