//! Implementing 1-3: disjoint, as asked, stable.

use vmem_core::{BlockLayout, DevicePtr, Stream};

use super::{Stop, Subject};
use crate::TrackedBlock;
use crate::finding::ensure;
use crate::rng::Rng;

/// RMM 4, 5: the smallest blocks, live at once, have addresses of their own, on every kind of
/// stream.
pub(super) fn small_blocks_are_distinct(subject: &Subject<'_>) -> Result<(), Stop> {
    let streams = [
        subject.stream()?,
        Stream::legacy_default(subject.device().clone()),
        Stream::per_thread_default(subject.device().clone()),
    ];
    for stream in &streams {
        let mut blocks = Vec::new();
        for size in [1, 8, 8, 256, 1, 257] {
            blocks.push(subject.written(size, stream)?);
        }
        are_disjoint(&blocks)?;
        for block in blocks {
            subject.verify_and_free(block, stream)?;
        }
    }
    Ok(())
}

/// RMM 7, 55, and implementing/as-asked: every power of two up to 2 MiB is honoured as an
/// alignment, at sizes below, at and above the usual granules, to the last byte.
pub(super) fn every_size_and_alignment_is_honoured(subject: &Subject<'_>) -> Result<(), Stop> {
    let stream = subject.stream()?;
    let sizes = [1, 4, 255, 257, 1 << 10, 4096, (64 << 10) + 1, 1 << 20];
    for (i, size) in (0_u32..).zip(sizes) {
        let mut previous: Option<TrackedBlock> = None;
        for log2 in 0..=BlockLayout::MAX_ALIGNMENT.ilog2() {
            let layout = BlockLayout::with_alignment(size + u64::from(log2 * i), 1 << log2)?;
            let mut block = subject.allocate_as(layout, &stream)?;
            block.write(&stream)?;
            if let Some(previous) = previous.replace(block) {
                subject.verify_and_free(previous, &stream)?;
            }
        }
        if let Some(last) = previous {
            subject.verify_and_free(last, &stream)?;
        }
    }
    let largest = subject.written(subject.budget / 2, &stream)?;
    subject.verify_and_free(largest, &stream)
}

/// A resource says the same of its blocks whenever it is asked.
pub(super) fn capabilities_stay_the_same(subject: &Subject<'_>) -> Result<(), Stop> {
    let first = subject.resource.capabilities();
    let stream = subject.stream()?;
    let block = subject.allocate(1 << 20, &stream)?;
    let second = subject.resource.capabilities();
    subject.free(block, &stream)?;
    ensure!(first == second, "{first:?} became {second:?}");
    Ok(())
}

/// RMM 10: a hundred blocks of random sizes, live at once, share no byte.
pub(super) fn live_blocks_do_not_overlap(subject: &Subject<'_>) -> Result<(), Stop> {
    let stream = subject.stream()?;
    let mut rng = subject.rng(10);
    let largest = (5 << 20).min(subject.budget / 100);
    let mut blocks = Vec::new();
    for _ in 0..100 {
        blocks.push(subject.written(rng.between(1, largest), &stream)?);
    }
    are_disjoint(&blocks)?;
    for block in blocks {
        subject.verify_and_free(block, &stream)?;
    }
    Ok(())
}

/// RMM 11, 55: a random mix of allocations and frees, in any order, keeps every byte.
pub(super) fn a_random_mix_keeps_every_byte(subject: &Subject<'_>) -> Result<(), Stop> {
    let stream = subject.stream()?;
    random_mix(subject, &mut subject.rng(11), subject.budget, &stream)
}

/// implementing/stable: blocks keep address and contents while the resource serves and takes
/// back many others around them.
pub(super) fn blocks_stay_put_under_churn(subject: &Subject<'_>) -> Result<(), Stop> {
    let (stream, other) = (subject.stream()?, subject.stream()?);
    let mut lasting = Vec::new();
    for i in 0..8 {
        let gap = subject.allocate(64 << 10, &stream)?;
        lasting.push(subject.written((1 << (2 * i)) + i, &stream)?);
        subject.free(gap, &stream)?;
    }
    let mut rng = subject.rng(3);
    for _ in 0..4 {
        random_mix(subject, &mut rng, subject.budget / 4, &other)?;
        let large = subject.written(subject.budget / 4, &other)?;
        subject.free(large, &other)?;
        for block in &mut lasting {
            block.verify(&stream)?;
        }
    }
    for block in lasting {
        subject.free(block, &stream)?;
    }
    Ok(())
}

/// Two hundred steps that allocate 53 times in a hundred and free a random block otherwise, holding
/// at most `budget` bytes. Ends with nothing live.
pub(super) fn random_mix(
    subject: &Subject<'_>,
    rng: &mut Rng,
    budget: u64,
    stream: &Stream,
) -> Result<(), Stop> {
    let mut blocks: Vec<TrackedBlock> = Vec::new();
    let mut live = 0;
    for _ in 0..200 {
        let size = rng.between(1, budget / 16);
        if rng.chance(53) && live + size <= budget {
            live += size;
            blocks.push(subject.written(size, stream)?);
            are_disjoint(&blocks)?;
        } else if !blocks.is_empty() {
            let block = blocks.swap_remove(rng.index(blocks.len()));
            live -= block.size();
            subject.verify_and_free(block, stream)?;
        }
    }
    for block in blocks {
        subject.verify_and_free(block, stream)?;
    }
    Ok(())
}

fn are_disjoint(blocks: &[TrackedBlock]) -> Result<(), Stop> {
    let mut ranges: Vec<(DevicePtr, u64)> = blocks.iter().map(|b| (b.ptr(), b.size())).collect();
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        let [(low, size), (high, _)] = [pair[0], pair[1]];
        ensure!(
            high.get() - low.get() >= size,
            "a block at {high} overlaps one of {size} B at {low}"
        );
    }
    Ok(())
}
