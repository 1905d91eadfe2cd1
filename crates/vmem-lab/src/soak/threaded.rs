//! Several threads on one stack, with hooks that allocate and panic.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use proptest::collection::vec;
use proptest::prelude::*;
use vmem_core::{
    AllocError, AllocErrorKind, BlockLayout, Device, DeviceBuffer, Label, MemoryResource, Request,
    ReservationId, Stream,
};
use vmem_sim::SimDevice;
use vmem_testkit::{Finding, Ledger, Probe, SetAside, TrackedBlock, panic_text};

use super::allowance::{Allowance, Fits};
use super::cache::{HookBehavior, Unwound};
use super::case::{nothing_leaked, rules_kept};
use super::naps::Sleepers;
use super::shape::StackShape;
use super::stack::{RandomStack, Wrap};
use super::step::{DEFAULT, STREAMS, Step, step};
use super::tally::Tally;

/// What each thread does.
#[derive(Debug, Clone)]
pub(super) struct ThreadedCase {
    stack: StackShape,
    threads: Vec<Vec<Step>>,
}

/// What threads hand each other.
#[derive(Debug)]
enum Message {
    Block(TrackedBlock),
    Buffer(DeviceBuffer<Arc<dyn MemoryResource>>),
}

/// The home stream of its buffers: not the default one, which another thread could not name.
const HOME: usize = 1;

/// What buffers are filled with.
const FILLED: u8 = 0x5a;

impl ThreadedCase {
    pub(super) fn strategy() -> impl Strategy<Value = Self> + use<> {
        let threads = vec(vec(step(), 1..=150), 2..=4);
        (StackShape::strategy(), threads).prop_map(|(stack, threads)| Self { stack, threads })
    }

    /// Runs the threads, then checks that everything was right and nothing is left.
    ///
    /// # Errors
    /// What was wrong, in words.
    pub(super) fn run(&self, wrap: &Wrap) -> Result<Tally, String> {
        let sim = SimDevice::with_config(self.stack.device()).map_err(|e| e.to_string())?;
        let device: Arc<dyn Device> = sim.clone();
        let stack = RandomStack::build(&self.stack, device.clone(), HookBehavior::Panics, wrap)
            .map_err(|error| format!("the stack could not be built: {error}"))?;
        let (senders, receivers): (Vec<_>, Vec<_>) = self.threads.iter().map(|_| channel()).unzip();
        let allowance = Allowance::new(&self.stack);
        let mut tally = thread::scope(|scope| {
            let (stack, allowance) = (&stack, &allowance);
            let threads: Vec<_> = self
                .threads
                .iter()
                .zip(receivers)
                .enumerate()
                .map(|(i, (steps, inbox))| {
                    let next = senders[(i + 1) % senders.len()].clone();
                    let device = device.clone();
                    scope.spawn(move || {
                        Member::new(i, stack, allowance, &device, inbox, next)?.run(steps)
                    })
                })
                .collect();
            drop(senders);
            let join = |thread: thread::ScopedJoinHandle<'_, Result<Tally, Finding>>| {
                thread.join().unwrap_or_else(|panic| {
                    Err(Finding::new(format!("a thread panicked: {}", panic_text(&*panic))))
                })
            };
            // All are joined before the first that failed is reported.
            let ended: Vec<_> = threads.into_iter().map(join).collect();
            ended.into_iter().try_fold(Tally::default(), |mut sum, tally| {
                sum += tally.map_err(|finding| finding.to_string())?;
                Ok::<_, String>(sum)
            })
        })?;
        let nothing_is_live = || {
            stack.check_invariants();
            stack.check_figures(&Ledger::default()).map_err(|finding| finding.to_string())
        };
        nothing_is_live()?;
        stack.give_up_cache();
        nothing_is_live()?;
        has_all_its_room(&stack, &device).map_err(|finding| finding.to_string())?;
        nothing_is_live()?;
        let counters = stack.counters();
        drop(stack);
        rules_kept(&sim)?;
        nothing_leaked(&sim, &[])?;
        tally.threaded = 1;
        tally.moves = counters.moves + counters.returns;
        tally.waits = counters.waits;
        tally.demoted = counters.bytes_demoted;
        Ok(tally)
    }
}

/// One thread, with what it has.
#[derive(Debug)]
struct Member<'a> {
    stack: &'a RandomStack,
    allowance: &'a Allowance,
    device: &'a Arc<dyn Device>,
    streams: Vec<Stream>,
    blocks: Vec<TrackedBlock>,
    sleepers: Sleepers,
    reservations: Vec<Box<dyn SetAside>>,
    inbox: Receiver<Message>,
    next: Sender<Message>,
    tally: Tally,
}

