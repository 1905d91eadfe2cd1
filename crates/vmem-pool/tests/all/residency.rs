//! Blocks whose memory goes to the host and comes back.

use vmem_core::{Block, Contents, DriverCode, Residency, ResidencyErrorKind, Resting, Stream};
use vmem_pool::PoolConfig;
use vmem_sim::CallKind;

use crate::resting::Bench;
use crate::support::{SMALL, alloc, chunks, device, finish, free, riddle, tight};

#[test]
fn a_block_goes_to_the_host_and_comes_back_at_its_address_with_what_it_holds() {
    let bench = Bench::new(32, PoolConfig::default());
    let block = bench.alloc(8 * SMALL);
    bench.write(&block, 7);
    let moved = bench.demote(&[&block], Contents::Kept);
    assert_eq!((moved.device, moved.copied, moved.stayed), (8 * SMALL, 8 * SMALL, 0));
    assert_eq!((bench.device.used(), bench.device.host_used()), (0, 8 * SMALL));
    assert_eq!(bench.counters().on_host, 8 * SMALL);
    assert_eq!(bench.residence(&block).host, 8 * SMALL);
    // On the host it is slow, and right.
    bench.check(&block, 7);
    bench.write(&block, 9);
    let moved = bench.promote(&[&block]);
    assert_eq!((moved.device, moved.copied, moved.stayed), (8 * SMALL, 8 * SMALL, 0));
    assert_eq!((bench.device.used(), bench.device.host_used()), (8 * SMALL, 0));
    assert!(bench.residence(&block).is_on_device());
    bench.check(&block, 9);
    bench.free(block);
    bench.finish();
}

#[test]
fn discarded_contents_leave_an_address_with_nothing_behind_it() {
    let bench = Bench::new(32, PoolConfig::default());
    let [kept, gone] = [3, 5].map(|granules| bench.alloc(granules * SMALL));
    bench.write(&kept, 1);
    bench.write(&gone, 2);
    bench.demote(&[&kept], Contents::Kept);
    // What rests on the host already is given up there.
    let moved = bench.demote(&[&gone, &kept], Contents::Discarded);
    assert_eq!((moved.device, moved.copied), (5 * SMALL, 0));
    assert_eq!((bench.device.used(), bench.device.host_used()), (0, 0));
    let residence = bench.residence(&kept);
    assert_eq!((residence.discarded, residence.is_accessible()), (3 * SMALL, false));
    let moved = bench.promote(&[&kept, &gone]);
    assert_eq!((moved.device, moved.copied), (8 * SMALL, 0));
    bench.write(&kept, 3);
    bench.check(&kept, 3);
    bench.free(kept);
    bench.free(gone);
    bench.finish();
}

#[test]
fn a_block_that_rests_is_freed_like_any_other_and_the_host_gets_its_memory_back() {
    for contents in [Contents::Kept, Contents::Discarded] {
        let bench = Bench::new(16, PoolConfig::default());
        let [block, other] = [(); 2].map(|()| bench.alloc(6 * SMALL));
        bench.write(&other, 5);
        bench.demote(&[&block], contents);
        bench.check(&other, 5);
        if contents == Contents::Kept {
            // Work on the host's memory that is pending when the block is freed.
            bench.write(&block, 6);
        }
        bench.free(block);
        bench.handle.check_invariants();
        // The addresses are not handed out while nothing or the host is behind them.
        let new = bench.alloc(9 * SMALL);
        bench.write(&new, 8);
        bench.check(&new, 8);
        bench.check(&other, 5);
        bench.stream.synchronize().unwrap();
        bench.handle.trim_to(0).unwrap();
        assert_eq!((bench.device.host_used(), bench.counters().on_host), (0, 0));
        bench.free(new);
        bench.free(other);
        bench.finish();
    }
}

