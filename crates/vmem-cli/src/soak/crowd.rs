//! Several threads on one stack, with hooks that allocate and panic.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use proptest::collection::vec;
use proptest::prelude::*;
use vmem_core::{
    AllocError, AllocErrorKind, BlockLayout, Device, DeviceBuffer, MemoryResource, Request,
    ReservationId, Stream,
};
use vmem_sim::SimDevice;
use vmem_testkit::{Finding, Ledger, Probe, SetAside, TrackedBlock};

use super::case::{nothing_leaked, rules_kept};
use super::hoard::{Manners, Unwound};
use super::shape::StackShape;
use super::stack::{Graft, Stack};
use super::tally::Tally;

/// What each thread does.
#[derive(Debug, Clone)]
pub(super) struct Crowd {
    stack: StackShape,
    threads: Vec<Vec<Step>>,
}

/// One step of one thread, on one of its streams.
#[derive(Debug, Clone)]
enum Step {
    Allocate {
        size: u64,
        stream: usize,
    },
    Write {
        block: usize,
        stream: usize,
    },
    Verify {
        block: usize,
        stream: usize,
    },
    Free {
        block: usize,
        stream: usize,
    },
    /// Hands a block to the next thread.
    HandOver {
        block: usize,
    },
    /// Hands a filled buffer to the next thread, which uses it and drops it.
    Buffer {
        size: u64,
    },
    Cache {
        size: u64,
        stream: usize,
    },
    Reserve {
        size: u64,
        stream: usize,
    },
    Draw {
        size: u64,
        stream: usize,
    },
    Retire {
        stream: usize,
    },
    Limit {
        percent: u64,
    },
    Trim,
}

/// What threads hand each other.
#[derive(Debug)]
enum Parcel {
    Block(TrackedBlock),
    Buffer(DeviceBuffer<Arc<dyn MemoryResource>>),
}

/// The streams of a thread: owned ones, and last its default stream.
const STREAMS: usize = 3;
const DEFAULT: usize = STREAMS - 1;

/// The home stream of its buffers: not the default one, which another thread could not name.
const HOME: usize = 1;

/// What buffers are filled with.
const FILLED: u8 = 0x5a;

impl Crowd {
    pub(super) fn strategy() -> impl Strategy<Value = Self> + use<> {
        let threads = vec(vec(step(), 1..=150), 2..=4);
        (StackShape::strategy(), threads).prop_map(|(stack, threads)| Self { stack, threads })
    }

    /// Runs the threads, then checks that everything was right and nothing is left.
    ///
    /// # Errors
    /// What was wrong, in words.
    pub(super) fn run(&self, graft: &Graft) -> Result<Tally, String> {
        let sim = SimDevice::with_config(self.stack.device()).map_err(|e| e.to_string())?;
        let device: Arc<dyn Device> = sim.clone();
        let stack = Stack::build(&self.stack, device.clone(), Manners::Panics, graft)
            .map_err(|error| format!("the stack could not be built: {error}"))?;
        let (senders, receivers): (Vec<_>, Vec<_>) = self.threads.iter().map(|_| channel()).unzip();
        let mut tally = thread::scope(|scope| {
            let stack = &stack;
            let threads: Vec<_> = self
                .threads
                .iter()
                .zip(receivers)
                .enumerate()
                .map(|(i, (steps, inbox))| {
                    let next = senders[(i + 1) % senders.len()].clone();
                    let device = device.clone();
                    scope.spawn(move || Member::new(stack, &device, inbox, next)?.run(steps))
                })
                .collect();
            drop(senders);
            let join = |thread: thread::ScopedJoinHandle<'_, Result<Tally, Finding>>| {
                thread.join().unwrap_or_else(|panic| Err(Finding::new(panic_text(&*panic))))
            };
            // All are joined before the first that failed is reported.
            let ended: Vec<_> = threads.into_iter().map(join).collect();
            ended.into_iter().try_fold(Tally::default(), |mut sum, tally| {
                sum += tally.map_err(|finding| finding.to_string())?;
                Ok::<_, String>(sum)
            })
        })?;
        let inside = &stack.inside;
        let nothing_is_live = || {
            inside.check_invariants();
            inside.check_figures(&Ledger::default()).map_err(|finding| finding.to_string())
        };
        nothing_is_live()?;
        inside.give_up_cache();
        nothing_is_live()?;
        let counters = inside.counters();
        drop(stack);
        rules_kept(&sim)?;
        nothing_leaked(&sim, None)?;
        tally.crowds = 1;
        tally.moves = counters.moves + counters.returns;
        tally.waits = counters.waits;
        Ok(tally)
    }
}

/// One thread, with what it has.
#[derive(Debug)]
struct Member<'a> {
    stack: &'a Stack,
    device: &'a Arc<dyn Device>,
    streams: Vec<Stream>,
    blocks: Vec<TrackedBlock>,
    aside: Vec<Box<dyn SetAside>>,
    inbox: Receiver<Parcel>,
    next: Sender<Parcel>,
    tally: Tally,
}

impl<'a> Member<'a> {
    fn new(
        stack: &'a Stack,
        device: &'a Arc<dyn Device>,
        inbox: Receiver<Parcel>,
        next: Sender<Parcel>,
    ) -> Result<Self, Finding> {
        let mut member = Self {
            stack,
            device,
            streams: Vec::new(),
            blocks: Vec::new(),
            aside: Vec::new(),
            inbox,
            next,
            tally: Tally::default(),
        };
        (0..STREAMS).try_for_each(|place| member.open(place))?;
        Ok(member)
    }

    fn open(&mut self, place: usize) -> Result<(), Finding> {
        let stream = match place {
            DEFAULT => Stream::per_thread_default(self.device),
            _ => Stream::new(self.device.clone())?,
        };
        self.streams.insert(place, stream);
        Ok(())
    }