impl<'a> Member<'a> {
    fn new(
        number: usize,
        stack: &'a RandomStack,
        allowance: &'a Allowance,
        device: &'a Arc<dyn Device>,
        inbox: Receiver<Message>,
        next: Sender<Message>,
    ) -> Result<Self, Finding> {
        let mut member = Self {
            stack,
            allowance,
            device,
            streams: Vec::new(),
            blocks: Vec::new(),
            sleepers: Sleepers::new(number),
            reservations: Vec::new(),
            inbox,
            next,
            tally: Tally::default(),
        };
        (0..STREAMS).try_for_each(|place| member.open(place))?;
        Ok(member)
    }

    fn open(&mut self, place: usize) -> Result<(), Finding> {
        let stream = match place {
            DEFAULT => Stream::per_thread_default(self.device.clone()),
            _ => Stream::new(self.device.clone())?,
        };
        self.streams.insert(place, stream);
        Ok(())
    }

    fn run(mut self, steps: &[Step]) -> Result<Tally, Finding> {
        for step in steps {
            self.step(step)?;
            self.tally.operations += 1;
            while let Ok(message) = self.inbox.try_recv() {
                self.receive(message)?;
            }
            self.stack.check_invariants();
        }
        self.reservations.clear();
        while let Some(block) = self.sleepers.blocks.pop() {
            self.give_up(block, 0)?;
        }
        // The next thread ends when it has seen all that this one sends, and so on round.
        self.next = channel().0;
        while let Ok(message) = self.inbox.recv() {
            self.receive(message)?;
        }
        while !self.blocks.is_empty() {
            self.verify(0, 0)?;
            self.free(0, 1)?;
        }
        Ok(self.tally)
    }

    fn step(&mut self, step: &Step) -> Result<(), Finding> {
        let stack = self.stack;
        match *step {
            Step::Allocate { size, stream } => {
                let made = self.allocate(size, stream, None, Label::NONE)?;
                self.blocks.extend(made);
                Ok(())
            }
            Step::Write { block, stream } => match self.pick(block) {
                Some(place) => Ok(self.blocks[place].write(&self.streams[stream])?),
                None => Ok(()),
            },
            Step::Verify { block, stream } => self.verify(block, stream),
            Step::Free { block, stream } => self.free(block, stream),
            Step::HandOver { block } => {
                if let Some(place) = self.pick(block) {
                    let block = self.blocks.swap_remove(place);
                    self.send(Message::Block(block))?;
                }
                Ok(())
            }
            Step::Buffer { size } => self.buffer(size),
            Step::Cache { size, stream } => {
                unless_unwound(|| stack.fill_cache(size, &self.streams[stream]));
                Ok(())
            }
            Step::Reserve { size, stream } => self.reserve(size, stream),
            Step::Draw { size, stream } => match self.reservations.first() {
                Some(aside) => {
                    let made = self.allocate(size, stream, Some(aside.id()), Label::NONE)?;
                    self.blocks.extend(made);
                    Ok(())
                }
                None => Ok(()),
            },
            Step::Retire { stream } => {
                let ended = self.streams.remove(stream);
                // A buffer needs its home stream until it is dropped: that one ends by itself.
                if stream != HOME {
                    ended.retire()?;
                }
                drop(ended);
                self.open(stream)
            }
            Step::Limit { percent } => {
                stack.set_limit(StackShape::LIMIT / 100 * percent);
                Ok(())
            }
            Step::Trim => {
                stack.trim();
                Ok(())
            }
            Step::Label { size, stream } => {
                let made = self.allocate(size, stream, None, self.sleepers.label)?;
                self.sleepers.blocks.extend(made);
                Ok(())
            }
            Step::Nap { stream, wakes } => {
                let moved = stack.nap(&mut self.sleepers, &self.streams[stream], wakes)?;
                self.tally.naps += u64::from(moved);
                Ok(())
            }
            Step::Rest { block, stream, wakes } => match self.pick(block) {
                Some(place) => {
                    stack.rest_block(&mut self.blocks[place], &self.streams[stream], wakes)
                }
                None => Ok(()),
            },
        }
    }

    fn pick(&self, any: usize) -> Option<usize> {
        any.checked_rem(self.blocks.len())
    }

    fn allocate(
        &mut self,
        size: u64,
        stream: usize,
        aside: Option<ReservationId>,
        label: Label,
    ) -> Result<Option<TrackedBlock>, Finding> {
        let Some(mut fits) = self.allowance.take(size) else { return Ok(None) };
        let mut request = Request::new(BlockLayout::new(size)?, &self.streams[stream]);
        request.label = label;
        request.reservation = aside;
        if aside.is_some() {
            // What was set aside may be too little, or drawn already.
            fits = Fits::Unknown;
        }
        let served = unless_unwound(|| TrackedBlock::allocate(&self.stack.resource, &request));
        self.judge(size, fits, served)
    }

