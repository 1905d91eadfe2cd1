//! Stream-ordered pools.

use std::ffi::c_int;

use vmem_core::{Device, RawStream};

use super::exports;
use super::memory::pointer;
use crate::refusal::{Answer, Refusal};
use crate::session::{AllocationKind, Here, MemoryPool, POOL, Session, unique};
use crate::types::{ALLOCATION_PINNED, In, Out, PoolProperties};

exports! {
    fn cuMemPoolCreate(driver, pool: Out<u64>, properties: In<PoolProperties>) {
        let slot = pool.slot()?;
        let properties = properties.get()?;
        if properties.kind != ALLOCATION_PINNED
            || properties.handle_types != 0
            || !properties.win32.is_null()
            || properties.reserved != [0; 64]
        {
            let why = "the type must be pinned (1), all else zero, reserved bytes included";
            return Err(Refusal::value(why));
        }
        let session = driver.session()?;
        let ordinal = session.ordinal(properties.location.device()?)?;
        if session.gpus[ordinal].sim.async_pool().is_none() {
            return Err(absent());
        }
        let handle = unique(POOL);
        session.pools.insert(handle, MemoryPool { ordinal, threshold: 0 });
        slot.put(handle);
        Ok(())
    }

    /// The last pool of a device to go gives back what is held unused.
    fn cuMemPoolDestroy(driver, pool: u64) {
        let session = driver.session()?;
        let MemoryPool { ordinal, .. } = find(session, pool)?;
        session.pools.remove(&pool);
        session.apply_threshold(ordinal)?;
        let last = session.pools.values().all(|other| other.ordinal != ordinal);
        match session.gpus[ordinal].sim.async_pool().filter(|_| last) {
            Some(part) => Ok(part.trim_to(0)?),
            None => Ok(()),
        }
    }

    /// Knows the release threshold (4); the rules of reuse (1 to 3) are taken and change nothing.
    fn cuMemPoolSetAttribute(driver, pool: u64, attribute: c_int, value: In<u64>) {
        let session = driver.session()?;
        let found = find(session, pool)?;
        match attribute {
            1..=3 => Ok(()),
            4 => {
                let threshold = value.get()?;
                session.pools.insert(pool, MemoryPool { threshold, ..found });
                session.apply_threshold(found.ordinal)
            }
            other => Err(Refusal::unsupported(format!("pool attribute {other}"))),
        }
    }

    /// Knows the release threshold (4), the bytes reserved (5), those of all pools of the device
    /// together, and the bytes used (7).
    fn cuMemPoolGetAttribute(driver, pool: u64, attribute: c_int, value: Out<u64>) {
        let slot = value.slot()?;
        let session = driver.session()?;
        let found = find(session, pool)?;
        let sim = &session.gpus[found.ordinal].sim;
        slot.put(match attribute {
            4 => found.threshold,
            5 => sim.async_pool().ok_or_else(absent)?.reserved()?,
            7 => {
                let kind = AllocationKind::StreamOrdered(pool);
                let own = session.allocations.values().filter(|used| used.kind == kind);
                own.map(|used| used.bytes).sum()
            }
            other => return Err(Refusal::unsupported(format!("pool attribute {other}"))),
        });
        Ok(())
    }

    fn cuMemPoolTrimTo(driver, pool: u64, keep: usize) {
        let session = driver.session()?;
        let found = find(session, pool)?;
        let sim = &session.gpus[found.ordinal].sim;
        Ok(sim.async_pool().ok_or_else(absent)?.trim_to(keep as u64)?)
    }

    fn cuMemAllocFromPoolAsync(
        driver,
        address: Out<u64>,
        bytes: usize,
        pool: u64,
        stream: u64,
    ) {
        let session = driver.session()?;
        let here = session.maker(stream)?;
        if find(session, pool)?.ordinal != here.ordinal {
            return Err(Refusal::value("the pool is of another device than the stream"));
        }
        allocate(session, &here, &address, bytes, pool, stream)
    }

    /// Of the device's own pool.
    fn cuMemAllocAsync(driver, address: Out<u64>, bytes: usize, stream: u64) {
        let session = driver.session()?;
        let here = session.maker(stream)?;
        allocate(session, &here, &address, bytes, DEFAULT, stream)
    }

    fn cuMemFreeAsync(driver, address: u64, stream: u64) {
        let session = driver.session()?;
        session.want_context()?;
        let (found, sim) = session.owner(address)?;
        let part = sim
            .async_pool()
            .filter(|_| matches!(found.kind, AllocationKind::StreamOrdered(_)))
            .ok_or_else(|| Refusal::value("not memory of a stream-ordered pool"))?;
        session.unsafe_call(found.ordinal)?;
        // SAFETY: contract, devices/handles and devices/pending-work: a live allocation of this
        // kind; the simulation refuses a dead handle.
        unsafe { part.free(pointer(address)?, RawStream(stream)) }?;
        session.allocations.remove(&address);
        Ok(())
    }
}

/// The handle that stands for a device's own pool.
const DEFAULT: u64 = 0;

fn allocate(
    session: &mut Session,
    here: &Here,
    address: &Out<u64>,
    bytes: usize,
    pool: u64,
    stream: u64,
) -> Answer {
    let slot = address.slot()?;
    let part = here.sim.async_pool().ok_or_else(absent)?;
    session.unsafe_call(here.ordinal)?;
    // SAFETY: contract, devices/handles: the simulation refuses a dead handle.
    let ptr = unsafe { part.allocate(bytes as u64, RawStream(stream)) }?.get();
    session.own(here, ptr, AllocationKind::StreamOrdered(pool), bytes);
    slot.put(ptr);
    Ok(())
}

impl Session {
    /// The device's reserve keeps what the most generous of its pools keeps.
    pub(crate) fn apply_threshold(&self, ordinal: usize) -> Answer {
        let own = self.pools.values().filter(|pool| pool.ordinal == ordinal);
        let most = own.map(|pool| pool.threshold).max().unwrap_or(0);
        match self.gpus[ordinal].sim.async_pool() {
            Some(part) => Ok(part.set_release_threshold(most)?),
            None => Ok(()),
        }
    }
}

fn find(session: &Session, pool: u64) -> Answer<MemoryPool> {
    let found = session.pools.get(&pool).copied();
    found.ok_or_else(|| Refusal::value(format!("{pool:#x} is no memory pool")))
}

fn absent() -> Refusal {
    Refusal::unsupported("the device has no stream-ordered pools")
}
