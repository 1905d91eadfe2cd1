//! Running queued work: as late, and in as odd an order, as the rules allow.

use crate::Schedule;
use crate::checker::{LaneId, Point};
use crate::kernel::KernelMemory;
use crate::memory::{Physicals, Piece};
use crate::state::State;
use crate::stream::work::{HostPtr, Queued, Work};

/// A lane's queue longer than this runs, so that a program that never waits stays bounded.
const LONGEST_QUEUE: usize = 1 << 12;

/// A query answers "pending" at most this often in a row while the lane could run.
const MOST_POLLS: u32 = 8;

impl State {
    /// Runs what must have run for `point` to be reached, and no more on purpose: in between, the
    /// seed may let other lanes advance.
    pub(crate) fn force(&mut self, point: Point) {
        self.stir();
        let mut stack = vec![point];
        while let Some(&wanted) = stack.last() {
            if self.lanes.is_done(wanted) {
                stack.pop();
                continue;
            }
            match self.unmet_need(wanted.lane) {
                Some(need) => stack.push(need),
                None => self.run_next(wanted.lane),
            }
        }
    }

    /// Runs everything that is queued.
    pub(crate) fn drain(&mut self) {
        while !self.lanes.busy.is_empty() {
            let choice = self.rng.below(self.lanes.busy.len());
            let lane = self.lanes.busy[choice];
            let next = self.lanes.get(lane).done + 1;
            self.force(Point { lane, time: next });
        }
    }

    /// Lets some lane advance somewhat, if the seed says so.
    pub(crate) fn stir(&mut self) {
        if self.lanes.busy.is_empty() || !self.rng.one_in(self.haste) {
            return;
        }
        let choice = self.rng.below(self.lanes.busy.len());
        let lane = self.lanes.busy[choice];
        let steps = self.rng.below(self.lanes.get(lane).queue.len() + 1);
        for _ in 0..steps {
            if self.unmet_need(lane).is_some() {
                return;
            }
            self.run_next(lane);
        }
    }

    /// Whether a query of `point` finds it reached. Polling again and again gets there.
    pub(crate) fn poll(&mut self, point: Point) -> bool {
        self.stir();
        if self.lanes.is_done(point) {
            return true;
        }
        let lane = self.lanes.get_mut(point.lane);
        lane.polls += 1;
        if lane.polls > MOST_POLLS || self.rng.one_in(4) {
            self.lanes.get_mut(point.lane).polls = 0;
            self.force(point);
        }
        self.lanes.is_done(point)
    }

    /// Puts work in a lane's queue, or runs it.
    pub(crate) fn enqueue(&mut self, lane: LaneId, work: Queued) {
        let queue = &mut self.lanes.get_mut(lane).queue;
        queue.push_back(work);
        let length = queue.len();
        self.lanes.get_mut(lane).queued += 1;
        if length == 1 {
            self.lanes.busy.push(lane);
        }
        match self.config.schedule {
            Schedule::Eager => self.force(self.lanes.tail(lane)),
            Schedule::Late if length > LONGEST_QUEUE => {
                let time = self.lanes.get(lane).done + (LONGEST_QUEUE / 2) as u64;
                self.force(Point { lane, time });
            }
            Schedule::Late => self.stir(),
        }
    }

    /// One of the points that the next work of a lane still waits for.
    fn unmet_need(&mut self, lane: LaneId) -> Option<Point> {
        let next = self.lanes.get(lane).queue.front()?;
        let needs = &next.needs;
        if needs.is_empty() {
            return None;
        }
        let start = self.rng.below(needs.len());
        let (later, first) = needs.split_at(start);
        let unmet = first.iter().chain(later).find(|&&need| !self.lanes.is_done(need));
        unmet.copied()
    }