#[test]
fn a_handle_that_blocks_share_moves_when_all_of_them_do() {
    let bench = Bench::new(32, PoolConfig::default());
    let [a, b, c] = [(); 3].map(|()| bench.alloc(SMALL / 4));
    let all = [&a, &b, &c];
    for (tag, block) in (1..).zip(all) {
        bench.write(block, tag);
    }
    let moved = bench.demote(&[&a, &c], Contents::Kept);
    assert_eq!((moved.device, moved.stayed), (0, SMALL / 2));
    assert_eq!(bench.residence(&a).shared, SMALL / 4);
    let moved = bench.demote(&all, Contents::Kept);
    assert_eq!((moved.device, moved.stayed), (SMALL, 0));
    let moved = bench.promote(&[&a]);
    assert_eq!((moved.device, moved.stayed), (0, SMALL / 4), "the others might be in use");
    bench.free(b);
    for (tag, block) in [(1, &a), (3, &c)] {
        bench.check(block, tag);
    }
    bench.promote(&[&a, &c]);
    for (tag, block) in [(1, &a), (3, &c)] {
        bench.check(block, tag);
    }
    // What was freed on the host is free on the device.
    let again = bench.alloc(SMALL / 2);
    assert_eq!(bench.counters().reserved, SMALL);
    [a, c, again].into_iter().for_each(|block| bench.free(block));
    bench.finish();
}

#[test]
fn memory_that_is_lent_to_a_block_moves_too_and_is_at_home_there_from_then_on() {
    let bench = Bench::new(24, tight());
    let kept = riddle(&bench.pool, SMALL, 24, &bench.stream);
    bench.stream.synchronize().unwrap();
    // Of several places: it uses memory that is at home elsewhere.
    let block = bench.alloc(5 * SMALL);
    assert!(bench.counters().moves > 0);
    bench.write(&block, 4);
    let moved = bench.demote(&[&block], Contents::Kept);
    assert_eq!((moved.device, moved.stayed), (5 * SMALL, 0));
    bench.check(&block, 4);
    bench.promote(&[&block]);
    bench.check(&block, 4);
    assert!(bench.residence(&block).is_on_device());
    bench.demote(&[&block], Contents::Kept);
    bench.free(block);
    let block = bench.alloc(4 * SMALL);
    bench.write(&block, 2);
    bench.demote(&[&block], Contents::Kept);
    bench.promote(&[&block]);
    bench.check(&block, 2);
    bench.free(block);
    // What was settled there is free like any other memory, and can be gathered again.
    let block = bench.alloc(10 * SMALL);
    bench.write(&block, 3);
    bench.check(&block, 3);
    bench.free(block);
    kept.into_iter().for_each(|block| bench.free(block));
    bench.finish();
}

#[test]
fn what_has_settled_where_it_was_lent_is_not_taken_for_memory_that_could_be_returned() {
    let bench = Bench::new(24, tight().with_ceiling(24 * SMALL));
    let kept = riddle(&bench.pool, SMALL, 24, &bench.stream);
    bench.stream.synchronize().unwrap();
    let block = bench.alloc(5 * SMALL);
    bench.demote(&[&block], Contents::Kept);
    bench.promote(&[&block]);
    assert_eq!(bench.counters().reserved, 24 * SMALL);
    let capacity = bench.handle.capacity().unwrap();
    assert_eq!(capacity.largest_after_trim, Some(7 * SMALL));
    assert_eq!(bench.handle.trim_to(0).unwrap(), 7 * SMALL);
    bench.free(block);
    kept.into_iter().for_each(|block| bench.free(block));
    bench.finish();
}

#[test]
fn the_lower_end_of_a_handle_that_is_lent_stays_and_is_counted() {
    let bench = Bench::new(64, tight());
    // One handle of which the upper part is in use, and its lower end is free.
    let [low, high] = [SMALL / 2, SMALL / 2].map(|size| bench.alloc(size));
    bench.free(low);
    bench.stream.synchronize().unwrap();
    let whole = riddle(&bench.pool, SMALL, 60, &bench.stream);
    bench.stream.synchronize().unwrap();
    let block = bench.alloc(4 * SMALL + SMALL / 2);
    bench.write(&high, 1);
    bench.write(&block, 2);
    let shared = bench.residence(&block).shared;
    let moved = bench.demote(&[&block], Contents::Kept);
    assert_eq!(moved.stayed, shared);
    assert_eq!(moved.device, block.size() - shared);
    bench.check(&high, 1);
    bench.check(&block, 2);
    bench.promote(&[&block]);
    bench.check(&block, 2);
    bench.demote(&[&block], Contents::Kept);
    bench.free(block);
    bench.check(&high, 1);
    bench.free(high);
    whole.into_iter().for_each(|block| bench.free(block));
    bench.finish();
}

