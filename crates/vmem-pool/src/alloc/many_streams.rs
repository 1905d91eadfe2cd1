//! What a pair of calls costs does not depend on how many streams there are.

use std::sync::Arc;
use std::time::Duration;

use vmem_core::{Block, BlockLayout, DeviceMemory, Request, Stream};
use vmem_sim::{Kernel, SimDevice};

use super::{Control, Core};
use crate::space::{Fit, visits};
use crate::supply::Backing;
use crate::{Batch, Chunks, Growth, PoolConfig, VirtualArena};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// How many pairs are measured.
const PAIRS: usize = 64;

/// Many streams, as compared with two.
const MANY: usize = 8000;

/// A pool with its streams.
struct Scene<B: Backing> {
    device: Arc<SimDevice>,
    core: Arc<Core<B>>,
    streams: Vec<Stream>,
}

/// What a pair costs: lanes and ranges of others looked at, and driver calls.
#[derive(Debug, Clone, Copy)]
struct Cost {
    visits: u64,
    calls: u64,
}

impl<B: Backing> Scene<B> {
    fn new(make: impl Fn(Arc<SimDevice>) -> B, streams: usize, config: PoolConfig) -> Self {
        let device = SimDevice::new(32 * GIB);
        let core = Core::new(make(device.clone()), config, Fit::Best).unwrap();
        let streams = (0..streams).map(|_| Stream::new(device.clone()).unwrap()).collect();
        Self { device, core, streams }
    }

    fn alloc(&self, size: u64, stream: &Stream) -> Block {
        self.core.allocate(&Request::new(BlockLayout::new(size).unwrap(), stream)).unwrap()
    }

    fn pair(&self, size: u64, stream: &Stream, busy: Duration) {
        let block = self.alloc(size, stream);
        if !busy.is_zero() {
            let kernel = Kernel::write_pattern(block.ptr(), 256, 1).taking(busy);
            // SAFETY: contract, devices/handles and devices/ranges: a live block and a live stream
            // of the device.
            unsafe { self.device.launch(stream, kernel) }.unwrap();
        }
        self.core.deallocate(block, stream).unwrap();
    }

    /// Measures `PAIRS` calls of `pair`, without the work that it launches.
    fn cost(&self, mut pair: impl FnMut(usize)) -> Cost {
        visits::take();
        let before = self.device.calls();
        (0..PAIRS).for_each(&mut pair);
        let calls = self.device.calls() - before;
        // The own lane is looked at twice a pair, also where the thread remembers it.
        Cost { visits: visits::take() + 2 * PAIRS as u64, calls: calls.total() }
    }

    fn end(self) {
        self.core.check_invariants();
        self.core.shut_down();
        drop((self.core, self.streams));
        self.device.assert_clean();
    }
}

fn arena(device: Arc<SimDevice>) -> VirtualArena {
    VirtualArena::new(device).unwrap()
}

fn chunks(device: Arc<SimDevice>) -> Chunks<DeviceMemory> {
    Chunks::new(DeviceMemory::new(device.clone()))
}

/// Every configuration that goes about streams in its own way.
fn configs() -> [PoolConfig; 2] {
    let strict = PoolConfig::default().with_batch(Batch::STRICT);
    [PoolConfig::default(), strict]
}

/// Holds what a pair costs with many streams to twice what it costs with two.
fn is_flat(name: &str, cost: impl Fn(usize) -> Cost) {
    let (few, many) = (cost(2), cost(MANY));
    let flat = many.visits <= 2 * few.visits && many.calls <= 2 * few.calls;
    assert!(flat, "{name}: {PAIRS} pairs on 2 streams {few:?}, on {MANY} {many:?}");
}

#[test]
fn a_pair_on_each_of_many_streams_costs_no_more_than_on_two() {
    for config in configs() {
        is_flat("own memory", |streams| {
            let scene = Scene::new(arena, streams, config.clone());
            let live: Vec<Block> = scene.streams.iter().map(|s| scene.alloc(MIB, s)).collect();
            for (block, stream) in live.into_iter().zip(&scene.streams) {
                scene.core.deallocate(block, stream).unwrap();
            }
            let cost = scene.cost(|i| scene.pair(MIB, &scene.streams[i % streams], Duration::ZERO));
            scene.end();
            cost
        });
    }
}