    /// Runs the next work of a lane, whose needs are met. After a device loss nothing runs; the
    /// work is dropped.
    fn run_next(&mut self, lane: LaneId) {
        let Some(work) = self.lanes.get_mut(lane).queue.pop_front() else {
            return;
        };
        self.lanes.get_mut(lane).done += 1;
        if self.lanes.get(lane).queue.is_empty() {
            self.lanes.busy.retain(|&busy| busy != lane);
        }
        if self.config.bytes == crate::Bytes::Stored && !self.script.is_lost() {
            let reports = perform(&mut self.memory.physicals, work);
            reports.into_iter().for_each(|report| self.report(report));
        }
    }
}

/// Does what work does to the bytes. Returns what a kernel had to report.
fn perform(physicals: &mut Physicals, work: Queued) -> Vec<crate::Violation> {
    match work.work {
        Work::Mark => {}
        Work::Fill(word) => {
            // Pieces and chunks are of whole words.
            let mut chunk = [word[0]; CHUNK];
            if word != [word[0]; 4] {
                chunk.chunks_exact_mut(word.len()).for_each(|to| to.copy_from_slice(&word));
            }
            for_parts(&work.writes, |id, offset, part| {
                physicals.get_mut(id).store.write(offset, &chunk[..part.len()]);
            });
        }
        Work::CopyFromHost(HostPtr(from)) => for_parts(&work.writes, |id, offset, part| {
            let from = from.wrapping_add(part.start).cast_const();
            // SAFETY: contract, devices/host-memory: the host memory is valid and not written until
            // the copy completed, and the part lies inside it.
            let bytes = unsafe { std::slice::from_raw_parts(from, part.len()) };
            physicals.get_mut(id).store.write(offset, bytes);
        }),
        Work::CopyToHost(HostPtr(to)) => for_parts(&work.reads, |id, offset, part| {
            let to = to.wrapping_add(part.start);
            // SAFETY: contract, devices/host-memory: the host memory is valid and not touched until
            // the copy completed, and the part lies inside it.
            let bytes = unsafe { std::slice::from_raw_parts_mut(to, part.len()) };
            physicals.get(id).store.read(offset, bytes);
        }),
        Work::CopyWithin => {
            let mut chunk = [0; CHUNK];
            let mut from = Parts::new(&work.reads);
            for_parts(&work.writes, |id, offset, part| {
                let bytes = &mut chunk[..part.len()];
                from.read(physicals, bytes);
                physicals.get_mut(id).store.write(offset, bytes);
            });
        }
        Work::Kernel(Some(body)) => {
            let mut memory = KernelMemory {
                name: work.name,
                physicals,
                reads: &work.reads,
                writes: &work.writes,
                reports: Vec::new(),
            };
            body(&mut memory);
            return memory.reports;
        }
        Work::Kernel(None) => {}
    }
    Vec::new()
}

const CHUNK: usize = 16 << 10;

/// Calls `visit` with each part of at most a chunk: the memory, the offset in it, and which bytes
/// of the whole access it is.
fn for_parts(pieces: &[Piece], mut visit: impl FnMut(usize, u64, std::ops::Range<usize>)) {
    let mut done = 0;
    for piece in pieces {
        let len = usize::try_from(piece.len).expect("stored bytes fit the host's address space");
        let mut within = 0;
        while within < len {
            let part = CHUNK.min(len - within);
            visit(piece.physical, piece.offset + within as u64, done..done + part);
            within += part;
            done += part;
        }
    }
}

/// Reads the bytes of some pieces one after the other.
struct Parts<'a> {
    pieces: &'a [Piece],
    within: u64,
}

impl<'a> Parts<'a> {
    const fn new(pieces: &'a [Piece]) -> Self {
        Self { pieces, within: 0 }
    }

    fn read(&mut self, physicals: &Physicals, mut bytes: &mut [u8]) {
        while let Some((piece, others)) = self.pieces.split_first() {
            if bytes.is_empty() {
                return;
            }
            let left = piece.len - self.within;
            let len = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
            let (part, rest) = bytes.split_at_mut(len);
            physicals.get(piece.physical).store.read(piece.offset + self.within, part);
            bytes = rest;
            self.within += len as u64;
            if self.within == piece.len {
                self.pieces = others;
                self.within = 0;
            }
        }
    }
}
