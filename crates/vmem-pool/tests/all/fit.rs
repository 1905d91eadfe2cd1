//! Best fit and the identity of blocks, where many ranges are much alike.

use std::collections::HashSet;

use vmem_core::{Block, FreeErrorKind, MemoryResource, RawBlock, ResourceExt, Stream};
use vmem_pool::{Growth, PoolConfig};

use crate::support::{MIB, alloc, arena, chunks, device, finish, free, layout, on_both};

const KIB: u64 = 1 << 10;

/// Frees what no work was queued on, parts of a block that may not be one.
fn give(pool: &dyn MemoryResource, raw: RawBlock, stream: &Stream) -> Result<(), FreeErrorKind> {
    // SAFETY: for parts that are not a live block's this breaks the clause on purpose: the pool
    // must refuse them. No other `Block` of these parts exists, and no work was queued.
    let block = unsafe { Block::from_raw(raw) };
    // SAFETY: contract, freeing: no work was queued on the block.
    let freed = unsafe { pool.deallocate(block, stream) };
    freed.map_err(|error| {
        let kind = error.kind();
        let _ = error.into_block().into_raw();
        kind
    })
}

#[test]
fn among_few_holes_of_a_kind_the_smallest_and_lowest_that_fits_is_taken() {
    take_all_of(40);
}

#[test]
fn among_hundreds_of_holes_of_a_kind_the_smallest_and_lowest_that_fits_is_taken() {
    take_all_of(400);
}

/// A few pages.
const WALL: u64 = 8 * KIB;

/// Makes so many holes of about 64 KiB and fills them, a few grow meanwhile.
fn take_all_of(count: u64) {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default().with_initial(64 * MIB));
    let stream = Stream::new(device.clone()).unwrap();
    let size = |i: u64| 64 * KIB + (i * 7 % 15) * 256;
    // After every hole two blocks that stay: freeing the first makes the hole larger.
    let mut blocks = Vec::new();
    let mut walls = Vec::new();
    for i in 0..count {
        blocks.push(alloc(&pool, size(i), &stream));
        walls.push(Some(alloc(&pool, WALL, &stream)));
        walls.push(Some(alloc(&pool, WALL, &stream)));
    }
    let mut holes: Vec<(u64, u64)> = Vec::new();
    for block in blocks {
        holes.push((block.size(), block.ptr().get()));
        free(&pool, block, &stream);
    }
    let mut taken = Vec::new();
    let mut take = |holes: &mut Vec<(u64, u64)>, wanted: u64| {
        holes.sort_unstable();
        let best = holes.iter().position(|&(size, _)| size >= wanted).unwrap();
        let (_, start) = holes.remove(best);
        let block = alloc(&pool, wanted, &stream);
        assert_eq!(block.ptr().get(), start, "{wanted} B");
        taken.push(block);
    };
    for i in 0..count / 4 {
        take(&mut holes, size(i * 11));
    }
    for i in (1..count).step_by(3) {
        let wall = walls[usize::try_from(2 * i).unwrap()].take().unwrap();
        if let Some(hole) = holes.iter_mut().find(|(size, at)| at + size == wall.ptr().get()) {
            hole.0 += WALL;
        }
        free(&pool, wall, &stream);
    }
    for i in 0..count / 10 * 7 {
        take(&mut holes, 64 * KIB + (i % 4) * 256);
    }
    pool.handle().check_invariants();
    taken.into_iter().chain(walls.into_iter().flatten()).for_each(|b| free(&pool, b, &stream));
    drop(stream);
    finish(&device, pool);
}

#[test]
fn no_two_blocks_ever_have_the_same_parts() {
    on_both(&PoolConfig::default().with_initial(8 * MIB), |device, pool, _| {
        let stream = Stream::new(device.clone()).unwrap();
        let mut seen = HashSet::new();
        let mut live: Vec<Block> = Vec::new();
        for i in 0..3000_u64 {
            // Ranges are split, joined and split again, so that what described one describes others.
            if live.len() > 8 {
                let block = live.remove(usize::try_from(i * 7 % 9).unwrap());
                free(pool, block, &stream);
            } else {
                let block = alloc(pool, 256 * (1 + i % 5), &stream);
                let raw = block.raw();
                assert!(seen.insert((raw.slot(), raw.generation())), "{raw:?} was a block before");
                live.push(block);
            }
        }
        live.into_iter().for_each(|block| free(pool, block, &stream));
    });
}

