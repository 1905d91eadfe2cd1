//! How random programs are drawn.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Caller, Op, Program};
use vmem_core::BlockLayout;

/// Bounds of random programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The most steps a program has; at least 1.
    pub max_ops: usize,
    /// The largest block asked for, in bytes; at least 1.
    pub max_size: u64,
    /// The number of [streams](Program::streams) of a program; at least 1.
    pub streams: usize,
    /// Whether blocks [rest](Op::Rest) now and then, where the subject's [`Probe`](crate::Probe) can make
    /// them.
    pub rests: bool,
}

impl Default for Shape {
    /// Up to 100 steps with blocks up to 4 MiB on five streams.
    fn default() -> Self {
        Self { max_ops: 100, max_size: 4 << 20, streams: 5, rests: false }
    }
}

impl Arbitrary for Program {
    type Parameters = Shape;
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with(shape: Shape) -> Self::Strategy {
        let streams = shape.streams;
        let ops = vec(op(&shape), 1..=shape.max_ops);
        let end = prop_oneof![19 => Just(None), 1 => Just(Some(Op::Lose))];
        (ops, end)
            .prop_map(move |(mut ops, end)| {
                ops.extend(end);
                Self { streams, ops }
            })
            .boxed()
    }
}

impl Arbitrary for Op {
    type Parameters = Shape;
    type Strategy = BoxedStrategy<Self>;

    /// Any step but the last, [`Op::Lose`], and [`Op::Lent`].
    fn arbitrary_with(shape: Shape) -> Self::Strategy {
        op(&shape).boxed()
    }
}

fn op(shape: &Shape) -> impl Strategy<Value = Op> + use<> {
    let stream = 0..shape.streams;
    let block = 0..64_usize;
    let on = || (block.clone(), stream.clone());
    let allocate = (size(shape.max_size), alignment(), stream.clone(), 0..4_u8, caller());
    let (more, last) = match shape.rests {
        false => (1, Just(Op::Trim).boxed()),
        // Each waits for the device, which hides what is not ordered: few, so that the rest is found too.
        true => (2, prop_oneof![Just(Op::Trim), rest()].boxed()),
    };
    prop_oneof![
        8 => allocate.prop_map(|(size, alignment, stream, label, caller)| Op::Allocate {
            size, alignment, stream, label, caller,
        }),
        6 => (on(), caller()).prop_map(|((block, stream), caller)| Op::Free {
            block, stream, caller,
        }),
        6 => on().prop_map(|(block, stream)| Op::Write { block, stream }),
        2 => on().prop_map(|(block, stream)| Op::Copy { block, stream }),
        2 => on().prop_map(|(block, stream)| Op::Verify { block, stream }),
        10 => buffers(shape),
        1 => (size(shape.max_size), block.clone())
            .prop_map(|(size, block)| Op::Thread { size, block }),
        1 => (on(), size(shape.max_size))
            .prop_map(|((block, stream), size)| Op::Capture { stream, block, size }),
        1 => (25..=100_u64).prop_map(|percent| Op::Limit { percent }),
        1 => (size(shape.max_size), stream.clone())
            .prop_map(|(size, stream)| Op::Reserve { size, stream }),
        2 => (0..8_usize, size(shape.max_size / 4 + 1), stream.clone())
            .prop_map(|(reservation, size, stream)| Op::Draw { reservation, size, stream }),
        1 => (0..8_usize).prop_map(|reservation| Op::Release { reservation }),
        1 => (size(shape.max_size), stream.clone())
            .prop_map(|(size, stream)| Op::Cache { size, stream }),
        1 => stream.clone().prop_map(|stream| Op::Synchronize { stream }),
        1 => stream.clone().prop_map(|stream| Op::Retire { stream }),
        1 => stream.clone().prop_map(|stream| Op::Drop { stream }),
        1 => stream.clone().prop_map(|stream| Op::Refuse { stream }),
        more => last,
    ]
}

fn rest() -> impl Strategy<Value = Op> {
    (proptest::option::of(0..4_u8), any::<bool>())
        .prop_map(|(label, wakes)| Op::Rest { label, wakes })
}

/// Steps with buffers.
fn buffers(shape: &Shape) -> impl Strategy<Value = Op> + use<> {
    let stream = 0..shape.streams;
    let buffer = 0..64_usize;
    let on = || (buffer.clone(), stream.clone());
    prop_oneof![
        3 => (size(shape.max_size / 4 + 1), stream.clone())
            .prop_map(|(size, home)| Op::Buffer { size, home }),
        4 => on().prop_map(|(buffer, user)| Op::UseBuffer { buffer, user }),
        2 => on().prop_map(|(buffer, home)| Op::CloneBuffer { buffer, home }),
        1 => on().prop_map(|(buffer, home)| Op::RehomeBuffer { buffer, home }),
        1 => buffer.clone().prop_map(|buffer| Op::GrowBuffer { buffer }),
        1 => buffer.clone().prop_map(|buffer| Op::CheckBuffer { buffer }),
        3 => buffer.clone().prop_map(|buffer| Op::DropBuffer { buffer }),
        1 => (on(), stream.clone(), size(shape.max_size / 4 + 1))
            .prop_map(|((buffer, stream), asker, size)| Op::DropInCapture {
                buffer, stream, asker, size,
            }),
        1 => (on(), 0..64_usize)
            .prop_map(|((buffer, stream), block)| Op::Elsewhere { block, buffer, stream }),
    ]
}

/// Small sizes, sizes of every magnitude, and the same few sizes again and again: a pool treats
/// these three differently.
fn size(max: u64) -> impl Strategy<Value = u64> + use<> {
    let small = 1..=max.min(4096);
    let any_magnitude = (0..=max.ilog2()).prop_flat_map(move |log2| {
        let low = 1_u64 << log2;
        low..=(2 * low - 1).min(max)
    });
    let again = (0..=max.ilog2()).prop_map(|log2| 1_u64 << log2);
    prop_oneof![3 => small, 2 => any_magnitude, 3 => again]
}

fn alignment() -> impl Strategy<Value = u64> {
    let any = (0..=BlockLayout::MAX_ALIGNMENT.ilog2()).prop_map(|log2| 1_u64 << log2);
    prop_oneof![4 => Just(BlockLayout::DEFAULT_ALIGNMENT), 1 => any]
}

fn caller() -> impl Strategy<Value = Caller> {
    prop_oneof![5 => Just(Caller::Runner), 1 => Just(Caller::Other)]
}
