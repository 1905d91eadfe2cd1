//! Memory: physical bytes, the addresses they are seen at, and how much of it there is.

mod host;
mod physical;
mod residency;
mod space;

use std::collections::{BTreeMap, HashMap};

use vmem_core::DriverCode;

pub(crate) use host::HostBuffer;
pub(crate) use physical::{Physical, PhysicalId, Physicals, Store};
pub(crate) use residency::Residency;
pub(crate) use space::{Addresses, Piece, Region, RegionKind, Space};

use crate::checker::Shadow;
use crate::handles::Handles;
use crate::violation::{Refusal, ViolationKind};
use crate::{Bytes, Checker, CostTable, SimConfig};

/// The unit of plain allocations, in bytes (CUDA C++ Programming Guide, "Size and Alignment
/// Requirement": addresses are aligned to at least 256).
pub(crate) const PLAIN_UNIT: u64 = 256;

/// A device's memory.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) physicals: Physicals,
    pub(crate) space: Space,
    /// Handles of physical memory.
    pub(crate) handles: Handles<PhysicalId>,
    /// Reserved address ranges: base and size.
    pub(crate) ranges: BTreeMap<u64, u64>,
    /// Where both of the next hand out addresses.
    pub(crate) addresses: std::ops::Range<u64>,
    pub(crate) plain_addresses: Addresses,
    pub(crate) range_addresses: Addresses,
    pub(crate) capacity: u64,
    pub(crate) used: u64,
    pub(crate) peak: u64,
    /// Bytes of the host's memory in handles, and how many there may be.
    pub(crate) host_used: u64,
    pub(crate) host_capacity: u64,
    /// Managed page groups on the device, least recently used first.
    recently_used: BTreeMap<u64, (PhysicalId, usize)>,
    uses: u64,
    /// Managed bytes on the device, which can be moved to the host.
    resident: u64,
    pub(crate) migrated: u64,
    /// What was last freed at an address, for reports; kept only while the checker runs.
    graves: BTreeMap<u64, Grave>,
    keeps_graves: bool,
    bytes: Bytes,
}

/// What was once at an address.
#[derive(Debug)]
struct Grave {
    size: u64,
    /// The numbers of the calls that made and freed it.
    since: u64,
    call: u64,
}

/// The size of the address space that plain memory, and reservations, each have.
const SPACE: u64 = 1 << 47;

impl Memory {
    pub(crate) fn new(config: &SimConfig, serial: u32) -> Self {
        // Addresses of different devices, and of the host, never coincide.
        let plain = (1 << 48) + u64::from(serial % (1 << 14)) * 2 * SPACE;
        let ranges = plain + SPACE;
        Self {
            physicals: Physicals::default(),
            space: Space::default(),
            handles: Handles::new("memory handle", serial, 3),
            ranges: BTreeMap::new(),
            addresses: plain..ranges + SPACE,
            plain_addresses: Addresses::new(plain, plain + SPACE),
            range_addresses: Addresses::new(ranges, ranges + SPACE),
            capacity: config.capacity,
            used: 0,
            peak: 0,
            host_used: 0,
            host_capacity: config.host_capacity,
            recently_used: BTreeMap::new(),
            uses: 0,
            resident: 0,
            migrated: 0,
            graves: BTreeMap::new(),
            keeps_graves: config.checker == Checker::On,
            bytes: config.bytes,
        }
    }

    /// Takes `bytes` of the device's memory, moving managed pages out of the way. Returns the time
    /// that moving takes.
    pub(crate) fn take(&mut self, bytes: u64, costs: &CostTable) -> Result<u64, Refusal> {
        let time = self.make_room(bytes, costs).ok_or_else(|| {
            let (used, capacity) = (self.used, self.capacity);
            let detail = format!("{bytes} B asked for, {used} B of {capacity} B in use");
            Refusal::cannot(DriverCode::OUT_OF_MEMORY, detail)
        })?;
        self.count(bytes);
        Ok(time)
    }

    /// Takes `bytes` of the host's memory for a handle.
    pub(crate) fn take_of_host(&mut self, bytes: u64) -> Result<(), Refusal> {
        let (used, capacity) = (self.host_used, self.host_capacity);
        if bytes > capacity.saturating_sub(used) {
            let detail = format!("{bytes} B asked for, {used} B of the host's {capacity} B in use");
            return Err(Refusal::cannot(DriverCode::OUT_OF_MEMORY, detail));
        }
        self.host_used += bytes;
        Ok(())
    }

