//! What a limit admits. RMM 59 unless it says otherwise; the races are in `loom.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use vmem_adaptors::{AdaptorExt, Answer, Budget, Limit};
use vmem_core::{
    AllocErrorKind, Allowance, Block, BlockLayout, DeviceMemory, FreeErrorKind, MemoryResource,
    ResourceExt, Stream,
};
use vmem_pool::{Chunks, Pool, PoolConfig, VirtualArena};
use vmem_sim::SimDevice;

use crate::fake::{Fake, free, layout, stream};

fn device_and_stream() -> (Arc<SimDevice>, Stream) {
    let device = SimDevice::new(1 << 20);
    let stream = Stream::new(device.clone()).unwrap();
    (device, stream)
}

#[test]
fn one_byte_over_the_limit_is_refused_and_changes_nothing() {
    let stream = stream();
    let memory = Fake::new().limited(Budget::new(1000));
    let block = memory.allocate_on(layout(400), &stream).unwrap();
    let error = memory.allocate_on(layout(601), &stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::Limit);
    assert_eq!(error.resource(), "Limit");
    let report = error.report().unwrap();
    assert_eq!((report.requested, report.live), (601, 400));
    assert_eq!((report.ceiling, report.largest_free), (Some(1000), 600));
    assert_eq!(memory.upstream().asked(), 1);
    assert_eq!(memory.budget().used(), 400);

    let exactly = memory.allocate_on(layout(600), &stream).unwrap();
    assert_eq!(memory.budget().available(), 0);
    for block in [block, exactly] {
        free(&memory, block, &stream).unwrap();
    }
    assert_eq!((memory.budget().used(), memory.budget().available()), (0, 1000));
}

#[test]
fn frees_restore_the_limit_exactly_every_time() {
    let stream = stream();
    let memory = Fake::new().limited(Budget::new(1000));
    for _ in 0..10 {
        let blocks: Vec<_> =
            (0..10).map(|_| memory.allocate_on(layout(100), &stream).unwrap()).collect();
        memory.allocate_on(layout(1), &stream).unwrap_err();
        for block in blocks {
            free(&memory, block, &stream).unwrap();
        }
        assert_eq!(memory.budget().used(), 0);
    }
}

#[test]
fn a_refusal_of_the_upstream_is_rolled_back() {
    let memory = Fake::new().limited(Budget::new(1000));
    memory.upstream().fail_next([AllocErrorKind::OutOfMemory]);
    let error = memory.allocate_on(layout(400), &stream()).unwrap_err();
    assert_eq!((error.kind(), error.resource()), (AllocErrorKind::OutOfMemory, "Fake"));
    assert_eq!(memory.budget().used(), 0);
}

#[test]
fn a_panic_in_the_upstream_is_rolled_back() {
    let memory = Fake::new()
        .on_failure(|_| -> Answer { panic!("the hook's own trouble") })
        .limited(Budget::new(1000));
    memory.upstream().upstream().fail_next([AllocErrorKind::OutOfMemory]);
    let stream = stream();
    let unwound = catch_unwind(AssertUnwindSafe(|| memory.allocate_on(layout(400), &stream)));
    assert!(unwound.is_err());
    assert_eq!(memory.budget().used(), 0);
}

#[test]
fn a_refused_free_stays_charged() {
    let stream = stream();
    let memory = Fake::new().limited(Budget::new(1000));
    let block = memory.allocate_on(layout(400), &stream).unwrap();
    memory.upstream().refuse_frees(true);
    let error = free(&memory, block, &stream).unwrap_err();
    assert_eq!(memory.budget().used(), 400);
    memory.upstream().refuse_frees(false);
    free(&memory, error.into_block(), &stream).unwrap();
    assert_eq!(memory.budget().used(), 0);
}

#[test]
fn several_resources_share_one_budget() {
    let stream = stream();
    let budget = Budget::new(1000);
    let device = Limit::new(Fake::new(), budget.clone());
    let pinned = Limit::new(Fake::new(), budget.clone());
    let block = device.allocate_on(layout(700), &stream).unwrap();
    pinned.allocate_on(layout(301), &stream).unwrap_err();
    let other = pinned.allocate_on(layout(300), &stream).unwrap();
    assert_eq!(budget.used(), 1000);
    free(&device, block, &stream).unwrap();
    assert_eq!(budget.used(), 300);
    free(&pinned, other, &stream).unwrap();
    assert_eq!(budget.used(), 0);
}

