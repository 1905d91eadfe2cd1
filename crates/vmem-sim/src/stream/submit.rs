//! Queuing work: where its ranges lie, what it is ordered after, whether that is enough.

use std::fmt::Write as _;

use super::lane::{Barrier, LEGACY};
use super::work::{Queued, Submission};
use crate::Checker;
use crate::checker::{Access, Conflict, LaneId, Point, Stamp};
use crate::memory::{Piece, RegionKind};
use crate::state::State;
use crate::violation::{Refusal, Violation, ViolationKind};

impl State {
    /// Queues work on a lane, or records it if the lane is capturing. Returns its point.
    pub(crate) fn submit(
        &mut self,
        lane: LaneId,
        submission: Submission,
    ) -> Result<Point, Refusal> {
        let resolve = |ranges: &[(u64, u64)]| -> Result<Vec<Piece>, Refusal> {
            match ranges {
                [] => Ok(Vec::new()),
                [(at, bytes)] => self.memory.resolve(*at, *bytes),
                many => {
                    let pieces = many.iter().map(|&(at, n)| self.memory.resolve(at, n));
                    Ok(pieces.collect::<Result<Vec<_>, _>>()?.concat())
                }
            }
        };
        if self.lanes.get(lane).capture.is_some() {
            self.check_valid(lane)?;
            let inside = |&(at, bytes): &(u64, u64)| self.is_graph_memory(lane, at, bytes);
            let ranges = submission.reads.iter().chain(&submission.writes);
            ranges
                .filter(|range| !inside(range))
                .try_for_each(|range| resolve(&[*range]).map(drop))?;
            self.record_node(lane, submission);
            return Ok(self.lanes.tail(lane));
        }
        let reads = resolve(&submission.reads)?;
        let writes = resolve(&submission.writes)?;
        self.check_legacy_capture(lane)?;
        let needs = self.cross_barrier(lane);
        let point = Point { lane, time: self.lanes.get(lane).queued + 1 };
        self.note_accesses(point, submission.name, &reads, &writes);
        let faults = self.fault_in(&reads, &writes);
        let running = match submission.device_ns {
            0 => 0,
            busy => busy + self.touching(&submission, &reads, &writes) + self.config.costs.work_ns,
        };
        let host = self.host_ns;
        let lane_state = self.lanes.get_mut(lane);
        lane_state.ready_ns = lane_state.ready_ns.max(host) + running + faults;
        self.device_ns = self.device_ns.max(lane_state.ready_ns);
        let queued = Queued { name: submission.name, work: submission.work, reads, writes, needs };
        self.enqueue(lane, queued);
        Ok(point)
    }

    /// The points that implicit synchronisation with the legacy default stream adds (CUDA C++
    /// Programming Guide, "Implicit Synchronization"; Driver API, "Stream synchronization
    /// behavior"). Streams created non-blocking take no part in it.
    pub(crate) fn cross_barrier(&mut self, lane: LaneId) -> Vec<Point> {
        let mut needs = Vec::new();
        match self.lanes.get(lane).barrier {
            Barrier::NonBlocking => {}
            Barrier::Blocking => self.order_after(lane, LEGACY, &mut needs),
            Barrier::Legacy => {
                for other in self.lanes.blocking.clone() {
                    self.order_after(lane, other, &mut needs);
                }
            }
        }
        needs
    }

    fn order_after(&mut self, lane: LaneId, other: LaneId, needs: &mut Vec<Point>) {
        let tail = self.lanes.tail(other);
        if self.seen.covers(tail) || self.lanes.get(lane).clock.covers(tail) {
            return;
        }
        let earlier = self.lanes.get(other);
        let (clock, ready_ns) = (earlier.clock.clone(), earlier.ready_ns);
        let later = self.lanes.get_mut(lane);
        later.clock.join(&clock);
        later.clock.raise(tail);
        later.clock.prune(&self.seen);
        later.ready_ns = later.ready_ns.max(ready_ns);
        if !self.lanes.is_done(tail) {
            needs.push(tail);
        }
    }

    /// Notes who touches what, and reports what is not ordered.
    fn note_accesses(
        &mut self,
        point: Point,
        work: &'static str,
        reads: &[Piece],
        writes: &[Piece],
    ) {
        for (pieces, access) in [(reads, Access::Read), (writes, Access::Write)] {
            for piece in pieces {
                if let Some(region) = self.memory.space.get_mut(piece.region) {
                    region.note_use(point, |earlier| self.seen.covers(earlier));
                }
                if self.config.checker == Checker::On {
                    let at = piece.at;
                    self.check_access(piece, access, Stamp { point, work, at });
                }
            }
        }
        if self.config.checker == Checker::On {
            self.check_aliases(work, reads, writes);
        }
    }

