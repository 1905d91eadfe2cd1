//! Executing a program on a resource and on the model at once.

use std::thread;

use vmem_core::{
    AllocError, AllocErrorKind, BlockLayout, DeviceBuffer, Label, MemoryResource, Request, Stream,
    StreamKind,
};

use super::model::Model;
use super::{Caller, Divergence, Op, Program, Summary};
use crate::conformance::Subject;
use crate::finding::ensure;
use crate::{Countdown, Finding, TrackedBlock};

impl Program {
    /// Runs the program on the subject's resource; frees everything in the end.
    ///
    /// Blocks must be as asked and disjoint, hold the right bytes, and carry their labels. A request
    /// that keeps the live bytes within the subject's budget must be served; one beyond it may be
    /// refused, for exhaustion. After each step the subject's [`Probe`](crate::Probe) is asked for
    /// its invariants and figures. All uses obey the contract, so on the simulator the run must be
    /// free of races.
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
    /// device work, fails one driver call.
    ///
    /// The step in which it fires may return any error, and later requests may be refused for
    /// exhaustion, because a resource may remember for a while that the device was full. All else
    /// is as in [`run`](Self::run): no other step fails, no byte is wrong, the figures add up, and
    /// blocks whose free failed are freed in the end. Only what a `DeviceBuffer` failed to free in
    /// its drop is leaked.
    ///
    /// # Errors
    /// The first divergence.
    ///
    /// # Panics
    /// As [`run`](Self::run).
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
        }
        run.finish().map_err(diverged(None))
    }
}

