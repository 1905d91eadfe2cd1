//! Executing a program on a resource and on the model at once.

use std::sync::Arc;
use std::thread;

use vmem_core::{
    AllocError, AllocErrorKind, BlockLayout, Device, Label, MemoryResource, Request, ReservationId,
    Stream, StreamKind,
};

use super::buffers::Buffers;
use super::holds::Holds;
use super::lent::Lent;
use super::model::{Entry, Model};
use super::{Caller, Divergence, Op, Program, Summary};
use crate::conformance::Subject;
use crate::finding::ensure;
use crate::{Countdown, DeviceControl, FailedFree, Finding, TrackedBlock};

impl Program {
    /// Runs the program on the subject's resource; frees everything in the end.
    ///
    /// Blocks must be as asked and disjoint, hold the right bytes, and carry their labels. A request
    /// that keeps the live bytes within the subject's budget must be served, and one for which the
    /// probe knows that there is room; another may be refused, for exhaustion. After each step the
    /// subject's [`Probe`](crate::Probe) is asked for its invariants and figures. All uses obey the
    /// contract, so on the simulator the run must be free of races.
    ///
    /// # Errors
    /// The first divergence. Blocks that are live then are leaked.
    ///
    /// # Panics
    /// If the program has no stream; if the probe or the resource panics.
    pub fn run(&self, subject: &Subject<'_>) -> Result<Summary, Divergence> {
        self.execute(subject, None)
    }

    /// Runs the program while `countdown`, which is armed and over which the subject's resource and
    /// device work, fails driver calls.
    ///
    /// A step in which it fires may return any error, and later requests may be refused for
    /// exhaustion, because a resource may remember for a while that the device was full. All else
    /// is as in [`run`](Self::run): no other step fails, no byte is wrong, the figures add up, and
    /// blocks whose free failed are freed in the end. Only what a `DeviceBuffer` failed to free in
    /// a drop or a move is leaked.
    ///
    /// # Errors
    /// The first divergence.
    ///
    /// # Panics
    /// Those of [`run`](Self::run).
    pub fn run_with_fault(
        &self,
        subject: &Subject<'_>,
        countdown: &Countdown,
    ) -> Result<Summary, Divergence> {
        self.execute(subject, Some(countdown))
    }

    fn execute(
        &self,
        subject: &Subject<'_>,
        countdown: Option<&Countdown>,
    ) -> Result<Summary, Divergence> {
        let diverged = |step| move |finding| Divergence { step, finding };
        let mut run = Run::new(subject, countdown, self.streams).map_err(diverged(None))?;
        for (i, op) in self.ops.iter().enumerate() {
            run.guarded(|run| run.step(op)).map_err(diverged(Some((i, op.clone()))))?;
            run.summary.steps += 1;
            if run.lost {
                break;
            }
        }
        run.finish().map_err(diverged(None))
    }
}

pub(super) struct Run<'a> {
    pub(super) subject: &'a Subject<'a>,
    countdown: Option<&'a Countdown>,
    streams: Vec<Stream>,
    pub(super) model: Model,
    pub(super) buffers: Buffers<'a>,
    pub(super) holds: Holds,
    /// The stream of somebody else, if there is one.
    pub(super) lent: Option<Lent>,
    /// The most bytes that may be live, besides the budget.
    limit: Option<u64>,
    /// The most that a failed drop may have lost, as blocks and bytes.
    pub(super) leaked: (u64, u64),
    /// The device is lost.
    pub(super) lost: bool,
    pub(super) summary: Summary,
}

impl<'a> Run<'a> {
    fn new(
        subject: &'a Subject<'a>,
        countdown: Option<&'a Countdown>,
        streams: usize,
    ) -> Result<Self, Finding> {
        assert_ne!(streams, 0, "a program needs a stream");
        let mut run = Self {
            subject,
            countdown,
            streams: Vec::new(),
            model: Model::default(),
            buffers: Buffers::default(),
            holds: Holds::default(),
            lent: None,
            limit: None,
            leaked: (0, 0),
            lost: false,
            summary: Summary::default(),
        };
        for place in 0..streams {
            run.open(place)?;
        }
        Ok(run)
    }

