//! Two threads on two streams of one pool, beside two threads on a pool each: what they get done over
//! what one gets done in the same time, with work between the pairs and without.
//!
//! ```sh
//! cargo run --release -p vmem-benches --example two_threads
//! ```
//!
//! Rounds are short and many, and of them the least disturbed count, because a round in which one of the
//! threads had to wait for a processor says nothing.

#![allow(clippy::print_stdout, reason = "a table for people at a terminal")]

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use vmem_benches::device;
use vmem_core::{Block, BlockLayout, MemoryResource, ResourceExt, Stream};
use vmem_pool::{Pool, PoolConfig, VirtualArena};

type Failure = Box<dyn Error>;

/// How much a thread does in a round, about.
const ROUND: Duration = Duration::from_micros(400);

/// Blocks that a stream holds.
const LIVE: usize = 64;

fn main() -> Result<(), Failure> {
    let seconds = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    let limit = Duration::from_secs(seconds);
    println!("work between pairs   one pool   a pool each   ns of a pair alone");
    for work in [0, 500, 2000] {
        let shared = measure(work, limit, || {
            let pool = pool()?;
            Ok([pool.clone(), pool])
        })?;
        let apart = measure(work, limit, || Ok([pool()?, pool()?]))?;
        println!("{work:>15} ns   {:>8.2}   {:>11.2}   {:>10.0}", shared.0, apart.0, shared.1);
    }
    Ok(())
}

fn pool() -> Result<Arc<dyn MemoryResource>, Failure> {
    let device = device(8 << 30);
    Ok(Arc::new(Pool::new(VirtualArena::new(device)?, PoolConfig::default())?))
}

/// What two threads get done over what one does, and the nanoseconds of one thread's pair and work.
fn measure(
    work: u32,
    limit: Duration,
    make: impl Fn() -> Result<[Arc<dyn MemoryResource>; 2], Failure>,
) -> Result<(f64, f64), Failure> {
    let [first, second] = make()?;
    let (mut first, mut second) = (Worker::new(first)?, Worker::new(second)?);
    let spins = spins_of(work)?;
    let per_pair = 100 + u64::from(work);
    let pairs = u32::try_from(ROUND.as_nanos() / u128::from(per_pair))?;
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    while begin.elapsed() < limit {
        alone.push(first.run(pairs, spins));
        together.push(both(&mut first, &mut second, pairs, spins));
    }
    first.end();
    second.end();
    let (alone, together) = (least_disturbed(alone), least_disturbed(together));
    Ok((2.0 * alone / together, alone * 1e9 / f64::from(pairs)))
}

/// The twentieth part that took least, of that the longest.
fn least_disturbed(mut rounds: Vec<Duration>) -> f64 {
    rounds.sort_unstable();
    rounds[rounds.len() / 20].as_secs_f64()
}

/// From when the first of two threads begins until the last one ends: two that take turns on one
/// processor take twice as long as one.
fn both(first: &mut Worker, second: &mut Worker, pairs: u32, spins: u32) -> Duration {
    let ready = AtomicU32::new(0);
    let run = |worker: &mut Worker| {
        ready.fetch_add(1, Ordering::SeqCst);
        while ready.load(Ordering::SeqCst) < 2 {
            std::hint::spin_loop();
        }
        let begin = Instant::now();
        worker.run(pairs, spins);
        (begin, Instant::now())
    };
    let (own, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| run(second));
        (run(first), other.join().expect("the other thread ends"))
    });
    own.1.max(other.1) - own.0.min(other.0)
}

/// A stream with blocks of many sizes, of which each pair replaces one.
struct Worker {
    pool: Arc<dyn MemoryResource>,
    stream: Stream,
    live: Vec<Option<Block>>,
    state: u64,
}

impl Worker {
    fn new(pool: Arc<dyn MemoryResource>) -> Result<Self, Failure> {
        let stream = Stream::new(pool.device().clone())?;
        let live = std::iter::repeat_with(|| None).take(LIVE).collect();
        let mut worker = Self { pool, stream, live, state: 1 };
        // Warm enough that nothing is taken from the device any more.
        for _ in 0..40_000 {
            worker.pair();
        }
        Ok(worker)
    }

    fn run(&mut self, pairs: u32, spins: u32) -> Duration {
        let begin = Instant::now();
        for _ in 0..pairs {
            self.pair();
            spin(spins);
        }
        begin.elapsed()
    }

    fn pair(&mut self) {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let random = self.state >> 33;
        let at = usize::try_from(random).expect("31 bits") % LIVE;
        if let Some(block) = self.live[at].take() {
            self.free(block);
        }
        let size = (4096 << (random / 64 % 8)) + 512 * (random / 512 % 16);
        let layout = BlockLayout::new(size).expect("a size");
        let block = self.pool.allocate_on(layout, &self.stream).expect("there is room");
        self.live[at] = Some(block);
    }

    fn free(&self, block: Block) {
        // SAFETY: contract, freeing: no work is queued on any block.
        unsafe { self.pool.deallocate(block, &self.stream) }.expect("the pool's own block");
    }

    fn end(mut self) {
        for block in std::mem::take(&mut self.live).into_iter().flatten() {
            self.free(block);
        }
    }
}

/// How often to spin for so many nanoseconds.
fn spins_of(nanoseconds: u32) -> Result<u32, Failure> {
    let rounds = (0..200).map(|_| {
        let begin = Instant::now();
        spin(10_000);
        begin.elapsed()
    });
    let least = rounds.min().expect("there are rounds").as_nanos();
    Ok(u32::try_from(u128::from(nanoseconds) * 10_000 / least.max(1))?)
}

/// Arithmetic that touches no memory.
fn spin(times: u32) {
    let mut sum = 0_u32;
    for i in 0..times {
        sum = black_box(sum.wrapping_add(i));
    }
    black_box(sum);
}