    /// Sets memory aside. Its share is never given back: what was drawn from it may keep it alive.
    fn reserve(&mut self, size: u64, stream: usize) -> Result<(), Finding> {
        self.reservations.truncate(1);
        let Some(fits) = self.allowance.take(size) else { return Ok(()) };
        let stack = self.stack;
        let served = unless_unwound(|| stack.reserve(size, &self.streams[stream]));
        let served = match served {
            Some(None) => {
                self.allowance.give_back(size);
                return Ok(());
            }
            Some(Some(served)) => Some(served),
            None => None,
        };
        let aside = self.judge(size, fits, served)?;
        self.reservations.extend(aside);
        Ok(())
    }

    /// What was served, if it was; otherwise it was rightly refused, or a hook unwound the request.
    fn judge<T>(
        &mut self,
        size: u64,
        fits: Fits,
        served: Option<Result<T, AllocError>>,
    ) -> Result<Option<T>, Finding> {
        match served {
            Some(Ok(served)) => return Ok(Some(served)),
            Some(Err(error)) => self.may_refuse(fits, error)?,
            // A hook runs only where a request was refused.
            None if fits == Fits::Surely => return Err(Finding::new("what fits was refused")),
            None => {}
        }
        self.allowance.give_back(size);
        Ok(None)
    }

    fn may_refuse(&mut self, fits: Fits, error: AllocError) -> Result<(), Finding> {
        let kind = error.kind();
        let exhausted = kind.is_exhaustion() || kind == AllocErrorKind::NeverFits;
        if fits == Fits::Surely || !exhausted {
            return Err(error.into());
        }
        self.tally.refusals += 1;
        Ok(())
    }

    fn verify(&mut self, any: usize, stream: usize) -> Result<(), Finding> {
        if let Some(place) = self.pick(any) {
            let block = &mut self.blocks[place];
            self.tally.verified += if block.is_written() { block.size() } else { 0 };
            block.verify(&self.streams[stream])?;
        }
        Ok(())
    }

    fn free(&mut self, any: usize, stream: usize) -> Result<(), Finding> {
        if let Some(place) = self.pick(any) {
            let block = self.blocks.swap_remove(place);
            self.give_up(block, stream)?;
        }
        Ok(())
    }

    fn give_up(&self, block: TrackedBlock, stream: usize) -> Result<(), Finding> {
        let size = block.size();
        block.free(&self.stack.resource, &self.streams[stream])?;
        self.allowance.give_back(size);
        Ok(())
    }

    fn buffer(&mut self, size: u64) -> Result<(), Finding> {
        let Some(fits) = self.allowance.take(size) else { return Ok(()) };
        let stream = &self.streams[HOME];
        let made = unless_unwound(|| DeviceBuffer::new(self.stack.resource.clone(), size, stream));
        if let Some(mut buffer) = self.judge(size, fits, made)? {
            buffer.fill(0..size, FILLED)?;
            self.send(Message::Buffer(buffer))?;
        }
        Ok(())
    }

    /// Hands something to the next thread, or keeps it if that has given up.
    fn send(&mut self, message: Message) -> Result<(), Finding> {
        match self.next.send(message) {
            Ok(()) => Ok(()),
            Err(returned) => self.receive(returned.0),
        }
    }

    fn receive(&mut self, message: Message) -> Result<(), Finding> {
        match message {
            Message::Block(block) => self.blocks.push(block),
            Message::Buffer(mut buffer) => {
                buffer.make_ready_on(&self.streams[0])?;
                let bytes = buffer.to_vec()?;
                self.tally.verified += buffer.len();
                if bytes.iter().any(|&byte| byte != FILLED) {
                    return Err(Finding::new("a buffer lost bytes on its way to another thread"));
                }
                buffer.record_use(&self.streams[0])?;
                let size = buffer.len();
                drop(buffer);
                self.allowance.give_back(size);
            }
        }
        Ok(())
    }
}

/// Whether a stack in which nothing is live, on a device that is idle, serves the most it may.
fn has_all_its_room(stack: &RandomStack, device: &Arc<dyn Device>) -> Result<(), Finding> {
    // What a thread left on its default stream included, which no stack waits for by itself.
    device.synchronize()?;
    stack.synchronize();
    let stream = Stream::new(device.clone())?;
    let layout = BlockLayout::new(stack.most_when_idle())?;
    let request = Request::new(layout, &stream);
    match unless_unwound(|| TrackedBlock::allocate(&stack.resource, &request)) {
        Some(served) => Ok(served?.free(&stack.resource, &stream)?),
        None => Err(Finding::new("with nothing live, what fits was refused")),
    }
}

/// What a call returned, unless the hook of its stack unwound it.
fn unless_unwound<T>(call: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(returned) => Some(returned),
        Err(panic) if panic.is::<Unwound>() => None,
        Err(panic) => resume_unwind(panic),
    }
}