struct Run<'a> {
    subject: &'a Subject<'a>,
    countdown: Option<&'a Countdown>,
    streams: Vec<Stream>,
    model: Model,
    /// The most bytes that a buffer may have failed to free.
    leaked: u64,
    summary: Summary,
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
            leaked: 0,
            summary: Summary::default(),
        };
        for place in 0..streams {
            run.open(place)?;
        }
        Ok(run)
    }

    /// Makes a step, which may fail if the countdown fires in it, and looks inside.
    fn guarded(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<(), Finding>,
    ) -> Result<(), Finding> {
        let before = self.fault();
        match step(self) {
            Err(finding) if self.fault() == before => Err(finding),
            _ => self.look_inside(),
        }
    }

    /// The driver call that was failed on purpose.
    fn fault(&self) -> Option<&'static str> {
        self.countdown.and_then(Countdown::fired)
    }

    fn step(&mut self, op: &Op) -> Result<(), Finding> {
        match *op {
            Op::Allocate { size, alignment, stream, label, caller } => {
                let layout = BlockLayout::with_alignment(size, alignment)?;
                let label = Label::intern(["", "a", "b/c", "d"][usize::from(label % 4)]);
                self.allocate(layout, &self.stream(stream), label, caller)?;
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
                let stream = self.stream(stream);
                if let Some(place) = self.model.pick(block) {
                    self.model.at(place).verify(&stream)?;
                }
            }
            Op::Free { block, stream, caller } => self.free(block, &self.stream(stream), caller)?,
            Op::Buffer { size, home, user } => {
                self.buffer(size, &self.stream(home), &self.stream(user))?;
            }
            Op::Synchronize { stream } => self.stream(stream).synchronize()?,
            Op::Retire { stream } => {
                self.stream(stream).retire()?;
                self.reopen(stream)?;
            }
            Op::Drop { stream } => self.reopen(stream)?,
            Op::Trim => self.subject.probe.trim(),
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
        let resource = self.subject.resource;
        let allocate = || {
            let request = Request::new(layout, stream).with_label(label);
            TrackedBlock::allocate(resource, &request)
        };
        let default = stream.kind() == StreamKind::PerThreadDefault;
        let result = match caller {
            Caller::Other if !default => elsewhere(allocate),
            _ => allocate(),
        };
        match result {
            Ok(block) => {
                self.model.admit(block, layout, label)?;
                let summary = &mut self.summary;
                summary.allocated += 1;
                summary.peak_live_bytes = summary.peak_live_bytes.max(self.model.live_bytes());
                Ok(true)
            }
            Err(error) => self.may_refuse(layout.size(), error).map(|()| false),
        }
    }

    fn refuse(&mut self, stream: &Stream) -> Result<(), Finding> {
        let request = Request::new(BlockLayout::new(PEBIBYTE)?, stream);
        match self.subject.resource.allocate(&request) {
            Ok(block) => Err(Finding::new(format!("a pebibyte was served: {block:?}"))),
            Err(error) => self.may_refuse(PEBIBYTE, error),
        }
    }

    /// Accepts a refusal of `size` bytes that would have exceeded the budget.
    fn may_refuse(&mut self, size: u64, error: AllocError) -> Result<(), Finding> {
        let beyond = self.model.live_bytes() + size > self.subject.budget;
        let kind = error.kind();
        if !(beyond || self.fault().is_some())
            || !(kind.is_exhaustion() || kind == AllocErrorKind::NeverFits)
        {
            return Err(error.into());
        }
        self.summary.refused += 1;
        Ok(())
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

    fn free(&mut self, block: usize, stream: &Stream, caller: Caller) -> Result<(), Finding> {
        let Some(place) = self.model.pick(block) else {
            return Ok(());
        };
        let resource = self.subject.resource;
        let block = self.model.remove(place);
        let free = || block.free(resource, stream);
        let freed = match caller {
            Caller::Runner => free(),
            Caller::Other => elsewhere(free),
        };
        freed.map_err(|failed| {
            let finding = Finding::new(failed.to_string());
            self.model.put_back(failed.into_block());
            finding
        })
    }

    fn buffer(&mut self, size: u64, home: &Stream, user: &Stream) -> Result<(), Finding> {
        let mut buffer = match DeviceBuffer::new(self.subject.resource, size, home) {
            Ok(buffer) => buffer,
            Err(error) => return self.may_refuse(size, error),
        };
        let before = self.fault();
        let used = use_buffer(&mut buffer, user);
        drop(buffer);
        if self.fault() != before {
            self.leaked = size;
        }
        used
    }

    fn stream(&self, any: usize) -> Stream {
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
        let device = &self.subject.device;
        let stream = match place {
            2 => Stream::legacy_default(device),
            3 => Stream::per_thread_default(device),
            _ => {
                let created = Stream::new(device.clone());
                // The program needs its streams: after a fault it tries again.
                match created {
                    Err(_) if self.fault().is_some() => Stream::new(device.clone())?,
                    other => other?,
                }
            }
        };
        self.streams.insert(place, stream);
        Ok(())
    }

    fn look_inside(&self) -> Result<(), Finding> {
        let probe = self.subject.probe;
        probe.check_invariants();
        let expected = self.model.live_bytes();
        if let Some(live) = probe.live_bytes() {
            ensure!(
                (expected..=expected + self.leaked).contains(&live),
                "{live} B live instead of {expected} B"
            );
        }
        if let Some(reserved) = probe.reserved_bytes() {
            ensure!(reserved >= expected, "{reserved} B reserved for {expected} B live");
            if let Some(ceiling) = probe.ceiling() {
                ensure!(
                    reserved <= ceiling,
                    "{reserved} B reserved under a ceiling of {ceiling} B"
                );
            }
        }
        Ok(())
    }

    /// Verifies and frees what is left.
    fn finish(mut self) -> Result<Summary, Finding> {
        let stream = self.stream(0);
        while let Some(place) = self.model.pick(0) {
            self.guarded(|run| {
                run.model.at(place).verify(&stream)?;
                run.free(place, &stream, Caller::Runner)
            })?;
        }
        let device = &self.subject.device;
        self.guarded(|_| Ok(device.synchronize()?))?;
        Ok(self.summary)
    }
}

const PEBIBYTE: u64 = 1 << 50;

/// Queues work of the home stream and of `user` on a buffer, ordered as its rules ask.
fn use_buffer(
    buffer: &mut DeviceBuffer<&dyn MemoryResource>,
    user: &Stream,
) -> Result<(), Finding> {
    let size = buffer.len();
    buffer.fill(0..size, 0xaa)?;
    buffer.wait_on(user)?;
    if let Some(ptr) = buffer.ptr() {
        user.with_raw("Program::run", |device, raw| {
            // SAFETY: contract, devices 1, 2 and 5: the buffer's block and a valid stream.
            unsafe { device.fill(ptr, 0xbb, size, raw) }
        })?;
    }
    // The use is queued: if it cannot be recorded, it must be over before the buffer ends.
    buffer.record_use(user).or_else(|_| user.synchronize())?;
    Ok(())
}

/// Makes a call on a thread of its own.
fn elsewhere<T: Send>(call: impl FnOnce() -> T + Send) -> T {
    let joined = thread::scope(|scope| scope.spawn(call).join());
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
