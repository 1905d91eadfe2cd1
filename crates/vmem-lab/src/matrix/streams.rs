//! Memory that passes between streams while work on it is pending.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};
use vmem_core::{BlockLayout, BoxedError, Device, DeviceMemory, DevicePtr, Request, Stream};
use vmem_testkit::TrackedBlock;
use vmem_trace::Workload;

use super::cell::Outcome;
use super::context::{CheckContext, ROOM};
use super::evidence::Evidence;
use super::workload;

/// How many blocks are handed from one stream to the other.
const HANDED_OVER: u64 = 300;

/// How many blocks are live at most.
const LIVE: usize = 24;

/// How many of the handed over have a stream that is far behind.
const LAGGING: u64 = 16;

/// One stream fills a block and frees it with the work pending, the other takes the memory and
/// fills it at once; every byte that either wrote is compared.
pub(super) fn reuse(context: &CheckContext) -> Result<Outcome, BoxedError> {
    let built = context.build(ROOM)?;
    let (device, resource) = (&context.opened.device, &*built.resource);
    let streams = [Stream::new(device.clone())?, Stream::new(device.clone())?];
    let mut evidence = Evidence::new(device)?;
    let mut lags = [Lag::new(device, &streams[0])?, Lag::new(device, &streams[1])?];
    let mut freed: HashMap<DevicePtr, usize> = HashMap::new();
    let mut live: Vec<(TrackedBlock, usize)> = Vec::new();
    let (mut rng, mut reused) = (SplitMix64::seed_from_u64(context.seed), 0);
    for round in 0..HANDED_OVER {
        let giver = usize::from(rng.next_u64().is_multiple_of(2));
        let size = 1 + rng.next_u64() % (1 << (9 + rng.next_u64() % 13));
        if round.is_multiple_of(HANDED_OVER / LAGGING) {
            lags[giver].fall_behind(&streams[giver])?;
        }
        for side in [giver, 1 - giver] {
            let request = Request::new(BlockLayout::new(size)?, &streams[side]);
            let mut block = TrackedBlock::allocate(resource, &request)?;
            reused += u64::from(freed.remove(&block.ptr()) == Some(1 - side));
            block.write(&streams[side])?;
            if side == giver {
                freed.insert(block.ptr(), side);
                workload::free(block, resource, &streams[side], &mut evidence)?;
            } else {
                live.push((block, side));
            }
        }
        if live.len() > LIVE {
            let at = usize::try_from(rng.next_u64())? % live.len();
            let (block, side) = live.swap_remove(at);
            // A third is freed on the stream that did not allocate it.
            let side = if rng.next_u64().is_multiple_of(3) { 1 - side } else { side };
            freed.insert(block.ptr(), side);
            workload::free(block, resource, &streams[side], &mut evidence)?;
        }
    }
    for (block, side) in live {
        workload::free(block, resource, &streams[side], &mut evidence)?;
    }
    evidence.settle()?;
    for (lag, stream) in lags.into_iter().zip(&streams) {
        lag.end(stream)?;
    }
    let found = format!("{reused} taken over from the other stream; {}", evidence.summary());
    if built.pool.is_some() && reused == 0 {
        return Ok(Outcome::Failed(format!("nothing was reused across streams: {found}")));
    }
    Ok(Outcome::Passed(Some(found)))
}

/// Granules that the pool may hold while it moves them.
const GRANULES: u64 = 32;

/// With every second granule in use, a pool under its ceiling serves blocks larger than any free range,
/// by moving physical memory; neither those nor the blocks beside those ranges lose a byte.
pub(super) fn moves(context: &CheckContext) -> Result<Outcome, BoxedError> {
    let device = &context.opened.device;
    let Some(granule) = device.virtual_memory().map(|memory| memory.granularity()) else {
        return Ok(Outcome::Skipped("the device has no virtual memory".to_owned()));
    };
    let built = context.build(GRANULES * granule)?;
    if !built.description.contains("VirtualArena") {
        return Ok(Outcome::Skipped("this stack moves no memory".to_owned()));
    }
    let resource = &*built.resource;
    let streams = [Stream::new(device.clone())?, Stream::new(device.clone())?];
    let mut evidence = Evidence::new(device)?;
    let allocate = |bytes: u64, side: usize| -> Result<(TrackedBlock, usize), BoxedError> {
        let request = Request::new(BlockLayout::new(bytes)?, &streams[side]);
        let mut block = TrackedBlock::allocate(resource, &request)?;
        block.write(&streams[side])?;
        Ok((block, side))
    };
    for round in 0..4 {
        let mut small = Vec::new();
        for number in 0..GRANULES {
            small.push(allocate(granule, usize::from(number % 4 >= 2))?);
        }
        let mut kept = Vec::new();
        for (number, (block, side)) in small.into_iter().enumerate() {
            if number % 2 == round % 2 {
                workload::free(block, resource, &streams[side], &mut evidence)?;
            } else {
                kept.push((block, side));
            }
        }
        let large = [allocate(GRANULES / 4 * granule, 0)?, allocate(GRANULES / 4 * granule, 1)?];
        for (block, side) in large.into_iter().chain(kept) {
            workload::free(block, resource, &streams[side], &mut evidence)?;
        }
    }
    evidence.settle()?;
    Ok(Outcome::Passed(Some(evidence.summary())))
}

/// Two threads on streams of their own run an overlay each, at once, on one stack.
pub(super) fn two_threads(context: &CheckContext) -> Result<Outcome, BoxedError> {
    let trace = workload::trace(Workload::OverlayCore, 500, context.seed)?;
    let built = context.build(ROOM)?;
    let device = &context.opened.device;
    let run = || -> Result<String, BoxedError> {
        let streams = [Stream::new(device.clone())?];
        let mut evidence = Evidence::new(device)?;
        workload::verified(&trace, &*built.resource, &streams, &mut evidence)?;
        Ok(evidence.summary())
    };
    let outcomes = thread::scope(|scope| {
        let threads = [scope.spawn(run), scope.spawn(run)];
        threads.map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into())))
    });
    let [first, second] = outcomes;
    Ok(Outcome::Passed(Some(format!("{} and {}", first?, second?))))
}

/// Work that keeps a stream behind the host.
#[derive(Debug)]
struct Lag {
    memory: DeviceMemory,
    scratch: TrackedBlock,
}

impl Lag {
    /// What is filled at a time, in bytes.
    const BYTES: u64 = 16 << 20;

    fn new(device: &Arc<dyn Device>, stream: &Stream) -> Result<Self, BoxedError> {
        let memory = DeviceMemory::new(device.clone());
        let request = Request::new(BlockLayout::new(Self::BYTES)?, stream);
        let scratch = TrackedBlock::allocate(&memory, &request)?;
        Ok(Self { memory, scratch })
    }

    fn fall_behind(&mut self, stream: &Stream) -> Result<(), BoxedError> {
        (0..4).try_for_each(|_| self.scratch.write(stream))?;
        Ok(())
    }

    fn end(self, stream: &Stream) -> Result<(), BoxedError> {
        Ok(self.scratch.free(&self.memory, stream)?)
    }
}