#[test]
fn the_limit_changes_at_run_time() {
    let stream = stream();
    let memory = Fake::new().limited(Budget::new(1000));
    let block = memory.allocate_on(layout(800), &stream).unwrap();
    memory.budget().set_limit(500);
    assert_eq!((memory.budget().used(), memory.budget().available()), (800, 0));
    memory.allocate_on(layout(1), &stream).unwrap_err();
    free(&memory, block, &stream).unwrap();
    assert_eq!(memory.budget().available(), 500);
    memory.allocate_on(layout(501), &stream).unwrap_err();
    memory.budget().set_limit(501);
    let block = memory.allocate_on(layout(501), &stream).unwrap();
    free(&memory, block, &stream).unwrap();
    memory.budget().set_limit(0);
    memory.allocate_on(layout(1), &stream).unwrap_err();
}

#[test]
fn an_endless_budget_admits_the_largest_request_and_survives_strange_frees() {
    let stream = stream();
    let memory = Fake::new().limited(Budget::new(u64::MAX));
    let largest = BlockLayout::new(1 << 62).unwrap();
    let elsewhere = memory.upstream().allocate_on(largest, &stream).unwrap();
    free(&memory, elsewhere, &stream).unwrap();
    let block = memory.allocate_on(largest, &stream).unwrap();
    assert_eq!(memory.budget().limit(), BlockLayout::MAX_SIZE);
    free(&memory, block, &stream).unwrap();
}

/// 500 B that `limited` never charged, freed through it.
fn free_what_passed_by(limited: &Limit<Arc<Fake>>, stream: &Stream) {
    let early = limited.upstream().allocate_on(layout(500), stream).unwrap();
    free(limited, early, stream).unwrap();
}

#[test]
fn a_limit_is_a_limit_whatever_is_freed_through_it() {
    let stream = stream();
    let limited = Arc::new(Fake::new()).limited(Budget::new(1000));
    free_what_passed_by(&limited, &stream);
    assert_eq!((limited.budget().available(), limited.budget().used()), (1000, 0));
    let error = limited.allocate_on(layout(1400), &stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::Limit);
}

#[test]
fn lifting_a_limit_admits_and_lowering_it_below_what_is_used_admits_nothing() {
    let stream = stream();
    let limited = Arc::new(Fake::new()).limited(Budget::new(1000));
    let budget = limited.budget();
    free_what_passed_by(&limited, &stream);
    let charged = limited.allocate_on(layout(900), &stream).unwrap();
    for limit in [u64::MAX, 0, 1 << 63, 899, u64::MAX, 1, 1000] {
        budget.set_limit(limit);
        let most = limit.min(BlockLayout::MAX_SIZE);
        assert_eq!((budget.limit(), budget.used()), (most, 900));
        assert_eq!(budget.available(), most.saturating_sub(900));
        let admitted = limited.allocate_on(layout(1), &stream);
        assert_eq!(admitted.is_ok(), most > 900, "{limit}");
        if let Ok(block) = admitted {
            free(&limited, block, &stream).unwrap();
        }
    }
    free(&limited, charged, &stream).unwrap();
    assert_eq!((budget.used(), budget.available()), (0, 1000));
}

#[test]
fn a_block_is_given_back_to_whoever_was_charged_for_it() {
    let stream = stream();
    let upstream = Arc::new(Fake::new());
    let [one, other] = [(); 2].map(|()| upstream.clone().limited(Budget::new(1000)));
    for _ in 0..3 {
        let block = one.allocate_on(layout(1000), &stream).unwrap();
        other.upstream().refuse_frees(true);
        let refused = free(&other, block, &stream).unwrap_err();
        assert_eq!((one.budget().used(), other.budget().used()), (1000, 0));
        upstream.refuse_frees(false);
        free(&other, refused.into_block(), &stream).unwrap();
        assert_eq!((one.budget().used(), other.budget().used()), (0, 0));
        other.allocate_on(layout(1001), &stream).unwrap_err();
    }
}

