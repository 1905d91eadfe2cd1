//! Where the pages of managed memory are, and what moving them costs.
//!
//! Pages move in groups of 2 MiB, the unit in which the driver migrates at most (CUDA C++
//! Programming Guide, "Unified Memory Programming"). A group is on the device, on the host, on both
//! (mostly read), or nowhere until first touched. When the device is full, the groups least recently
//! used make room.

use vmem_core::{Advice, Location};

use super::Memory;
use super::physical::PhysicalId;
use crate::CostTable;
use crate::checker::Access;

const GROUP: u64 = 2 << 20;

/// Where one managed allocation's page groups are.
#[derive(Debug)]
pub(crate) struct Residency {
    groups: Vec<Group>,
}

#[derive(Debug, Clone, Default)]
struct Group {
    /// When the device last used its copy, if it has one.
    on_device: Option<u64>,
    on_host: bool,
    read_mostly: bool,
    /// Mapped for the device wherever it is, so that the device need not fault.
    accessed_by_device: bool,
    preferred: Option<Location>,
    prefetched: Option<Location>,
}

impl Residency {
    pub(crate) fn new(bytes: u64) -> Self {
        let groups = usize::try_from(bytes.div_ceil(GROUP)).expect("groups are countable");
        Self { groups: vec![Group::default(); groups] }
    }

    /// Where all groups of a range were last prefetched to, if to one place.
    pub(crate) fn last_prefetch(&self, offset: u64, bytes: u64) -> Option<Location> {
        let mut places = group_range(offset, bytes).map(|index| self.groups[index].prefetched);
        let first = places.next()??;
        places.all(|place| place == Some(first)).then_some(first)
    }

    pub(crate) fn advise(&mut self, offset: u64, bytes: u64, advice: Advice) {
        for group in &mut self.groups[group_range(offset, bytes)] {
            match advice {
                Advice::ReadMostly => group.read_mostly = true,
                Advice::UnsetReadMostly => group.read_mostly = false,
                Advice::PreferredLocation(place) => group.preferred = Some(place),
                Advice::UnsetPreferredLocation => group.preferred = None,
                Advice::AccessedBy(Location::Device) => group.accessed_by_device = true,
                Advice::UnsetAccessedBy(Location::Device) => group.accessed_by_device = false,
                // The host always reaches managed memory by faulting; other advice changes no cost.
                _ => {}
            }
        }
    }

    fn set_prefetched(&mut self, offset: u64, bytes: u64, place: Location) {
        for group in &mut self.groups[group_range(offset, bytes)] {
            group.prefetched = Some(place);
        }
    }
}

fn group_range(offset: u64, bytes: u64) -> std::ops::Range<usize> {
    let index = |at: u64| usize::try_from(at).expect("groups are countable");
    index(offset / GROUP)..index((offset + bytes).div_ceil(GROUP))
}

impl Memory {
    /// The device touches a managed range. Returns the time that takes beyond the access itself.
    pub(crate) fn device_touches(
        &mut self,
        id: PhysicalId,
        (offset, bytes): (u64, u64),
        access: Access,
        costs: &CostTable,
    ) -> u64 {
        let mut time = 0;
        for index in group_range(offset, bytes) {
            let size = self.group_bytes(id, index);
            let group = self.group(id, index);
            if group.on_device.is_some() {
                group.on_host &= access == Access::Read;
                self.touch(id, index);
                continue;
            }
            let stays = group.preferred == Some(Location::Host) || group.accessed_by_device;
            let held = group.on_host || group.preferred == Some(Location::Host);
            if stays && held {
                group.on_host = true;
                time += costs.link_ns(size.min(bytes));
                continue;
            }
            time += costs.device_fault_ns;
            match self.bring_to_device(id, index, access, costs) {
                Some(transfer) => time += transfer,
                None => {
                    self.group(id, index).on_host = true;
                    time += costs.link_ns(size.min(bytes));
                }
            }
        }
        time
    }

    /// The host touches a managed range. Returns the time that takes.
    pub(crate) fn host_touches(
        &mut self,
        id: PhysicalId,
        (offset, bytes): (u64, u64),
        access: Access,
        costs: &CostTable,
    ) -> u64 {
        let mut time = 0;
        for index in group_range(offset, bytes) {
            if self.group(id, index).on_device.is_some() {
                if !self.group(id, index).on_host {
                    time += costs.host_fault_ns;
                }
                let keep = access == Access::Read && self.group(id, index).read_mostly;
                time += self.bring_to_host(id, index, keep, costs);
            }
            self.group(id, index).on_host = true;
        }
        time
    }