    /// Makes a step, which may fail if the countdown fires in it, and looks inside.
    pub(super) fn guarded(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<(), Finding>,
    ) -> Result<(), Finding> {
        let before = self.faults();
        match step(self) {
            Err(finding) if self.faults() == before => Err(finding),
            _ => self.look_inside(),
        }
    }

    /// How many driver calls were failed on purpose.
    pub(super) fn faults(&self) -> usize {
        self.countdown.map_or(0, |countdown| countdown.failed().len())
    }

    fn step(&mut self, op: &Op) -> Result<(), Finding> {
        match *op {
            Op::Allocate { size, alignment, stream, label, caller } => {
                let layout = BlockLayout::with_alignment(size, alignment)?;
                self.allocate(layout, &self.stream(stream), label_of(label), caller)?;
            }
            Op::Refuse { stream } => self.refuse(&self.stream(stream))?,
            Op::Write { block, stream } => {
                let stream = self.stream(stream);
                if let Some(place) = self.model.pick(block) {
                    self.model.at(place).write(&stream)?;
                }
            }
            Op::Copy { block, stream } => self.copy(block, &self.stream(stream))?,
            Op::Verify { block, stream } => {
                if let Some(place) = self.model.pick(block) {
                    self.verify(place, &self.stream(stream))?;
                }
            }
            Op::Free { block, stream, caller } => self.free(block, &self.stream(stream), caller)?,
            Op::Buffer { size, home } => self.make_buffer(size, &self.stream(home))?,
            Op::UseBuffer { buffer, user } => self.use_buffer(buffer, &self.stream(user))?,
            Op::CloneBuffer { buffer, home } => self.clone_buffer(buffer, &self.stream(home))?,
            Op::RehomeBuffer { buffer, home } => self.rehome_buffer(buffer, &self.stream(home))?,
            Op::GrowBuffer { buffer } => self.grow_buffer(buffer)?,
            Op::CheckBuffer { buffer } => self.check_buffer(buffer)?,
            Op::DropBuffer { buffer } => self.drop_buffer(buffer),
            Op::DropInCapture { buffer, stream, asker, size } => {
                let (capturing, asker) = (self.stream(stream), self.stream(asker));
                self.drop_in_capture(buffer, &capturing, &asker, size)?;
            }
            Op::Elsewhere { block, buffer, stream } => {
                self.elsewhere(block, buffer, &self.stream(stream))?;
            }
            Op::Thread { size, block } => self.in_thread(size, block)?,
            Op::Lent { size, block, ends } => self.on_lent(size, block, ends)?,
            Op::Capture { stream, block, size } => {
                self.capture(block, size, &self.stream(stream))?;
            }
            Op::Limit { percent } => {
                let bytes = self.subject.budget / 100 * percent;
                if self.subject.probe.set_limit(bytes) {
                    self.limit = Some(bytes);
                }
            }
            Op::Reserve { size, stream } => self.reserve(size, &self.stream(stream))?,
            Op::Draw { reservation, size, stream } => {
                self.draw(reservation, size, &self.stream(stream))?;
            }
            Op::Release { reservation } => {
                let before = (self.faults(), self.holds.held());
                self.holds.drop_one(reservation);
                self.note_lost_hold(before);
            }
            Op::Cache { size, stream } => {
                let before = self.faults();
                self.subject.probe.fill_cache(size, &self.stream(stream));
                if self.faults() != before {
                    self.note_leak(1, size);
                }
            }
            Op::Lose => self.lost = self.subject.device_control.lose(),
            Op::Synchronize { stream } => self.stream(stream).synchronize()?,
            Op::Retire { stream } => {
                self.stream(stream).retire()?;
                self.reopen(stream)?;
            }
            Op::Drop { stream } => self.reopen(stream)?,
            Op::Trim => self.subject.probe.trim(),
            Op::Rest { label, wakes } => {
                self.subject.probe.rest(label.map(label_of), wakes);
            }
        }
        Ok(())
    }