/// A block of five granules in the upper end of one handle, four whole ones and the lower end of another;
/// what is in use of those two; and what is in use beside it.
fn between_two_ends(bench: &Bench) -> (Block, [Block; 2], Vec<Block>) {
    let half = SMALL / 2;
    let [low, upper] = [half, half].map(|size| bench.alloc(size));
    let kept = riddle(&bench.pool, SMALL, 8, &bench.stream);
    let [lower, high] = [half, half].map(|size| bench.alloc(size));
    bench.free(upper);
    bench.free(lower);
    bench.stream.synchronize().unwrap();
    (bench.alloc(5 * SMALL), [low, high], kept)
}

#[test]
fn of_a_block_between_two_ends_of_handles_the_whole_ones_move() {
    let bench = Bench::new(10, tight());
    let (block, [low, high], kept) = between_two_ends(&bench);
    let written = [(&low, 1), (&block, 2), (&high, 3)];
    written.iter().for_each(|(block, tag)| bench.write(block, *tag));
    assert_eq!(bench.residence(&block).shared, SMALL);
    for _ in 0..2 {
        let moved = bench.demote(&[&block], Contents::Kept);
        assert_eq!((moved.device, moved.stayed), (4 * SMALL, SMALL));
        written.iter().for_each(|(block, tag)| bench.check(block, *tag));
        bench.promote(&[&block]);
        written.iter().for_each(|(block, tag)| bench.check(block, *tag));
    }
    bench.free(block);
    // Both ends are free where they are at home.
    let ends = [(); 2].map(|()| bench.alloc(SMALL / 2));
    assert_eq!(bench.counters().reserved, 10 * SMALL);
    kept.into_iter().chain(ends).chain([low, high]).for_each(|block| bench.free(block));
    bench.finish();
}

#[test]
fn a_block_between_two_ends_moves_after_its_handles_could_be_settled_in_part_only() {
    let bench = Bench::new(10, tight());
    let (block, others, kept) = between_two_ends(&bench);
    bench.write(&block, 1);
    bench.device.fail_call(Some(CallKind::Unmap), 2, DriverCode::UNKNOWN);
    assert_eq!(bench.cannot_demote(&[&block], Contents::Kept), ResidencyErrorKind::Driver);
    bench.device.clear_failures();
    bench.check(&block, 1);
    assert_eq!(bench.residence(&block).shared, SMALL);
    let moved = bench.demote(&[&block], Contents::Kept);
    assert_eq!((moved.device, moved.stayed), (4 * SMALL, SMALL));
    bench.check(&block, 1);
    // It is freed while it rests.
    bench.free(block);
    kept.into_iter().chain(others).for_each(|block| bench.free(block));
    bench.finish();
}