#[test]
fn one_block_that_goes_round_many_streams_costs_no_more_than_between_two() {
    for busy in [Duration::ZERO, Duration::from_millis(1)] {
        for config in configs() {
            let config = config.with_ceiling(2 * MIB);
            is_flat("one block on an arena", |streams| {
                let scene = Scene::new(arena, streams, config.clone());
                scene.streams.iter().for_each(|stream| scene.pair(2 * MIB, stream, Duration::ZERO));
                let cost = scene.cost(|i| scene.pair(2 * MIB, &scene.streams[i % streams], busy));
                scene.end();
                cost
            });
            is_flat("one block on chunks", |streams| {
                let config = config.clone().with_growth(Growth::Exact);
                let scene = Scene::new(chunks, streams, config);
                scene.streams.iter().for_each(|stream| scene.pair(2 * MIB, stream, Duration::ZERO));
                let cost = scene.cost(|i| scene.pair(2 * MIB, &scene.streams[i % streams], busy));
                scene.end();
                cost
            });
        }
    }
}

#[test]
fn two_of_many_live_streams_hand_a_block_over_as_cheaply_as_two_alone() {
    for config in configs() {
        is_flat("beside others' memory", |streams| {
            let scene = Scene::new(arena, streams, config.clone());
            let live: Vec<Block> = scene.streams.iter().map(|s| scene.alloc(MIB, s)).collect();
            for (block, stream) in live.into_iter().zip(&scene.streams) {
                scene.core.deallocate(block, stream).unwrap();
            }
            let two = [&scene.streams[0], &scene.streams[streams - 1]];
            two.iter().for_each(|stream| scene.pair(8 * MIB, stream, Duration::from_millis(1)));
            let cost = scene.cost(|i| scene.pair(8 * MIB, two[i % 2], Duration::from_millis(1)));
            scene.end();
            cost
        });
    }
}

#[test]
fn streams_that_come_and_go_beside_many_cost_no_more_than_beside_two() {
    is_flat("short streams", |streams| {
        let scene = Scene::new(arena, streams, PoolConfig::default());
        scene.streams.iter().for_each(|stream| scene.pair(MIB, stream, Duration::ZERO));
        let cost = scene.cost(|_| {
            let stream = Stream::new(scene.device.clone()).unwrap();
            scene.pair(4 * MIB, &stream, Duration::ZERO);
        });
        scene.end();
        cost
    });
}

/// Where every other stream has what a request needs, it looks at so many of them and no more.
#[test]
fn a_request_that_many_streams_could_serve_looks_at_a_few() {
    let scene = Scene::new(arena, MANY, PoolConfig::default());
    let live: Vec<Block> = scene.streams.iter().map(|s| scene.alloc(2 * MIB, s)).collect();
    for (block, stream) in live.into_iter().zip(&scene.streams) {
        scene.core.deallocate(block, stream).unwrap();
    }
    let newcomer = Stream::new(scene.device.clone()).unwrap();
    let mut taken = Vec::new();
    let cost = scene.cost(|_| taken.push(scene.alloc(2 * MIB, &newcomer)));
    assert!(cost.visits < 300 * PAIRS as u64, "{cost:?}");
    assert!(cost.calls < 24 * PAIRS as u64, "{cost:?}");
    taken.into_iter().for_each(|block| scene.core.deallocate(block, &newcomer).unwrap());
    drop(newcomer);
    scene.end();
}

/// Lanes, markers and events do not pile up while a pool lives, whatever comes and goes.
#[test]
fn nothing_of_streams_that_ended_stays() {
    let scene = Scene::new(arena, 2, PoolConfig::default().with_batch(Batch::STRICT));
    for i in 0..3000 {
        let stream = Stream::new(scene.device.clone()).unwrap();
        scene.pair(MIB + 256 * (i % 64), &stream, Duration::ZERO);
        scene.pair(MIB, &scene.streams[0], Duration::ZERO);
    }
    let state = scene.core.streams.lock();
    let lanes = state.lanes.table.count();
    drop(state);
    assert!(lanes < 100, "{lanes} lanes are known, of two streams that live");
    assert!(scene.device.leaks().events < 200, "{:?}", scene.device.leaks());
    scene.end();
}
