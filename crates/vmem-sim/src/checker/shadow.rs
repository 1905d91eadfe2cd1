//! What last touched each byte of physical memory.
//!
//! Two accesses conflict if at least one of them writes and neither is ordered before the other.
//! Queued work is checked when it is queued: its order is settled by then, whatever the schedule
//! later does. It is enough to remember the last write and the reads since (Flanagan and Freund,
//! "FastTrack: efficient and precise dynamic race detection", PLDI 2009): the first conflict on a
//! byte is never missed.

use std::collections::BTreeMap;

use super::clock::Point;

/// Whether an access writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// One access: when, by what, through which address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) point: Point,
    pub(crate) work: &'static str,
    /// The address of the first byte of the whole access.
    pub(crate) at: u64,
}

/// An earlier access that the new one is not ordered after.
#[derive(Debug)]
pub(crate) struct Conflict {
    pub(crate) earlier: Stamp,
    pub(crate) access: Access,
    /// The bytes concerned, within the physical memory.
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// The accesses to one piece of physical memory, by byte range.
#[derive(Debug, Default)]
pub(crate) struct Shadow {
    segments: BTreeMap<u64, Segment>,
}

#[derive(Debug, Clone)]
struct Segment {
    end: u64,
    write: Option<Stamp>,
    /// Reads since the write, none of them ordered before another.
    reads: Vec<Stamp>,
}

impl Shadow {
    /// Notes an access to `start..end` and returns the first conflict. `ordered` says whether an
    /// earlier access is ordered before the new one.
    pub(crate) fn access(
        &mut self,
        (start, end): (u64, u64),
        access: Access,
        stamp: Stamp,
        ordered: impl Fn(Point) -> bool,
    ) -> Option<Conflict> {
        self.split(start);
        self.split(end);
        let conflict = self.find_conflict((start, end), access, &ordered);
        match access {
            Access::Write => self.note_write((start, end), stamp),
            Access::Read => self.note_read((start, end), stamp, ordered),
        }
        conflict
    }

    /// The first earlier access that a new one would conflict with.
    pub(crate) fn find_conflict(
        &self,
        (start, end): (u64, u64),
        access: Access,
        ordered: impl Fn(Point) -> bool,
    ) -> Option<Conflict> {
        let unordered = |stamp: &&Stamp| !ordered(stamp.point);
        self.segments.range(start..end).find_map(|(&from, segment)| {
            let conflict = |earlier: &Stamp, access| Conflict {
                earlier: *earlier,
                access,
                start: from,
                end: segment.end,
            };
            let write = segment.write.as_ref().filter(unordered);
            let read = || match access {
                Access::Write => segment.reads.iter().find(unordered),
                Access::Read => None,
            };
            write
                .map(|stamp| conflict(stamp, Access::Write))
                .or_else(|| read().map(|stamp| conflict(stamp, Access::Read)))
        })
    }

    fn note_write(&mut self, (start, end): (u64, u64), stamp: Stamp) {
        while let Some((&covered, _)) = self.segments.range(start..end).next() {
            self.segments.remove(&covered);
        }
        let segment = Segment { end, write: Some(stamp), reads: Vec::new() };
        self.segments.insert(start, segment);
    }

    fn note_read(
        &mut self,
        (start, end): (u64, u64),
        stamp: Stamp,
        ordered: impl Fn(Point) -> bool,
    ) {
        let mut gaps = Vec::new();
        let mut reached = start;
        for (&from, segment) in self.segments.range_mut(start..end) {
            if from > reached {
                gaps.push((reached, from));
            }
            reached = segment.end;
            // A write that is ordered after the new read is ordered after these, too.
            segment.reads.retain(|read| !ordered(read.point));
            segment.reads.push(stamp);
        }
        if reached < end {
            gaps.push((reached, end));
        }
        for (from, end) in gaps {
            let segment = Segment { end, write: None, reads: vec![stamp] };
            self.segments.insert(from, segment);
        }
    }

    /// Makes `at` a boundary between segments.
    fn split(&mut self, at: u64) {
        let Some((_, segment)) = self.segments.range_mut(..at).next_back() else {
            return;
        };
        if segment.end > at {
            let upper = segment.clone();
            segment.end = at;
            self.segments.insert(at, upper);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(lane: usize, time: u64) -> Stamp {
        Stamp { point: Point { lane, time }, work: "test", at: 0 }
    }

    /// Only work of lane 0 is ordered before.
    fn lane_0(point: Point) -> bool {
        point.lane == 0
    }

    #[test]
    fn only_unordered_pairs_with_a_write_conflict() {
        use Access::{Read, Write};
        for (earlier, later, lane, conflicts) in [
            (Write, Write, 1, true),
            (Write, Read, 1, true),
            (Read, Write, 1, true),
            (Read, Read, 1, false),
            (Write, Write, 0, false),
        ] {
            let mut shadow = Shadow::default();
            assert!(shadow.access((0, 8), earlier, stamp(lane, 1), lane_0).is_none());
            let found = shadow.access((4, 12), later, stamp(2, 1), lane_0);
            assert_eq!(found.is_some(), conflicts, "{earlier:?} then {later:?}");
            if let Some(found) = found {
                assert_eq!((found.start, found.end), (4, 8));
            }
        }
    }

    #[test]
    fn every_unordered_read_since_the_write_counts() {
        let mut shadow = Shadow::default();
        shadow.access((0, 8), Access::Read, stamp(1, 1), lane_0);
        shadow.access((0, 8), Access::Read, stamp(2, 1), lane_0);
        let only_2 = |point: Point| point.lane == 2;
        let found = shadow.access((0, 8), Access::Write, stamp(3, 1), only_2).unwrap();
        assert_eq!(found.earlier, stamp(1, 1));
    }

    #[test]
    fn overwriting_a_part_leaves_the_rest_as_it_was() {
        let mut shadow = Shadow::default();
        shadow.access((0, 16), Access::Write, stamp(1, 1), lane_0);
        let lane_1 = |point: Point| point.lane == 1;
        assert!(shadow.access((4, 8), Access::Write, stamp(2, 1), lane_1).is_none());
        for (at, lane) in [(0, 1), (4, 2), (8, 1)] {
            let found = shadow.find_conflict((at, at + 1), Access::Read, lane_0).unwrap();
            assert_eq!(found.earlier.point.lane, lane, "byte {at}");
        }
    }

    #[test]
    fn neighbouring_bytes_do_not_conflict() {
        let mut shadow = Shadow::default();
        shadow.access((0, 8), Access::Write, stamp(1, 1), lane_0);
        assert!(shadow.access((8, 16), Access::Write, stamp(2, 1), lane_0).is_none());
        assert!(shadow.access((7, 9), Access::Read, stamp(3, 1), lane_0).is_some());
    }
}
