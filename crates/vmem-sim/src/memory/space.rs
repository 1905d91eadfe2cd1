//! Addresses: what is where, and who used it last.

use std::collections::BTreeMap;
use std::ops::Bound;

use vmem_core::DriverCode;

use super::physical::PhysicalId;
use crate::checker::Point;
use crate::violation::{Refusal, ViolationKind};

/// What an address range is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RegionKind {
    Plain,
    Mapping,
    Managed,
    Pinned,
    StreamOrdered,
}

impl RegionKind {
    /// Whether the host can touch it.
    pub(crate) const fn is_host_memory(self) -> bool {
        matches!(self, Self::Managed | Self::Pinned)
    }
}

/// A live allocation or mapping: the unit that is freed or unmapped.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) kind: RegionKind,
    pub(crate) size: u64,
    pub(crate) physical: PhysicalId,
    pub(crate) accessible: bool,
    /// The last work of each lane through these addresses.
    pub(crate) uses: Vec<Point>,
    /// The number of the call that made it.
    pub(crate) since: u64,
}

impl Region {
    /// Notes work at `point`, and now and then forgets work that is `over`.
    pub(crate) fn note_use(&mut self, point: Point, over: impl Fn(Point) -> bool) {
        match self.uses.iter_mut().find(|p| p.lane == point.lane) {
            Some(last) => last.time = last.time.max(point.time),
            None => {
                if self.uses.len() == self.uses.capacity() {
                    self.uses.retain(|&earlier| !over(earlier));
                }
                self.uses.push(point);
            }
        }
    }
}

/// A part of an access that lies in one region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The address of its first byte.
    pub(crate) at: u64,
    pub(crate) len: u64,
    /// Where its region starts.
    pub(crate) region: u64,
    pub(crate) physical: PhysicalId,
    /// Where it starts in the physical memory.
    pub(crate) offset: u64,
}

/// All regions by address.
#[derive(Debug, Default)]
pub(crate) struct Space {
    /// Where in `regions` what starts at an address is: small values keep the tree quick to change.
    starts: BTreeMap<u64, u32>,
    regions: Vec<Option<Region>>,
    vacant: Vec<u32>,
}

impl Space {
    pub(crate) fn insert(&mut self, base: u64, region: Region) {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.regions.push(None);
            u32::try_from(self.regions.len() - 1).expect("fewer than 2^32 regions")
        });
        self.regions[slot as usize] = Some(region);
        self.starts.insert(base, slot);
    }

    pub(crate) fn get(&self, base: u64) -> Option<&Region> {
        self.starts.get(&base).map(|&slot| self.at(slot))
    }

    pub(crate) fn get_mut(&mut self, base: u64) -> Option<&mut Region> {
        let slot = *self.starts.get(&base)?;
        self.regions[slot as usize].as_mut()
    }

    pub(crate) fn remove(&mut self, base: u64) -> Option<Region> {
        let slot = self.starts.remove(&base)?;
        self.vacant.push(slot);
        self.regions[slot as usize].take()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Region)> {
        self.starts.iter().map(|(&base, &slot)| (base, self.at(slot)))
    }

    /// The regions that start in `start..end`.
    pub(crate) fn starting_in(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, &Region)> {
        let range = (Bound::Included(start), Bound::Excluded(end));
        self.starts.range(range).map(|(&base, &slot)| (base, self.at(slot)))
    }

    /// The region that holds `at`.
    pub(crate) fn holding(&self, at: u64) -> Option<(u64, &Region)> {
        let (&base, &slot) = self.starts.range(..=at).next_back()?;
        let region = self.at(slot);
        (at - base < region.size).then_some((base, region))
    }

    fn at(&self, slot: u32) -> &Region {
        self.regions[slot as usize].as_ref().expect("what has an address is live")
    }

    /// Whether any region shares a byte with `start..end`.
    pub(crate) fn overlaps(&self, start: u64, end: u64) -> bool {
        self.holding(start).is_some() || self.starting_in(start, end).next().is_some()
    }

    /// Where an access goes. An access may run over adjacent mappings, but not from one allocation
    /// into the next (CUDA Driver API, "Memory Management" and "Virtual Memory Management").
    pub(crate) fn resolve(&self, at: u64, bytes: u64) -> Result<Vec<Piece>, Refusal> {
        let bad = |detail: String| {
            let code = DriverCode::INVALID_VALUE;
            Refusal::misuse(ViolationKind::BadAddress, code, detail)
        };
        let Some(end) = at.checked_add(bytes) else {
            return Err(bad(format!("{bytes} B at {at:#x} pass the last address")));
        };
        let mut pieces = Vec::new();
        let mut next = at;
        while next < end {
            let Some((base, region)) = self.holding(next) else {
                let detail = format!(
                    "{next:#x} lies in no live allocation or mapping ({bytes} B at {at:#x})"
                );
                return Err(bad(detail));
            };
            if !region.accessible {
                let detail = format!("the mapping at {base:#x} has no access rights yet");
                return Err(bad(detail));
            }
            let stop = end.min(base + region.size);
            if stop < end && region.kind != RegionKind::Mapping {
                let detail = format!(
                    "{bytes} B at {at:#x} run past the allocation of {} B at {base:#x}",
                    region.size
                );
                return Err(bad(detail));
            }
            pieces.push(Piece {
                at: next,
                len: stop - next,
                region: base,
                physical: region.physical,
                offset: next - base,
            });
            next = stop;
        }
        Ok(pieces)
    }
}

/// Hands out address ranges, aligned; freed ones are reused for the same size, last freed first,
/// so that stale addresses meet new memory.
#[derive(Debug)]
pub(crate) struct Addresses {
    next: u64,
    end: u64,
    /// Freed ranges by size.
    freed: BTreeMap<u64, Vec<u64>>,
}

impl Addresses {
    pub(crate) fn new(start: u64, end: u64) -> Self {
        Self { next: start, end, freed: BTreeMap::new() }
    }

    /// A range of `size` bytes; `None` if none is left.
    pub(crate) fn take(&mut self, size: u64) -> Option<u64> {
        if let Some(address) = self.freed.get_mut(&size).and_then(Vec::pop) {
            return Some(address);
        }
        let address = self.next;
        let next = address.checked_add(size).filter(|&next| next <= self.end)?;
        self.next = next;
        Some(address)
    }

    pub(crate) fn give_back(&mut self, address: u64, size: u64) {
        self.freed.entry(size).or_default().push(address);
    }
}