#[test]
fn a_block_with_one_part_changed_is_refused_and_nothing_else_is_damaged() {
    on_both(&PoolConfig::default(), |device, pool, handle| {
        let stream = Stream::new(device.clone()).unwrap();
        let (block, other) = (alloc(pool, 8192, &stream), alloc(pool, 8192, &stream));
        let raw = block.into_raw();
        let other = other.into_raw();
        let forged = [
            raw.with_ptr(raw.ptr().checked_add(256).unwrap()),
            raw.with_ptr(other.ptr()),
            raw.with_layout(layout(8191)),
            raw.with_layout(layout(16384)),
            raw.with_slot(other.slot()),
            raw.with_slot(raw.slot() + 1000),
            raw.with_generation(raw.generation().wrapping_add(1)),
            raw.with_generation(raw.generation().wrapping_sub(1)),
        ];
        for parts in forged {
            assert_eq!(give(pool, parts, &stream), Err(FreeErrorKind::Stale), "{parts:?}");
            handle.check_invariants();
            assert_eq!(handle.find(raw.ptr()), Some(raw));
        }
        give(pool, raw, &stream).unwrap();
        assert_eq!(give(pool, raw, &stream), Err(FreeErrorKind::Stale), "freed already");
        // The same memory again, at the same address.
        let again = alloc(pool, 8192, &stream);
        assert_eq!(again.ptr(), raw.ptr());
        assert_eq!(give(pool, raw, &stream), Err(FreeErrorKind::Stale), "it is another block");
        free(pool, again, &stream);
        give(pool, other, &stream).unwrap();
    });
}

#[test]
fn an_alignment_is_honoured_by_the_smallest_range_that_can() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default().with_initial(8 * MIB));
    let stream = Stream::new(device.clone()).unwrap();
    // Two holes of 12 units: only the second, higher one holds 8 at a multiple of 8. The rest is there
    // to keep them apart.
    let unit = 32 * KIB;
    let sizes = [8, 312, 368, 16, 48, 16, 384, 256].map(|part| part * unit / 32);
    let mut blocks: Vec<Option<Block>> =
        sizes.iter().map(|&size| Some(alloc(&pool, size, &stream))).collect();
    let (low, high) = (blocks[2].take().unwrap(), blocks[6].take().unwrap());
    let (low_at, high_at) = (low.ptr(), high.ptr());
    free(&pool, low, &stream);
    free(&pool, high, &stream);
    let aligned = vmem_core::BlockLayout::with_alignment(8 * unit, 8 * unit).unwrap();
    let block = pool.allocate_on(aligned, &stream).unwrap();
    assert!(block.ptr().get().is_multiple_of(8 * unit));
    assert!(low_at < high_at && block.ptr() >= high_at);
    assert!(block.ptr().get() < high_at.get() + 12 * unit, "not the large range behind");
    free(&pool, block, &stream);
    blocks.into_iter().flatten().for_each(|block| free(&pool, block, &stream));
    drop(stream);
    finish(&device, pool);
}

#[test]
fn a_block_lies_aligned_inside_a_range_that_begins_elsewhere() {
    on_both(&PoolConfig::default().with_initial(8 * MIB), |device, pool, handle| {
        let stream = Stream::new(device.clone()).unwrap();
        let first = alloc(pool, 256, &stream);
        for alignment in [512, 4 * KIB, 64 * KIB, MIB] {
            let aligned = vmem_core::BlockLayout::with_alignment(256, alignment).unwrap();
            let block = pool.allocate_on(aligned, &stream).unwrap();
            assert!(block.ptr().get().is_multiple_of(alignment), "{} to {alignment}", block.ptr());
            handle.check_invariants();
            free(pool, block, &stream);
        }
        free(pool, first, &stream);
    });
}

#[test]
fn blocks_are_found_among_many_chunks() {
    let device = device();
    let config = PoolConfig::default().with_growth(Growth::Exact);
    let pool = chunks(device.clone(), config);
    let stream = Stream::new(device.clone()).unwrap();
    let wholes: Vec<Block> = (0..12).map(|_| alloc(&pool, MIB, &stream)).collect();
    wholes.into_iter().for_each(|block| free(&pool, block, &stream));
    let halves: Vec<Block> = (0..24).map(|_| alloc(&pool, MIB / 2, &stream)).collect();
    assert_eq!(pool.handle().snapshot().unwrap().segments.len(), 12);
    for block in &halves {
        assert_eq!(pool.handle().find(block.ptr()), Some(block.raw()));
    }
    halves.into_iter().for_each(|block| free(&pool, block, &stream));
    drop(stream);
    finish(&device, pool);
}
