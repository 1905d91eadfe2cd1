//! A trace on one thread and on two.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use vmem_trace::Trace;

use super::{Labels, Memory, Traced};

/// The time in which one thread makes so many pairs of a trace.
pub(crate) fn alone(trace: &Trace, pairs: u64, memory: &mut Memory) -> Duration {
    run(trace, pairs, memory, || {})
}

/// The time in which two threads that start together each make so many pairs of a trace: that of
/// the slower one. With no interference it is that of one thread alone.
pub(crate) fn together(trace: &Trace, pairs: u64, memory: [&mut Memory; 2]) -> Duration {
    let ready = AtomicU32::new(0);
    // Spinning, because a thread that has to be woken would start late.
    let start = || {
        ready.fetch_add(1, Ordering::Relaxed);
        while ready.load(Ordering::Relaxed) < 2 {
            std::hint::spin_loop();
        }
    };
    let [own, others] = memory;
    std::thread::scope(|scope| {
        let other = scope.spawn(|| run(trace, pairs, others, start));
        let own = run(trace, pairs, own, start);
        own.max(other.join().expect("the other thread ends"))
    })
}

fn run(trace: &Trace, pairs: u64, memory: &mut Memory, start: impl FnOnce()) -> Duration {
    let mut traced = Traced::new(trace, Labels::Dropped);
    start();
    let begin = Instant::now();
    for _ in 0..pairs {
        traced.step(memory);
    }
    let taken = begin.elapsed();
    traced.end(memory);
    taken
}
