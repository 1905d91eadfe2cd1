//! Random programs of memory operations, and their execution beside a model.

mod aside;
mod buffers;
mod captured;
mod check;
mod elsewhere;
mod holds;
mod lent;
mod model;
mod outcome;
mod run;
mod strategy;

pub use outcome::{Divergence, Summary};
pub use strategy::Shape;

/// One step of a [`Program`].
///
/// Blocks, buffers and streams are named by any number, taken modulo how many there are at that
/// moment, so that every program means something and stays meaningful while it shrinks. A step on a
/// block or a buffer does nothing while there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Op {
    /// Asks for a block.
    Allocate {
        /// Its size, in bytes; at least 1.
        size: u64,
        /// Its alignment, in bytes; a power of two up to 2 MiB.
        alignment: u64,
        /// The request's stream.
        stream: usize,
        /// Which of a few labels the request carries.
        label: u8,
        /// Who asks.
        caller: Caller,
    },
    /// Asks for a pebibyte, which must be refused.
    Refuse {
        /// The request's stream.
        stream: usize,
    },
    /// Queues filling a block with new bytes.
    Write {
        /// The block.
        block: usize,
        /// The stream that writes.
        stream: usize,
    },
    /// Asks for a block like another and queues copying the bytes to it.
    Copy {
        /// The block to copy.
        block: usize,
        /// The stream of the new block and of the copy.
        stream: usize,
    },
    /// Compares a block's bytes with what they must be.
    Verify {
        /// The block.
        block: usize,
        /// The stream that reads.
        stream: usize,
    },
    /// Gives a block back, with whatever work is pending on it.
    Free {
        /// The block.
        block: usize,
        /// The stream it is freed on.
        stream: usize,
        /// Who frees.
        caller: Caller,
    },
    /// Makes a `DeviceBuffer` and fills it.
    Buffer {
        /// Its size, in bytes.
        size: u64,
        /// Its home stream.
        home: usize,
    },
    /// Fills a buffer on a stream, ordered as the buffer's rules ask.
    UseBuffer {
        /// The buffer.
        buffer: usize,
        /// The stream.
        user: usize,
    },
    /// Makes a copy of a buffer, with a home stream of its own.
    CloneBuffer {
        /// The buffer.
        buffer: usize,
        /// The copy's home stream.
        home: usize,
    },
    /// Gives a buffer another home stream.
    RehomeBuffer {
        /// The buffer.
        buffer: usize,
        /// The stream.
        home: usize,
    },
    /// Lets a buffer grow to twice its length, which may move it, compares the bytes it had, and
    /// fills it.
    GrowBuffer {
        /// The buffer.
        buffer: usize,
    },
    /// Compares a buffer's bytes.
    CheckBuffer {
        /// The buffer.
        buffer: usize,
    },
    /// Drops a buffer, with whatever work is pending on it.
    DropBuffer {
        /// The buffer.
        buffer: usize,
    },
    /// Drops a buffer while a stream, its home or another, captures, and asks for a block on another
    /// stream, which must neither join the capture nor break it. Does nothing where
    /// [`Capture`](Self::Capture) does not.
    DropInCapture {
        /// The buffer.
        buffer: usize,
        /// The stream that captures.
        stream: usize,
        /// The stream that asks.
        asker: usize,
        /// The block's size, in bytes.
        size: u64,
    },
    /// Offers a stream of another device wherever a stream is taken: each must be refused. Does
    /// nothing if the subject has no other device.
    Elsewhere {
        /// The block that is offered for freeing.
        block: usize,
        /// The buffer that is offered for use.
        buffer: usize,
        /// The stream that is asked to wait.
        stream: usize,
    },
    /// On a thread of its own, on that thread's default stream: asks for a block, writes it, frees
    /// another, and ends while the work is pending. The new block lives on.
    Thread {
        /// The new block's size, in bytes.
        size: u64,
        /// The block to free.
        block: usize,
    },
    /// On a stream that somebody else made: asks for a block and writes it, while the calls are
    /// vouched for. Then frees another there: vouched for too, or, if the stream ends, without a word
    /// after it was destroyed. The new block lives on. A stream that does not end serves the next
    /// such step. What is freed after the end is not given back before somebody waits for the device
    /// by the resource's handle, so random programs do not draw this by themselves.
    Lent {
        /// The new block's size, in bytes.
        size: u64,
        /// The block to free.
        block: usize,
        /// Whether the stream ends.
        ends: bool,
    },
    /// Captures a graph on a stream: a write to a block, and a request that may be refused because
    /// of the capture. Then launches the graph there once. Does nothing on the legacy default
    /// stream, which cannot capture, and where the subject's
    /// [`DeviceControl`](crate::DeviceControl) cannot.
    Capture {
        /// The stream.
        stream: usize,
        /// The block to write.
        block: usize,
        /// The size asked for during the capture, in bytes.
        size: u64,
    },
    /// Changes how many bytes may be live, if the subject's [`Probe`](crate::Probe) can.
    Limit {
        /// The new limit, in percent of the subject's budget.
        percent: u64,
    },
    /// Sets memory aside, if the subject's [`Probe`](crate::Probe) can.
    Reserve {
        /// How much, in bytes.
        size: u64,
        /// The stream in whose order.
        stream: usize,
    },
    /// Asks for a block out of memory that was set aside.
    Draw {
        /// Which.
        reservation: usize,
        /// The block's size, in bytes.
        size: u64,
        /// The request's stream.
        stream: usize,
    },
    /// Drops memory that was set aside, if blocks drawn from it are live or not.
    Release {
        /// Which.
        reservation: usize,
    },
    /// Lets a cache of the subject's own take a block, if its [`Probe`](crate::Probe) has one.
    Cache {
        /// The block's size, in bytes.
        size: u64,
        /// The block's stream.
        stream: usize,
    },
    /// Loses the device, if the subject's [`DeviceControl`](crate::DeviceControl) can. Nothing
    /// after it is run; what is live is freed as far as that is possible.
    Lose,
    /// Waits on the host for a stream.
    Synchronize {
        /// The stream.
        stream: usize,
    },
    /// Retires a stream and makes a new one in its place.
    Retire {
        /// The stream.
        stream: usize,
    },
    /// Drops a stream and makes a new one in its place.
    Drop {
        /// The stream.
        stream: usize,
    },
    /// Gives unused memory back, if the subject's [`Probe`](crate::Probe) can.
    Trim,
    /// Has the memory of live blocks rest on the host with its contents, or be the device's again, if the
    /// subject's [`Probe`](crate::Probe) can. The program goes on using the blocks either way.
    Rest {
        /// Which of the labels that requests carry; `None` for all blocks.
        label: Option<u8>,
        /// Whether it is to be the device's again.
        wakes: bool,
    },
}

