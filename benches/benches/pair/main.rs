//! Host time of an allocation and a free, for vmem's pools and stacks and what they compete with.
//!
//! Every row is on a simulated device that keeps no bytes, so what is measured is the host's work
//! and, where a stack makes driver calls, the simulator's share of them: tens to hundreds of
//! nanoseconds a call, where a driver takes microseconds.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

mod overlay;
mod random;
mod refusal;
mod repeat;
mod streams;
#[allow(dead_code, unused_imports, reason = "each bench uses a part of it")]
#[path = "../subject/mod.rs"]
mod subject;
mod threads;

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};

/// A row, each of whose entries takes a second or two.
fn row<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(700));
    group
}

criterion_group!(
    benches,
    repeat::one_size,
    overlay::one_stream,
    overlay::labelled,
    random::small_blocks,
    random::many_blocks,
    streams::two_overlays,
    streams::ping_pong,
    threads::one_stream_each,
    refusal::hopeless,
);
criterion_main!(benches);