#[test]
fn nothing_of_a_block_in_chunks_can_move() {
    let device = device();
    let pool = chunks(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    let block = alloc(&pool, SMALL, &stream);
    let residence = pool.handle().residence(&block.raw()).unwrap();
    assert_eq!((residence.device, residence.shared), (SMALL, SMALL));
    free(&pool, block, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn free_memory_that_work_may_touch_keeps_its_handle_where_it_is() {
    let bench = Bench::new(32, PoolConfig::default());
    let [a, b] = [(); 2].map(|()| bench.alloc(SMALL / 2));
    bench.write(&a, 1);
    bench.stream.synchronize().unwrap();
    let other = bench.stream();
    // SAFETY: contract, devices/ranges: a live block.
    unsafe {
        let kernel = vmem_sim::Kernel::write_pattern(b.ptr(), b.size(), 2);
        bench.device.launch(&other, kernel.taking(std::time::Duration::from_secs(9))).unwrap();
    }
    free(&bench.pool, b, &other);
    // SAFETY: no work is pending on the block itself.
    let moved = unsafe { bench.handle.demote(&[a.raw()], Contents::Kept) }.unwrap();
    assert_eq!((moved.device, moved.stayed), (0, SMALL / 2));
    other.synchronize().unwrap();
    let moved = bench.demote(&[&a], Contents::Kept);
    assert_eq!((moved.device, moved.stayed), (SMALL, 0));
    bench.promote(&[&a]);
    bench.check(&a, 1);
    bench.free(a);
    drop(other);
    bench.finish();
}

#[test]
fn the_host_is_used_up_to_its_ceiling_and_nothing_moves_beyond_it() {
    let bench = Bench::new(32, PoolConfig::default().with_host_ceiling(6 * SMALL));
    let [a, b] = [(); 2].map(|()| bench.alloc(4 * SMALL));
    bench.write(&a, 1);
    bench.write(&b, 2);
    assert_eq!(bench.handle.host_room(), 6 * SMALL);
    let kind = bench.cannot_demote(&[&a, &b], Contents::Kept);
    assert_eq!(kind, ResidencyErrorKind::HostFull);
    assert_eq!((bench.device.host_used(), bench.counters().reserved), (0, 8 * SMALL));
    bench.demote(&[&a], Contents::Kept);
    assert_eq!(bench.handle.host_room(), 2 * SMALL);
    bench.check(&a, 1);
    bench.check(&b, 2);
    bench.free(a);
    bench.free(b);
    bench.finish();
}

#[test]
fn a_reserve_on_the_host_is_recycled_and_given_back_when_asked() {
    let bench = Bench::new(64, PoolConfig::default());
    bench.handle.fill_host_reserve(16 * SMALL).unwrap();
    assert_eq!(bench.counters().host_reserve, 16 * SMALL);
    let block = bench.alloc(12 * SMALL);
    bench.write(&block, 3);
    let before = bench.device.calls();
    for _ in 0..3 {
        bench.demote(&[&block], Contents::Kept);
        assert_eq!(bench.counters().host_reserve, 4 * SMALL);
        bench.promote(&[&block]);
    }
    let made = bench.device.calls() - before;
    assert_eq!(made.of(CallKind::CreateOnHost), 0);
    bench.check(&block, 3);
    bench.free(block);
    bench.handle.fill_host_reserve(0).unwrap();
    assert_eq!(bench.device.host_used(), 0);
    bench.finish();
}

#[test]
fn blocks_of_others_and_freed_ones_are_refused_and_nothing_moves() {
    let bench = Bench::new(32, PoolConfig::default());
    let (a, b) = (bench.alloc(SMALL), bench.alloc(SMALL));
    let stale = b.raw();
    bench.free(b);
    bench.stream.synchronize().unwrap();
    // SAFETY: no work is pending.
    let error = unsafe { bench.handle.demote(&[a.raw(), stale], Contents::Kept) }.unwrap_err();
    assert_eq!(error.kind(), ResidencyErrorKind::NotLive);
    assert_eq!(bench.device.host_used(), 0);
    assert!(bench.handle.residence(&stale).is_none());
    assert_eq!(bench.handle.block_at(a.ptr()), Some(a.raw()));
    bench.free(a);
    bench.finish();
}

#[test]
fn away_are_the_bytes_of_live_blocks_that_take_no_room_on_the_device() {
    let bench = Bench::new(64, PoolConfig::default().with_resting(Resting::Planned));
    // Less than a granule is requested of the last one.
    let size = 7 * SMALL + 300;
    let [kept, discarded, freed] = [(); 3].map(|()| bench.alloc(size));
    let left = bench.alloc(SMALL);
    bench.demote(&[&kept, &freed], Contents::Kept);
    bench.demote(&[&discarded], Contents::Discarded);
    let of = |blocks: &[&Block]| -> u64 {
        let away =
            blocks.iter().map(|block| bench.residence(block)).map(|it| it.host + it.discarded);
        away.map(|away| away.min(size)).sum()
    };
    let before = bench.counters().away;
    assert_eq!(before, of(&[&kept, &discarded, &freed]));
    assert!(before > 15 * SMALL, "{before}");
    // At once, although the host's memory goes back later only.
    let on_host = bench.counters().on_host;
    let gone = of(&[&freed]);
    assert!(gone > 0);
    bench.free(freed);
    assert_eq!((bench.counters().away, bench.counters().on_host), (before - gone, on_host));
    bench.promote(&[&kept, &discarded]);
    assert_eq!(bench.counters().away, 0);
    [kept, discarded, left].into_iter().for_each(|block| bench.free(block));
    bench.finish();
}

#[test]
fn a_device_without_memory_on_the_host_can_still_discard() {
    let parts = vmem_sim::Parts::all() - vmem_sim::Parts::HOST_HANDLES;
    let bench = Bench::with_parts(32, PoolConfig::default(), parts);
    let block = bench.alloc(2 * SMALL);
    let kind = bench.cannot_demote(&[&block], Contents::Kept);
    assert_eq!((kind, bench.handle.host_room()), (ResidencyErrorKind::Unsupported, 0));
    bench.demote(&[&block], Contents::Discarded);
    bench.promote(&[&block]);
    bench.write(&block, 1);
    bench.free(block);
    bench.finish();
}

#[test]
fn what_rests_already_neither_moves_nor_counts_as_what_stays() {
    let bench = Bench::new(32, PoolConfig::default());
    let block = bench.alloc(4 * SMALL);
    for contents in [Contents::Kept, Contents::Discarded] {
        bench.demote(&[&block], contents);
        let again = bench.demote(&[&block], contents);
        assert_eq!((again.device, again.copied, again.stayed), (0, 0, 0), "{contents:?}");
    }
    bench.free(block);
    bench.finish();
}

#[test]
fn a_block_can_rest_on_the_host_in_part_while_the_rest_of_it_is_discarded() {
    let bench = Bench::new(32, PoolConfig::default());
    let half = SMALL / 2;
    let [block, beside] = [SMALL + half, half].map(|size| bench.alloc(size));
    let moved = bench.demote(&[&block], Contents::Discarded);
    assert_eq!((moved.device, moved.stayed), (SMALL, half), "one handle is shared");
    bench.free(beside);
    let moved = bench.demote(&[&block], Contents::Kept);
    assert_eq!((moved.device, moved.stayed), (SMALL, 0));
    let it = bench.residence(&block);
    assert_eq!((it.device, it.host, it.discarded, it.displaced), (0, half, SMALL, 0));
    bench.promote(&[&block]);
    assert_eq!(bench.residence(&block).device, SMALL + half);
    bench.free(block);
    bench.finish();
}

#[test]
fn blocks_that_went_together_come_back_alone_with_the_handles_that_are_theirs() {
    let bench = Bench::new(32, PoolConfig::default());
    // The first two share a handle, the others have whole ones.
    let sizes = [SMALL + SMALL / 2, SMALL + SMALL / 2, 2 * SMALL, 2 * SMALL];
    let blocks = sizes.map(|size| bench.alloc(size));
    let all = blocks.each_ref();
    (1..).zip(all).for_each(|(tag, block)| bench.write(block, tag));
    assert_eq!(bench.demote(&all, Contents::Kept).device, 7 * SMALL);
    let alone = all.map(|block| bench.promote(&[block]).device);
    assert_eq!(alone, [SMALL, SMALL, 2 * SMALL, 2 * SMALL]);
    assert_eq!(bench.promote(&all[..2]).device, SMALL);
    (1..).zip(all).for_each(|(tag, block)| bench.check(block, tag));
    blocks.into_iter().for_each(|block| bench.free(block));
    bench.finish();
}
