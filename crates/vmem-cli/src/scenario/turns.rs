//! Two models of which one fits take turns: one sleeps while the other works.

use std::sync::Arc;
use std::time::Duration;

use vmem_adaptors::MayRest;
use vmem_core::{BoxedError, Contents, DeviceBuffer, Label, MemoryResource, Stream, label};
use vmem_pool::{Pending, PoolHandle};
use vmem_sim::Kernel;

use crate::Row;
use crate::measure::{Job, Place};
use crate::stack::BuiltStack;
use crate::tier::Tier;

/// Each model has so many buffers, of 512 MiB.
const BUFFERS: u64 = 20;
const SIZE: u64 = 512 << 20;

/// How often the other one goes on.
const TURNS: usize = 8;

const NAMES: [&str; 2] = ["first", "second"];

/// The turns, beside the same work with room for both.
pub(super) fn job(tier: Tier, place: Place) -> Job {
    let each = BUFFERS * SIZE;
    let blank = Row {
        allocations: 2 * BUFFERS,
        peak_live_bytes: 2 * each,
        ..place.blank("turns", tier, each / 5 * 6)
    };
    Job::new(blank, move |row| {
        let room = take_turns(tier, &place, 3 * each, false)?;
        let turns = take_turns(tier, &place, row.capacity_bytes, true)?;
        let link = Duration::from_secs_f64(turns.moved as f64 / 52e9);
        let over = |time: Duration| turns.time.as_secs_f64() / time.as_secs_f64();
        Ok(Row {
            stack: Some(turns.stack.clone()),
            passed: true,
            migrated_bytes: Some(turns.moved),
            virtual_ms: Some(turns.time.as_secs_f64() * 1e3),
            slowdown: Some(over(room.time)),
            over_link: Some(over(room.time + link)),
            ..row
        })
    })
}

struct Outcome {
    stack: String,
    time: Duration,
    moved: u64,
}

fn take_turns(
    tier: Tier,
    place: &Place,
    capacity: u64,
    sleeps: bool,
) -> Result<Outcome, BoxedError> {
    let built = tier.build_on(&place.target, &place.request(capacity))?;
    let device = built.opened.simulated()?.clone();
    let pool = built.pool.clone().ok_or("the tier has no pool")?;
    let stream = Stream::new(device.clone())?;
    if sleeps {
        pool.fill_host_reserve(2 * BUFFERS * SIZE)?;
    }
    let mut models = Vec::new();
    for name in NAMES {
        if sleeps && let Some(before) = models.len().checked_sub(1) {
            sleep(&pool, NAMES[before])?;
        }
        models.push(model(&built, name, &stream)?);
    }
    let (began, mut moved) = (device.virtual_time(), 0);
    for turn in 0..TURNS {
        let (works, rests) = (turn % 2, 1 - turn % 2);
        if sleeps {
            moved += sleep(&pool, NAMES[rests])?;
            moved += wake(&pool, NAMES[works])?;
        }
        for buffer in &models[works] {
            let ptr = buffer.ptr().ok_or("a buffer has no memory")?;
            let kernel = Kernel::new("work").reads(ptr, buffer.len());
            #[expect(unsafe_code, reason = "nothing can check what a kernel touches")]
            // SAFETY: contract, devices/handles and devices/ranges: a live stream and live, woken memory.
            unsafe { device.launch(&stream, kernel) }?;
        }
        stream.synchronize()?;
    }
    let time = device.virtual_time().saturating_sub(began);
    Ok(Outcome { stack: built.description.clone(), time, moved })
}

type Model = Vec<DeviceBuffer<MayRest<Arc<dyn MemoryResource>>>>;

fn model(built: &BuiltStack, name: &str, stream: &Stream) -> Result<Model, BoxedError> {
    let _label = label(name);
    let memory = MayRest::new(built.resource.clone());
    let make = |_| DeviceBuffer::new(memory.clone(), SIZE, stream);
    Ok((0..BUFFERS).map(make).collect::<Result<_, _>>()?)
}

#[expect(unsafe_code, reason = "nothing can check what is pending")]
fn sleep(pool: &PoolHandle, name: &str) -> Result<u64, BoxedError> {
    // SAFETY: nothing is queued on the blocks until they are woken.
    let moved = unsafe { pool.sleep(Some(Label::intern(name)), Contents::Kept, Pending::Wait) }?;
    Ok(moved.device)
}

#[expect(unsafe_code, reason = "nothing can check what is pending")]
fn wake(pool: &PoolHandle, name: &str) -> Result<u64, BoxedError> {
    // SAFETY: as in `sleep`.
    let moved = unsafe { pool.wake(Some(Label::intern(name)), Pending::Wait) }?;
    Ok(moved.device)
}
