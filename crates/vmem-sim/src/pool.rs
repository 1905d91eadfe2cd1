//! The driver's stream-ordered pool.
//!
//! A simple model of it: freed blocks are kept whole, and one at least as large as, and at most
//! twice, what is asked for is used again. A block is used again by work that is ordered after its
//! free: on the same stream, behind an event, or because the free has run ("Stream Ordered Memory
//! Allocator", CUDA C++ Programming Guide: physical page caching and reuse policies).

use vmem_core::{DriverCode, RawStream};

use crate::checker::{Clock, LaneId, Point};
use crate::memory::{Region, RegionKind, plain_size};
use crate::state::State;
use crate::stream::Submission;
use crate::violation::Refusal;

#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// Unused bytes kept over a wait; zero at first, as the driver's default is.
    pub(crate) threshold: u64,
    /// Bytes held from the device.
    pub(crate) reserved: u64,
    idle: Vec<Idle>,
}

/// A freed block.
#[derive(Debug)]
struct Idle {
    address: u64,
    physical: usize,
    size: u64,
    /// The work that freed it, and what that is ordered after.
    freed: Point,
    clock: Clock,
    ready_ns: u64,
    /// The last work of each lane on it.
    uses: Vec<Point>,
}

impl State {
    pub(crate) fn pool_allocate(&mut self, bytes: u64, stream: RawStream) -> Result<u64, Refusal> {
        self.check_size(bytes)?;
        let lane = self.lanes.resolve(stream)?;
        let size = plain_size(bytes).ok_or_else(too_large)?;
        if self.lanes.get(lane).capture.is_some() {
            return self.allocate_in_capture(lane, size);
        }
        self.check_legacy_capture(lane)?;
        self.refuse_unsafe_query()?;
        let (address, physical) = match self.reuse(lane, size) {
            Some(block) => block,
            None => self.grow_pool(size)?,
        };
        let region = Region {
            kind: RegionKind::StreamOrdered,
            size: bytes,
            physical,
            accessible: true,
            uses: Vec::new(),
            since: self.call_number,
        };
        self.memory.space.insert(address, region);
        // Whoever uses the memory must be ordered after this point.
        let mut mark = Submission::mark("cuMemAllocFromPoolAsync");
        mark.writes.push((address, bytes));
        self.submit(lane, mark)?;
        Ok(address)
    }

    pub(crate) fn pool_free(&mut self, address: u64, stream: RawStream) -> Result<(), Refusal> {
        let lane = self.lanes.resolve(stream)?;
        if self.free_in_capture(lane, address)? {
            return Ok(());
        }
        self.check_legacy_capture(lane)?;
        self.refuse_unsafe_query()?;
        let kind = RegionKind::StreamOrdered;
        let bytes = self.memory.allocation(address, kind)?.size;
        // Every access must be ordered before this point.
        let mut mark = Submission::mark("cuMemFreeAsync");
        mark.writes.push((address, bytes));
        let freed = self.submit(lane, mark)?;
        let Some(region) = self.memory.bury(address, self.call_number) else {
            return Ok(());
        };
        let lane = self.lanes.get(lane);
        self.pool.idle.push(Idle {
            address,
            physical: region.physical,
            size: self.memory.physicals.get(region.physical).size,
            freed,
            clock: lane.clock.clone(),
            ready_ns: lane.ready_ns,
            uses: region.uses,
        });
        Ok(())
    }

    /// A freed block for work on `lane`; the smallest that fits, of those its order allows.
    fn reuse(&mut self, lane: LaneId, size: u64) -> Option<(u64, usize)> {
        let fits = |idle: &Idle| (size..=size.saturating_mul(2)).contains(&idle.size);
        let ordered = |idle: &Idle| {
            idle.freed.lane == lane
                || self.lanes.is_done(idle.freed)
                || self.lanes.get(lane).clock.covers(idle.freed)
        };
        let candidates = self.pool.idle.iter().enumerate();
        let (index, _) = candidates
            .filter(|(_, idle)| fits(idle) && ordered(idle))
            .min_by_key(|(_, idle)| idle.size)?;
        let idle = self.pool.idle.swap_remove(index);
        if idle.freed.lane != lane {
            self.queue_wait(lane, idle.freed, &idle.clock, idle.ready_ns);
        }
        Some((idle.address, idle.physical))
    }

    fn grow_pool(&mut self, size: u64) -> Result<(u64, usize), Refusal> {
        self.host_ns += self.config.costs.async_growth_ns;
        self.take_memory(size)?;
        let Some(address) = self.memory.plain_addresses.take(size) else {
            self.memory.give_back(size);
            return Err(too_large());
        };
        let made = ("cuMemAllocFromPoolAsync", self.call_number);
        let physical = self.memory.new_physical(size, made);
        self.pool.reserved += size;
        Ok((address, physical))
    }

    /// Returns freed blocks whose work has run to the device, until at most `keep` unused bytes
    /// are held. Returns whether it returned any.
    pub(crate) fn release_idle(&mut self, keep: u64) -> bool {
        let mut unused: u64 = self.pool.idle.iter().map(|idle| idle.size).sum();
        let before = self.pool.reserved;
        let mut index = 0;
        while unused > keep && index < self.pool.idle.len() {
            let idle = &self.pool.idle[index];
            let mut uses = idle.uses.iter().chain(std::iter::once(&idle.freed));
            if !uses.all(|&point| self.lanes.is_done(point)) {
                index += 1;
                continue;
            }
            let idle = self.pool.idle.swap_remove(index);
            self.memory.physicals.drop_holder(idle.physical);
            self.memory.plain_addresses.give_back(idle.address, idle.size);
            self.memory.give_back(idle.size);
            self.pool.reserved -= idle.size;
            unused -= idle.size;
        }
        self.pool.reserved < before
    }

    /// Waits for all frees and returns all freed blocks to the device, as the driver does before it
    /// refuses an allocation. Returns whether there were any.
    pub(crate) fn reclaim_idle(&mut self) -> bool {
        let frees = self.pool.idle.iter().map(|idle| (idle.freed, idle.ready_ns));
        for (freed, ready_ns) in frees.collect::<Vec<_>>() {
            self.force(freed);
            self.host_ns = self.host_ns.max(ready_ns);
        }
        self.release_idle(0)
    }

    /// A wait of the host returns what the pool holds above its threshold.
    pub(crate) fn trim_after_wait(&mut self) {
        if !self.pool.idle.is_empty() {
            self.release_idle(self.pool.threshold);
        }
    }
}

fn too_large() -> Refusal {
    Refusal::cannot(DriverCode::OUT_OF_MEMORY, "the size passes the address space")
}