    /// Whether a block was served and admitted; if not, it was rightly refused.
    fn allocate(
        &mut self,
        layout: BlockLayout,
        stream: &Stream,
        label: Label,
        caller: Caller,
    ) -> Result<bool, Finding> {
        let default = stream.kind() == StreamKind::PerThreadDefault;
        let is_elsewhere = caller == Caller::Other && !default;
        let has_room =
            if is_elsewhere { self.has_room_elsewhere(layout) } else { self.has_room_for(layout) };
        let fits = self.must_serve(layout.size(), has_room);
        let resource = self.subject.resource;
        let allocate = || {
            let request = Request::new(layout, stream).with_label(label);
            TrackedBlock::allocate(resource, &request)
        };
        let result = if is_elsewhere { elsewhere(allocate) } else { allocate() };
        match result {
            Ok(mut block) => {
                if let Some(unwritten) = self.subject.probe.cleared() {
                    block.assume_cleared(unwritten);
                }
                self.admit(Entry { block, drawn_from: None }, layout, label).map(|()| true)
            }
            Err(error) => self.may_refuse(fits, error).map(|()| false),
        }
    }

    fn refuse(&mut self, stream: &Stream) -> Result<(), Finding> {
        let request = Request::new(BlockLayout::new(PEBIBYTE)?, stream);
        match self.subject.resource.allocate(&request) {
            Ok(block) => Err(Finding::new(format!("a pebibyte was served: {block:?}"))),
            Err(error) => self.may_refuse(false, error),
        }
    }

    /// Takes up a block that was served.
    pub(super) fn admit(
        &mut self,
        entry: Entry,
        layout: BlockLayout,
        label: Label,
    ) -> Result<(), Finding> {
        let drawn = entry.drawn_from.is_some();
        self.model.admit(entry, layout, label)?;
        let live = self.model.live().bytes;
        // Where a limit lies below memory that is set aside, what is drawn does not pass it.
        let charged = live - self.model.drawn().bytes;
        if let Some(limit) = self.limit
            && !drawn
        {
            ensure!(charged <= limit, "{charged} B live under a limit of {limit} B");
        }
        self.summary.allocated += 1;
        self.summary.peak_live_bytes = self.summary.peak_live_bytes.max(live);
        Ok(())
    }

    /// Whether a request for so many bytes has to be served: it keeps within the budget, or there
    /// is room for it, and it keeps within the limit.
    pub(super) fn must_serve(&self, size: u64, has_room: bool) -> bool {
        let charged = self.model.live().bytes + self.buffers.held().1 + self.holds.held().1;
        let charged = charged + self.subject.probe.cached_bytes() + self.leaked.1 + size;
        let within_limit = self.limit.is_none_or(|limit| charged <= limit);
        (charged <= self.subject.budget || has_room) && within_limit
    }

    /// Whether the probe knows of room. What is free on a stream of somebody else is nobody's until
    /// that is vouched for again or has ended.
    pub(super) fn has_room_for(&self, layout: BlockLayout) -> bool {
        self.lent.is_none() && self.subject.probe.has_room_for(layout)
    }

    /// The same for a request of another thread. It cannot have what this thread freed on its default
    /// stream and has not marked since: only this thread can.
    pub(super) fn has_room_elsewhere(&self, layout: BlockLayout) -> bool {
        let is_bound = |stream: &Stream| stream.kind() == StreamKind::PerThreadDefault;
        !self.streams.iter().any(is_bound) && self.has_room_for(layout)
    }

    /// Accepts the refusal of a request that did not have to be served.
    pub(super) fn may_refuse(
        &mut self,
        must_serve: bool,
        error: AllocError,
    ) -> Result<(), Finding> {
        let kind = error.kind();
        if must_serve && self.faults() == 0
            || !(kind.is_exhaustion() || kind == AllocErrorKind::NeverFits)
        {
            return Err(error.into());
        }
        self.note_refusal();
        Ok(())
    }

    pub(super) fn note_refusal(&mut self) {
        self.summary.refused += 1;
    }

