//! Implementing 4: only a live block of the resource's own is taken back.

use vmem_core::{
    AllocErrorKind, Block, BlockLayout, DeviceMemory, FreeErrorKind, RawBlock, Request, Stream,
};

use super::{Stop, Subject};
use crate::TrackedBlock;
use crate::finding::ensure;

/// A block of another resource on the same device is refused as foreign and comes back unharmed,
/// so that its true owner can free it.
pub(super) fn foreign_blocks_are_given_back(subject: &Subject<'_>) -> Result<(), Stop> {
    let stream = subject.stream()?;
    let other = DeviceMemory::new(subject.device().clone());
    let mut own = subject.written(4096, &stream)?;
    let request = Request::new(BlockLayout::new(4096)?, &stream);
    let mut foreign = TrackedBlock::allocate(&other, &request)?;
    foreign.write(&stream)?;
    for _ in 0..2 {
        let before = foreign.block().raw();
        foreign = match foreign.free(subject.resource, &stream) {
            Ok(()) => return refuse_acceptance("another resource's block", before),
            Err(refusal) => {
                ensure!(
                    refusal.kind() == FreeErrorKind::Foreign,
                    "a foreign block was refused as {:?}",
                    refusal.kind()
                );
                refusal.into_block()
            }
        };
        let after = foreign.block().raw();
        ensure!(after == before, "{before:?} came back as {after:?}");
        subject.probe.check_invariants();
    }
    own.verify(&stream)?;
    foreign.verify(&stream)?;
    foreign.free(&other, &stream)?;
    subject.free(own, &stream)?;
    subject.still_works(&stream)
}

/// A block that was freed is refused as stale, at once and after its memory was handed out again;
/// the new owner keeps its block and its bytes.
pub(super) fn stale_blocks_are_given_back(subject: &Subject<'_>) -> Result<(), Stop> {
    let stream = subject.stream()?;
    for size in [64, 4096, 1 << 20] {
        let first = subject.written(size, &stream)?;
        let stale = first.block().raw();
        subject.free(first, &stream)?;
        is_refused(subject, stale, FreeErrorKind::Stale, "freed", &stream)?;
        let mut next = Vec::new();
        for _ in 0..3 {
            next.push(subject.written(size, &stream)?);
            is_refused(subject, stale, FreeErrorKind::Stale, "reused", &stream)?;
        }
        for block in next {
            subject.verify_and_free(block, &stream)?;
        }
    }
    subject.still_works(&stream)
}

/// Blocks that the resource never issued, made up from parts of one that it did, are refused, and
/// the real one stays live.
pub(super) fn forged_blocks_are_given_back(subject: &Subject<'_>) -> Result<(), Stop> {
    let stream = subject.stream()?;
    let mut own = subject.written(8192, &stream)?;
    let real = own.block().raw();
    let inside = real.ptr().checked_add(4096);
    let inside = inside.expect("the block has twice as many bytes");
    let forgeries = [
        ("slot", real.with_slot(u32::MAX)),
        ("slot", real.with_slot(real.slot().wrapping_add(1))),
        ("generation", real.with_generation(real.generation().wrapping_add(1))),
        ("generation", real.with_generation(real.generation().wrapping_sub(1))),
        ("address", real.with_ptr(inside)),
    ];
    for (what, forged) in forgeries {
        is_refused(subject, forged, FreeErrorKind::Stale, what, &stream)?;
        own.verify(&stream)?;
    }
    subject.free(own, &stream)?;
    subject.still_works(&stream)
}

/// A stream of another device is refused, for allocating and for freeing, and harms nothing.
pub(super) fn streams_of_another_device_are_refused(subject: &Subject<'_>) -> Result<(), Stop> {
    let Some(other) = &subject.other_device else {
        return Err(Stop::Skip("the subject names no other device"));
    };
    let (stream, strange) = (subject.stream()?, Stream::new(other.clone())?);
    let request = Request::new(BlockLayout::new(4096)?, &strange);
    match subject.resource.allocate(&request) {
        Ok(block) => return refuse_acceptance("another device's stream", block.into_raw()),
        Err(error) => ensure!(
            error.kind() == AllocErrorKind::InvalidStream,
            "another device's stream was refused as {:?}",
            error.kind()
        ),
    }
    let mut own = subject.written(4096, &stream)?;
    own.verify(&stream)?;
    // SAFETY: misuse on purpose, which the resource must refuse: freeing/valid-stream does not
    // hold.
    let freed = unsafe { subject.resource.deallocate(copy(own.block().raw()), &strange) };
    match freed {
        Ok(()) => return refuse_acceptance("another device's stream", own.block().raw()),
        Err(refusal) => ensure!(
            refusal.kind() == FreeErrorKind::InvalidStream,
            "another device's stream was refused as {:?}",
            refusal.kind()
        ),
    }
    subject.verify_and_free(own, &stream)?;
    subject.still_works(&stream)
}

/// A second block of the same parts, for misuse that the resource must refuse.
fn copy(raw: RawBlock) -> Block {
    // SAFETY: misuse on purpose: the parts are not, or not only here, those of a live block. Only
    // the resource sees the block, and implementing/owned asks it to refuse.
    unsafe { Block::from_raw(raw) }
}

pub(super) fn is_refused(
    subject: &Subject<'_>,
    raw: RawBlock,
    kind: FreeErrorKind,
    what: &str,
    stream: &Stream,
) -> Result<(), Stop> {
    // SAFETY: misuse on purpose, which the resource must refuse; no access to the parts' memory is
    // queued by it.
    let freed = unsafe { subject.resource.deallocate(copy(raw), stream) };
    subject.probe.check_invariants();
    let Err(refusal) = freed else {
        return refuse_acceptance(what, raw);
    };
    ensure!(refusal.kind() == kind, "{what}: {raw:?} was refused as {:?}", refusal.kind());
    let back = refusal.into_block().into_raw();
    ensure!(back == raw, "{what}: {raw:?} came back as {back:?}");
    Ok(())
}

fn refuse_acceptance(what: &str, raw: RawBlock) -> Result<(), Stop> {
    Err(crate::Finding::new(format!("{what}: {raw:?} was accepted")).into())
}