    fn run(mut self, steps: &[Step]) -> Result<Tally, Finding> {
        for step in steps {
            self.step(step)?;
            self.tally.operations += 1;
            while let Ok(parcel) = self.inbox.try_recv() {
                self.unpack(parcel)?;
            }
            self.stack.inside.check_invariants();
        }
        self.aside.clear();
        // The next thread ends when it has seen all that this one sends, and so on round.
        self.next = channel().0;
        while let Ok(parcel) = self.inbox.recv() {
            self.unpack(parcel)?;
        }
        while !self.blocks.is_empty() {
            self.verify(0, 0)?;
            self.free(0, 1)?;
        }
        Ok(self.tally)
    }

    fn step(&mut self, step: &Step) -> Result<(), Finding> {
        let inside = &self.stack.inside;
        match *step {
            Step::Allocate { size, stream } => self.allocate(size, stream, None),
            Step::Write { block, stream } => match self.pick(block) {
                Some(place) => Ok(self.blocks[place].write(&self.streams[stream])?),
                None => Ok(()),
            },
            Step::Verify { block, stream } => self.verify(block, stream),
            Step::Free { block, stream } => self.free(block, stream),
            Step::HandOver { block } => {
                if let Some(place) = self.pick(block) {
                    let block = self.blocks.swap_remove(place);
                    self.send(Parcel::Block(block))?;
                }
                Ok(())
            }
            Step::Buffer { size } => self.buffer(size),
            Step::Cache { size, stream } => {
                unless_unwound(|| inside.fill_cache(size, &self.streams[stream]));
                Ok(())
            }
            Step::Reserve { size, stream } => {
                self.aside.truncate(1);
                match unless_unwound(|| inside.reserve(size, &self.streams[stream])) {
                    Some(Some(Ok(aside))) => self.aside.push(aside),
                    Some(Some(Err(error))) => self.may_refuse(error)?,
                    Some(None) | None => {}
                }
                Ok(())
            }
            Step::Draw { size, stream } => match self.aside.first() {
                Some(aside) => self.allocate(size, stream, Some(aside.id())),
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
                inside.set_limit(StackShape::CAPACITY / 800 * percent);
                Ok(())
            }
            Step::Trim => {
                inside.trim();
                Ok(())
            }
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
    ) -> Result<(), Finding> {
        let mut request = Request::new(BlockLayout::new(size)?, &self.streams[stream]);
        request.reservation = aside;
        match unless_unwound(|| TrackedBlock::allocate(&self.stack.resource, &request)) {
            Some(Ok(block)) => {
                self.blocks.push(block);
                Ok(())
            }
            Some(Err(error)) => self.may_refuse(error),
            None => Ok(()),
        }
    }

    fn may_refuse(&mut self, error: AllocError) -> Result<(), Finding> {
        let kind = error.kind();
        if !(kind.is_exhaustion() || kind == AllocErrorKind::NeverFits) {
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
            block.free(&self.stack.resource, &self.streams[stream])?;
        }
        Ok(())
    }

    fn buffer(&mut self, size: u64) -> Result<(), Finding> {
        let stream = &self.streams[HOME];
        let made = unless_unwound(|| DeviceBuffer::new(self.stack.resource.clone(), size, stream));
        match made {
            Some(Ok(mut buffer)) => {
                buffer.fill(0..size, FILLED)?;
                self.send(Parcel::Buffer(buffer))
            }
            Some(Err(error)) => self.may_refuse(error),
            None => Ok(()),
        }
    }

    /// Hands something to the next thread, or keeps it if that has given up.
    fn send(&mut self, parcel: Parcel) -> Result<(), Finding> {
        match self.next.send(parcel) {
            Ok(()) => Ok(()),
            Err(returned) => self.unpack(returned.0),
        }
    }

    fn unpack(&mut self, parcel: Parcel) -> Result<(), Finding> {
        match parcel {
            Parcel::Block(block) => self.blocks.push(block),
            Parcel::Buffer(mut buffer) => {
                buffer.wait_on(&self.streams[0])?;
                let bytes = buffer.to_vec()?;
                self.tally.verified += buffer.len();
                if bytes.iter().any(|&byte| byte != FILLED) {
                    return Err(Finding::new("a buffer lost bytes on its way to another thread"));
                }
                buffer.record_use(&self.streams[0])?;
            }
        }
        Ok(())
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

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a thread panicked: {}", text.unwrap_or("without a message"))
}

fn step() -> impl Strategy<Value = Step> + use<> {
    let (size, stream, block) = (1..=256_u64 << 10, 0..STREAMS, 0..32_usize);
    let on = || (block.clone(), stream.clone());
    let sized = || (size.clone(), stream.clone());
    prop_oneof![
        6 => sized().prop_map(|(size, stream)| Step::Allocate { size, stream }),
        4 => on().prop_map(|(block, stream)| Step::Write { block, stream }),
        2 => on().prop_map(|(block, stream)| Step::Verify { block, stream }),
        4 => on().prop_map(|(block, stream)| Step::Free { block, stream }),
        2 => block.clone().prop_map(|block| Step::HandOver { block }),
        2 => size.clone().prop_map(|size| Step::Buffer { size }),
        1 => sized().prop_map(|(size, stream)| Step::Cache { size, stream }),
        1 => sized().prop_map(|(size, stream)| Step::Reserve { size, stream }),
        1 => sized().prop_map(|(size, stream)| Step::Draw { size, stream }),
        1 => stream.clone().prop_map(|stream| Step::Retire { stream }),
        1 => (50..=100_u64).prop_map(|percent| Step::Limit { percent }),
        1 => Just(Step::Trim),
    ]
}