    /// Moves a range as a prefetch does: without faults, to the device as far as room can be made.
    pub(crate) fn prefetch(
        &mut self,
        id: PhysicalId,
        (offset, bytes): (u64, u64),
        place: Location,
        costs: &CostTable,
    ) -> u64 {
        let mut time = 0;
        for index in group_range(offset, bytes) {
            let on_device = self.group(id, index).on_device.is_some();
            match place {
                Location::Device if on_device => self.touch(id, index),
                Location::Device => {
                    let moved = self.bring_to_device(id, index, Access::Read, costs);
                    time += moved.unwrap_or(0);
                }
                // The host: other places are refused.
                _ => {
                    let keep = self.group(id, index).read_mostly;
                    time += self.bring_to_host(id, index, keep, costs);
                    self.group(id, index).on_host = true;
                }
            }
        }
        self.residency(id).set_prefetched(offset, bytes, place);
        time
    }

    /// Makes room for `bytes` more bytes by moving managed groups to the host. Returns the time
    /// that takes, or `None` if there is not room enough.
    pub(crate) fn make_room(&mut self, bytes: u64, costs: &CostTable) -> Option<u64> {
        if self.capacity - (self.used - self.resident) < bytes {
            return None;
        }
        let mut time = 0;
        while self.capacity - self.used < bytes {
            let (_, &(id, index)) = self.recently_used.first_key_value()?;
            time += self.bring_to_host(id, index, false, costs);
            self.group(id, index).on_host = true;
        }
        Some(time)
    }

    /// Takes a freed managed allocation's groups off the device.
    pub(crate) fn forget_residency(&mut self, residency: &Residency, size: u64) {
        for (index, group) in residency.groups.iter().enumerate() {
            if let Some(last) = group.on_device {
                self.recently_used.remove(&last);
                self.leave(group_bytes(size, index));
            }
        }
    }

    /// Returns the transfer's time, or `None` if no room can be made.
    fn bring_to_device(
        &mut self,
        id: PhysicalId,
        index: usize,
        access: Access,
        costs: &CostTable,
    ) -> Option<u64> {
        let size = self.group_bytes(id, index);
        let mut time = self.make_room(size, costs)?;
        let group = self.group(id, index);
        let copied = group.on_host;
        group.on_host &= group.read_mostly && access == Access::Read;
        if copied {
            self.migrated += size;
            time += costs.link_ns(size);
        }
        self.count(size);
        self.resident += size;
        self.touch(id, index);
        Some(time)
    }

    /// Managed bytes leave the device.
    fn leave(&mut self, bytes: u64) {
        self.used -= bytes;
        self.resident -= bytes;
    }

    fn bring_to_host(
        &mut self,
        id: PhysicalId,
        index: usize,
        keep_on_device: bool,
        costs: &CostTable,
    ) -> u64 {
        let size = self.group_bytes(id, index);
        let group = self.group(id, index);
        let Some(last) = group.on_device else {
            return 0;
        };
        let copied = !group.on_host;
        if !keep_on_device {
            group.on_device = None;
            self.recently_used.remove(&last);
            self.leave(size);
        }
        if !copied {
            return 0;
        }
        self.migrated += size;
        costs.link_ns(size)
    }

    fn touch(&mut self, id: PhysicalId, index: usize) {
        self.uses += 1;
        let now = self.uses;
        if let Some(last) = self.group(id, index).on_device.replace(now) {
            self.recently_used.remove(&last);
        }
        self.recently_used.insert(now, (id, index));
    }

    fn residency(&mut self, id: PhysicalId) -> &mut Residency {
        let residency = self.physicals.get_mut(id).residency.as_deref_mut();
        residency.expect("only managed memory is asked for")
    }

    fn group(&mut self, id: PhysicalId, index: usize) -> &mut Group {
        &mut self.residency(id).groups[index]
    }

    fn group_bytes(&self, id: PhysicalId, index: usize) -> u64 {
        group_bytes(self.physicals.get(id).size, index)
    }
}

/// The size of group `index` of an allocation: the last one may be short.
fn group_bytes(size: u64, index: usize) -> u64 {
    (size - index as u64 * GROUP).min(GROUP)
}
