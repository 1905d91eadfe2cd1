//! Implementing 6: a refusal leaves the resource as usable as it was.

use vmem_core::{AllocErrorKind, BlockLayout, Request, Stream};

use super::{Stop, Subject};
use crate::TrackedBlock;
use crate::finding::ensure;

/// RMM 8, 9: a pebibyte is refused, for lack of memory or for ever, with an error that names the
/// request; a hundred such refusals change nothing.
pub(super) fn a_pebibyte_is_refused(subject: &Subject<'_>) -> Result<(), Stop> {
    let stream = subject.stream()?;
    let mut bystander = subject.written(4096, &stream)?;
    let before = [subject.probe.live_bytes(), subject.probe.reserved_bytes()];
    for _ in 0..100 {
        is_refused(subject, BlockLayout::new(1 << 50)?, &stream)?;
    }
    let after = [subject.probe.live_bytes(), subject.probe.reserved_bytes()];
    ensure!(
        after[0] == before[0],
        "refusals changed the live bytes from {:?} to {:?}",
        before[0],
        after[0]
    );
    // A resource may try what it has before it refuses, so it may hold less, but not more.
    ensure!(
        after[1] <= before[1],
        "refusals changed the reserved bytes from {:?} to {:?}",
        before[1],
        after[1]
    );
    bystander.verify(&stream)?;
    subject.free(bystander, &stream)?;
    let large = subject.written(subject.budget / 2, &stream)?;
    subject.verify_and_free(large, &stream)?;
    subject.still_works(&stream)
}

/// Sizes whose rounding comes near 2⁶⁴ are refused rather than wrapped to small blocks, at every
/// kind of alignment.
pub(super) fn sizes_near_the_maximum_never_wrap(subject: &Subject<'_>) -> Result<(), Stop> {
    let stream = subject.stream()?;
    let mut bystander = subject.written(4096, &stream)?;
    for alignment in [1, 256, 4096, BlockLayout::MAX_ALIGNMENT] {
        for below in [0, 1, 255, 256, 10_000, BlockLayout::MAX_ALIGNMENT, 1 << 62] {
            let layout = BlockLayout::with_alignment(BlockLayout::MAX_SIZE - below, alignment)?;
            is_refused(subject, layout, &stream)?;
        }
    }
    bystander.verify(&stream)?;
    subject.free(bystander, &stream)?;
    subject.still_works(&stream)
}

/// RMM 22, 23, 32: a resource whose ceiling is within reach refuses when it is full, with what it
/// knows, and serves again as soon as something was freed.
pub(super) fn exhaustion_passes(subject: &Subject<'_>) -> Result<(), Stop> {
    let Some(ceiling) = subject.probe.ceiling() else {
        return Err(Stop::Skip("the probe names no ceiling"));
    };
    if ceiling > 2 * subject.budget {
        return Err(Stop::Skip("the ceiling is above twice the budget"));
    }
    let stream = subject.stream()?;
    let layout = BlockLayout::new(ceiling / 16)?;
    let request = Request::new(layout, &stream);
    let mut blocks = Vec::new();
    for _ in 0..3 {
        loop {
            match TrackedBlock::allocate(subject.resource, &request) {
                Ok(mut block) => {
                    block.write(&stream)?;
                    blocks.push(block);
                }
                Err(error) if error.kind().is_exhaustion() => break,
                Err(error) => return Err(error.into()),
            }
            let live: u64 = blocks.iter().map(TrackedBlock::size).sum();
            ensure!(live <= ceiling, "{live} B live under a ceiling of {ceiling} B");
        }
        ensure!(!blocks.is_empty(), "nothing fits under {ceiling} B");
        let room = blocks.swap_remove(blocks.len() / 2);
        subject.verify_and_free(room, &stream)?;
        let next = subject.allocate_as(layout, &stream)?;
        subject.free(next, &stream)?;
    }
    for block in blocks {
        subject.verify_and_free(block, &stream)?;
    }
    subject.still_works(&stream)
}

fn is_refused(subject: &Subject<'_>, layout: BlockLayout, stream: &Stream) -> Result<(), Stop> {
    let refused = subject.resource.allocate(&Request::new(layout, stream));
    subject.probe.check_invariants();
    match refused {
        Ok(block) => {
            let raw = block.into_raw();
            Err(crate::Finding::new(format!("{layout} was served with {raw:?}")).into())
        }
        Err(error) => {
            let kind = error.kind();
            ensure!(
                kind.is_exhaustion() || kind == AllocErrorKind::NeverFits,
                "{layout} was refused as {kind:?}: {error}"
            );
            ensure!(
                error.layout() == Some(layout),
                "the error on {layout} speaks of {:?}",
                error.layout()
            );
            Ok(())
        }
    }
}