    fn copy(&mut self, block: usize, stream: &Stream) -> Result<(), Finding> {
        let Some(place) = self.model.pick(block) else {
            return Ok(());
        };
        let (layout, label) = (self.model.at(place).layout(), self.model.at(place).label());
        if self.allocate(layout, stream, label, Caller::Runner)?
            && let Some((source, copy)) = self.model.at_and_newest(place)
        {
            source.copy_to(copy, stream)?;
        }
        Ok(())
    }

    pub(super) fn verify(&mut self, place: usize, stream: &Stream) -> Result<(), Finding> {
        let block = self.model.at(place);
        let bytes = if block.is_written() { block.size() } else { 0 };
        block.verify(stream)?;
        self.note_verified(bytes);
        Ok(())
    }

    pub(super) fn note_verified(&mut self, bytes: u64) {
        self.summary.verified_bytes += bytes;
    }

    pub(super) fn free(
        &mut self,
        block: usize,
        stream: &Stream,
        caller: Caller,
    ) -> Result<(), Finding> {
        let Some(place) = self.model.pick(block) else {
            return Ok(());
        };
        let resource = self.subject.resource;
        let Entry { block, drawn_from } = self.model.remove(place);
        let free = || block.free(resource, stream);
        let freed = match caller {
            Caller::Runner => free(),
            Caller::Other => elsewhere(free),
        };
        self.was_freed(freed, drawn_from)
    }

    /// Takes up again a block whose free failed.
    pub(super) fn was_freed(
        &mut self,
        freed: Result<(), FailedFree>,
        drawn_from: Option<ReservationId>,
    ) -> Result<(), Finding> {
        if let Err(failed) = freed {
            let finding = Finding::new(failed.to_string());
            let mut block = failed.into_block();
            if self.subject.probe.cleared().is_some() {
                // Or not, if the clearing is what failed.
                block.forget_contents();
            }
            self.model.put_back(Entry { block, drawn_from });
            return Err(finding);
        }
        if let Some(id) = drawn_from {
            let before = (self.faults(), self.holds.held());
            self.holds.give_back(id);
            // The fault may have come with the free, which ends a dropped reservation.
            self.note_lost_hold((0, before.1));
        }
        Ok(())
    }

    /// Notes what a failed drop may have lost.
    pub(super) fn note_leak(&mut self, blocks: u64, bytes: u64) {
        self.leaked.0 += blocks;
        self.leaked.1 += bytes;
    }

    pub(super) fn resource(&self) -> &'a dyn MemoryResource {
        self.subject.resource
    }

    pub(super) fn device(&self) -> &'a Arc<dyn Device> {
        self.subject.device()
    }

    pub(super) fn device_control(&self) -> &'a dyn DeviceControl {
        self.subject.device_control
    }

    pub(super) fn stream(&self, any: usize) -> Stream {
        self.streams[any % self.streams.len()].clone()
    }

    /// Drops a stream and makes another of its kind.
    fn reopen(&mut self, any: usize) -> Result<(), Finding> {
        let place = any % self.streams.len();
        // A default stream is the same one again as long as a handle of it lives.
        drop(self.streams.remove(place));
        self.open(place)
    }

    /// Makes the stream of one place: see [`Program::streams`].
    fn open(&mut self, place: usize) -> Result<(), Finding> {
        let device = self.subject.device();
        let stream = match place {
            2 => Stream::legacy_default(device.clone()),
            3 => Stream::per_thread_default(device.clone()),
            _ => {
                // The program needs its streams: after a fault it tries again.
                loop {
                    let before = self.faults();
                    match Stream::new(device.clone()) {
                        Err(_) if self.faults() != before => {}
                        other => break other?,
                    }
                }
            }
        };
        self.streams.insert(place, stream);
        Ok(())
    }
}

const PEBIBYTE: u64 = 1 << 50;

/// Makes a call on a thread of its own.
pub(super) fn elsewhere<T: Send>(call: impl FnOnce() -> T + Send) -> T {
    let joined = thread::scope(|scope| scope.spawn(call).join());
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The label that a number stands for.
fn label_of(number: u8) -> Label {
    Label::intern(["", "a", "b/c", "d"][usize::from(number % 4)])
}
