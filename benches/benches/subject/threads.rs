//! A trace on one thread and on two.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use vmem_trace::Trace;

use super::{Labels, Memory, Traced};

/// What a thread does: so many pairs of a trace, and before each so many turns of a loop that touches
/// no memory.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) trace: &'a Trace,
    pub(crate) pairs: u64,
    pub(crate) turns: u64,
}

impl Job<'_> {
    /// The time in which one thread does it.
    pub(crate) fn alone(self, memory: &mut Memory) -> Duration {
        self.run(memory, || {})
    }

    /// The time in which two threads that start together each do it: that of the slower one. With no
    /// interference it is that of one thread alone.
    pub(crate) fn together(self, memory: [&mut Memory; 2]) -> Duration {
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
            let other = scope.spawn(|| self.run(others, start));
            let own = self.run(own, start);
            own.max(other.join().expect("the other thread ends"))
        })
    }

    fn run(self, memory: &mut Memory, start: impl FnOnce()) -> Duration {
        let mut traced = Traced::new(self.trace, Labels::Dropped);
        start();
        let begin = Instant::now();
        for _ in 0..self.pairs {
            busy(self.turns);
            traced.step(memory);
        }
        let taken = begin.elapsed();
        traced.end(memory);
        taken
    }
}

/// How many turns of a loop take so long where nothing else runs.
pub(crate) fn turns_in(time: Duration) -> u64 {
    const TURNS: u32 = 100_000;
    let tries = (0..20).map(|_| {
        let begin = Instant::now();
        busy(TURNS.into());
        begin.elapsed()
    });
    let fastest = tries.min().expect("there are tries");
    let turns = u128::from(TURNS) * time.as_nanos() / fastest.as_nanos().max(1);
    u64::try_from(turns).expect("a short time has few turns")
}

fn busy(turns: u64) {
    for turn in 0..turns {
        black_box(turn);
    }
}