    fn check_access(&mut self, piece: &Piece, access: Access, stamp: Stamp) {
        let (lane, seen) = (stamp.point.lane, &self.seen);
        let clock = &self.lanes.get(lane).clock;
        let ordered =
            |point: Point| point.lane == lane || seen.covers(point) || clock.covers(point);
        let range = (piece.offset, piece.offset + piece.len);
        let shadow = &mut self.memory.physicals.get_mut(piece.physical).shadow;
        if let Some(conflict) = shadow.access(range, access, stamp, ordered) {
            let detail = self.describe_race(piece, access, stamp, &conflict);
            self.report(Violation { kind: ViolationKind::Race, call: stamp.work.into(), detail });
        }
    }

    /// Two addresses of the same bytes within one kernel need a proxy fence between them, which the
    /// model's kernels do not have (CUDA Driver API, "Virtual Memory Management"; PTX ISA, "Proxies").
    fn check_aliases(&mut self, work: &'static str, reads: &[Piece], writes: &[Piece]) {
        let clash = writes.iter().find_map(|write| {
            let aliases = |other: &&Piece| {
                other.physical == write.physical
                    && other.region != write.region
                    && other.offset < write.offset + write.len
                    && write.offset < other.offset + other.len
            };
            reads.iter().chain(writes).find(aliases).map(|other| (write.at, other.at))
        });
        if let Some((write, other)) = clash {
            let detail = format!(
                "it writes at {write:#x} what it also touches at {other:#x}: two addresses of the \
                 same memory in one kernel"
            );
            self.report(Violation { kind: ViolationKind::Race, call: work.into(), detail });
        }
    }

    fn describe_race(
        &self,
        piece: &Piece,
        access: Access,
        stamp: Stamp,
        conflict: &Conflict,
    ) -> String {
        let verb = |access| match access {
            Access::Read => "reads",
            Access::Write => "writes",
        };
        let physical = self.memory.physicals.get(piece.physical);
        let mut text = format!(
            "`{}` on {} {} {} B at {:#x}, and nothing orders it after `{}` on {}, which {} there \
             through {:#x}; bytes {}..{} of {} B from {} (call {})",
            stamp.work,
            self.lanes.describe(stamp.point.lane),
            verb(access),
            piece.len,
            piece.at,
            conflict.earlier.work,
            self.lanes.describe(conflict.earlier.point.lane),
            verb(conflict.access),
            conflict.earlier.at,
            conflict.start,
            conflict.end,
            physical.size,
            physical.made_by,
            physical.born,
        );
        if let Some(past) = self.memory.epitaph(piece.at) {
            let _ = write!(text, "; at this address there was {past}");
        }
        for (base, region) in self.memory.space.iter() {
            if region.physical == piece.physical && region.kind == RegionKind::Mapping {
                let _ = write!(text, ", mapped at {base:#x} (call {})", region.since);
            }
        }
        text
    }

    /// How long work takes for the bytes it touches: a kernel for all, at the rate of where they are and
    /// of its pattern; anything else for what is on the host, beyond what it takes within the device.
    fn touching(&self, submission: &Submission, reads: &[Piece], writes: &[Piece]) -> u64 {
        let costs = &self.config.costs;
        let bytes = |on_host: bool| -> u64 {
            let is_there =
                |piece: &&Piece| self.memory.physicals.get(piece.physical).on_host == on_host;
            reads.iter().chain(writes).filter(is_there).map(|piece| piece.len).sum()
        };
        match submission.touches {
            Some(pattern) => {
                let [device, host] =
                    [false, true].map(|on_host| costs.touch_ns(bytes(on_host), on_host, pattern));
                device.saturating_add(host)
            }
            None => costs.link_ns(bytes(true)),
        }
    }

    /// What moving managed pages costs.
    fn fault_in(&mut self, reads: &[Piece], writes: &[Piece]) -> u64 {
        let mut time = 0;
        for (pieces, access) in [(reads, Access::Read), (writes, Access::Write)] {
            for piece in pieces {
                if self.memory.physicals.get(piece.physical).residency.is_some() {
                    let range = (piece.offset, piece.len);
                    let costs = self.config.costs;
                    time += self.memory.device_touches(piece.physical, range, access, &costs);
                }
            }
        }
        time
    }
}