/// Which thread makes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Caller {
    /// The one that runs the program.
    Runner,
    /// A thread started for this call alone. (It allocates on every stream but the runner's default
    /// one, which no other thread can name; it frees on that one too.)
    Other,
}

/// A sequence of operations on one resource.
///
/// Random ones come from proptest, `any_with::<Program>(shape)`, and shrink by losing steps.
///
/// ```
/// use proptest::prelude::*;
/// use vmem_core::DeviceMemory;
/// use vmem_sim::SimDevice;
/// use vmem_testkit::conformance::Subject;
/// use vmem_testkit::{Program, Shape};
///
/// # let config = proptest::test_runner::Config { cases: 4, ..Default::default() };
/// # let mut runner = proptest::test_runner::TestRunner::new(config);
/// // In a test: `proptest! { #[test] fn name(program in any_with::<Program>(shape)) { … } }`
/// runner
///     .run(&any_with::<Program>(Shape::default()), |program| {
///         let device = SimDevice::new(1 << 30);
///         let memory = DeviceMemory::new(device.clone());
///         let ran = program.run(&Subject::new(&memory));
///         prop_assert!(ran.is_ok(), "{}", ran.unwrap_err());
///         device.assert_clean();
///         Ok(())
///     })
///     .unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The number of streams, at least 1: the first is an owned one, the second another,
    /// the third the legacy default, the fourth the runner's own default stream, all further owned.
    pub streams: usize,
    /// The steps.
    pub ops: Vec<Op>,
}