#[test]
fn a_block_that_passed_several_limits_frees_them_all_through_any_of_them() {
    let stream = stream();
    let [inner, outer] = [Budget::new(1000), Budget::new(1000)];
    let both = Fake::new().limited(inner.clone()).limited(outer.clone());
    let used = || (inner.used(), outer.used());
    let blocks = [100, 10, 1].map(|size| both.allocate_on(layout(size), &stream).unwrap());
    assert_eq!(used(), (111, 111));
    let [first, second, third] = blocks;
    free(&both, first, &stream).unwrap();
    assert_eq!(used(), (11, 11));
    free(both.upstream(), second, &stream).unwrap();
    assert_eq!(used(), (1, 1));
    drop(outer.clone());
    free(&both, third, &stream).unwrap();
    assert_eq!(used(), (0, 0));
}

#[test]
fn a_block_freed_past_every_limit_is_charged_until_another_lies_in_its_place() {
    let (device, stream) = device_and_stream();
    let upstream = Arc::new(DeviceMemory::new(device));
    let limited = upstream.clone().limited(Budget::new(1000));
    for _ in 0..10 {
        let block = limited.allocate_on(layout(400), &stream).unwrap();
        let raw = block.raw();
        free(&upstream, block, &stream).unwrap();
        // A second free is refused, and says that the block is gone.
        // SAFETY: misuse on purpose, which the leaf refuses.
        let stale = unsafe { Block::from_raw(raw) };
        assert_eq!(free(&limited, stale, &stream).unwrap_err().kind(), FreeErrorKind::Stale);
        assert_eq!(limited.budget().used(), 0);
    }
    let block = limited.allocate_on(layout(700), &stream).unwrap();
    let place = block.ptr();
    free(&upstream, block, &stream).unwrap();
    assert_eq!(limited.budget().used(), 700);
    let other = upstream.clone().limited(Budget::new(700));
    let next = other.allocate_on(layout(700), &stream).unwrap();
    assert_eq!(next.ptr(), place, "the device gives the same address again");
    assert_eq!((limited.budget().used(), other.budget().used()), (0, 700));
    free(&limited, next, &stream).unwrap();
    assert_eq!((limited.budget().used(), other.budget().used()), (0, 0));
}

#[test]
fn an_account_gives_back_what_it_took_and_no_more() {
    let budget = Budget::new(1000);
    let [one, other] = [budget.account(), budget.account()];
    assert!(one.take(600) && !other.take(500) && other.take(400));
    one.give_back(900);
    assert_eq!((one.held(), other.held()), (0, 400));
    assert_eq!((budget.used(), budget.available()), (400, 600));
    budget.set_limit(100);
    assert!(!one.take(1));
    other.give_back(400);
    assert_eq!((budget.used(), budget.available()), (0, 100));
}

#[test]
fn a_pool_says_which_budget_below_it_refused() {
    let device = SimDevice::new(64 << 20);
    let stream = Stream::new(device.clone()).unwrap();
    let budget = Budget::new(10 << 20);
    let limited = DeviceMemory::new(device.clone()).limited(budget.clone());
    let chunks = Chunks::new(limited);
    let pool = Pool::new(chunks, PoolConfig::default()).unwrap();
    let error = pool.allocate_on(layout(11 << 20), &stream).unwrap_err().to_string();
    let expected = "Limit: the limit is reached (11534336 B asked for, 10485760 B left of \
                    10485760 B, 0 B used)";
    assert!(error.ends_with(expected), "{error}");

    let arena = VirtualArena::new(device).unwrap().charged_to(budget.account());
    let pool = Pool::new(arena, PoolConfig::default()).unwrap();
    let error = pool.allocate_on(layout(11 << 20), &stream).unwrap_err();
    let driver = std::error::Error::source(&error).unwrap().to_string();
    assert!(driver.contains("Budget { limit: 10485760, used: "), "{driver}");
}

#[test]
fn a_charge_by_hand_counts_like_a_block() {
    let memory = Fake::new().limited(Budget::new(1000));
    let charge = memory.budget().charge(900).unwrap();
    assert_eq!(charge.bytes(), 900);
    assert!(memory.budget().charge(101).is_none());
    assert_eq!(
        memory.allocate_on(layout(101), &stream()).unwrap_err().kind(),
        AllocErrorKind::Limit
    );
    drop(charge);
    assert_eq!(memory.budget().used(), 0);
    assert!(memory.budget().charge(u64::MAX).is_none());
}

#[test]
fn capabilities_are_the_upstreams() {
    let fake = Fake::new();
    let capabilities = fake.capabilities;
    assert_eq!(fake.limited(Budget::new(1)).capabilities(), capabilities);
}