    pub(crate) fn give_back(&mut self, bytes: u64) {
        self.used -= bytes;
    }

    fn count(&mut self, bytes: u64) {
        self.used += bytes;
        self.peak = self.peak.max(self.used);
    }

    /// A new piece of device memory with one holder. Its bytes must have been taken.
    pub(crate) fn new_physical(
        &mut self,
        size: u64,
        (by, born): (&'static str, u64),
    ) -> PhysicalId {
        let store = match self.bytes {
            Bytes::Stored => Store::Sparse(HashMap::new()),
            Bytes::None => Store::None,
        };
        self.insert_physical(size, store, (by, born))
    }

    /// Physical memory that the host provides, with its address; `None` if it has not enough.
    pub(crate) fn new_host_physical(
        &mut self,
        size: u64,
        made: (&'static str, u64),
    ) -> Option<(PhysicalId, u64)> {
        match self.bytes {
            Bytes::Stored => {
                let buffer = HostBuffer::new(size)?;
                let address = buffer.address();
                Some((self.insert_physical(size, Store::Host(buffer), made), address))
            }
            Bytes::None => {
                let address = self.plain_addresses.take(plain_size(size)?)?;
                Some((self.insert_physical(size, Store::None, made), address))
            }
        }
    }

    /// Gives back the address of what was allocated with `bytes` bytes.
    pub(crate) fn give_back_address(&mut self, address: u64, bytes: u64) {
        if let Some(size) = plain_size(bytes) {
            self.plain_addresses.give_back(address, size);
        }
    }

    fn insert_physical(
        &mut self,
        size: u64,
        store: Store,
        made: (&'static str, u64),
    ) -> PhysicalId {
        self.physicals.insert(Physical {
            size,
            store,
            shadow: Shadow::default(),
            residency: None,
            on_host: false,
            holders: 1,
            made_by: made.0,
            born: made.1,
        })
    }

    /// Takes a region out of the address space; `call` is the number of the call that freed it.
    pub(crate) fn bury(&mut self, base: u64, call: u64) -> Option<Region> {
        let region = self.space.remove(base)?;
        if self.keeps_graves {
            let (size, since) = (region.size, region.since);
            self.graves.insert(base, Grave { size, since, call });
        }
        Some(region)
    }

    /// What was freed or unmapped at an address, in words.
    pub(crate) fn epitaph(&self, at: u64) -> Option<String> {
        let (&base, grave) = self.graves.range(..=at).next_back()?;
        (at - base < grave.size).then(|| {
            let Grave { size, since, call } = grave;
            format!("{size} B at {base:#x} from call {since}, freed or unmapped by call {call}")
        })
    }

    /// Where an access goes.
    pub(crate) fn resolve(&self, at: u64, bytes: u64) -> Result<Vec<Piece>, Refusal> {
        self.space.resolve(at, bytes).map_err(|mut refusal| {
            if let Some(past) = self.epitaph(at) {
                refusal.detail = format!("{}; there was: {past}", refusal.detail);
            }
            refusal
        })
    }

    /// The allocation of `kind` that starts at `base`.
    pub(crate) fn allocation(&self, base: u64, kind: RegionKind) -> Result<&Region, Refusal> {
        let found = self.space.get(base).filter(|region| region.kind == kind);
        found.ok_or_else(|| {
            let why = match self.space.holding(base) {
                Some((start, region)) if start == base => {
                    format!("{base:#x} is of another kind: {:?}", region.kind)
                }
                Some((start, _)) => format!("{base:#x} lies inside the allocation at {start:#x}"),
                None => match self.epitaph(base) {
                    Some(past) => format!("{base:#x} is not allocated; there was: {past}"),
                    None => format!("{base:#x} is not allocated and never was"),
                },
            };
            let code = DriverCode::INVALID_VALUE;
            Refusal::misuse(ViolationKind::BadFree, code, why)
        })
    }
}

/// What a plain allocation of `bytes` takes; `None` if that passes 64 bits.
pub(crate) fn plain_size(bytes: u64) -> Option<u64> {
    bytes.checked_next_multiple_of(PLAIN_UNIT)
}
