//! What a limit admits. RMM 59 unless it says otherwise; the races are in `loom.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use vmem_adaptors::{AdaptorExt, Answer, Budget, Limit};
use vmem_core::{AllocErrorKind, BlockLayout, MemoryResource, ResourceExt};

use crate::fake::{Fake, free, layout, stream};

#[test]
fn one_byte_over_the_limit_is_refused_and_changes_nothing() {
    let stream = stream();
    let memory = Fake::new().limited(Budget::new(1000));
    let block = memory.alloc(layout(400), &stream).unwrap();
    let error = memory.alloc(layout(601), &stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::Limit);
    assert_eq!(error.resource(), "Limit");
    let report = error.report().unwrap();
    assert_eq!((report.requested, report.live), (601, 400));
    assert_eq!((report.ceiling, report.largest_free), (Some(1000), 600));
    assert_eq!(memory.upstream().asked(), 1);
    assert_eq!(memory.budget().used(), 400);

    let exactly = memory.alloc(layout(600), &stream).unwrap();
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
        let blocks: Vec<_> = (0..10).map(|_| memory.alloc(layout(100), &stream).unwrap()).collect();
        memory.alloc(layout(1), &stream).unwrap_err();
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
    let error = memory.alloc(layout(400), &stream()).unwrap_err();
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
    let unwound = catch_unwind(AssertUnwindSafe(|| memory.alloc(layout(400), &stream)));
    assert!(unwound.is_err());
    assert_eq!(memory.budget().used(), 0);
}

#[test]
fn a_refused_free_stays_charged() {
    let stream = stream();
    let memory = Fake::new().limited(Budget::new(1000));
    let block = memory.alloc(layout(400), &stream).unwrap();
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
    let block = device.alloc(layout(700), &stream).unwrap();
    pinned.alloc(layout(301), &stream).unwrap_err();
    let other = pinned.alloc(layout(300), &stream).unwrap();
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
    let block = memory.alloc(layout(800), &stream).unwrap();
    memory.budget().set_limit(500);
    assert_eq!((memory.budget().used(), memory.budget().available()), (800, 0));
    memory.alloc(layout(1), &stream).unwrap_err();
    free(&memory, block, &stream).unwrap();
    assert_eq!(memory.budget().available(), 500);
    memory.alloc(layout(501), &stream).unwrap_err();
    memory.budget().set_limit(501);
    let block = memory.alloc(layout(501), &stream).unwrap();
    free(&memory, block, &stream).unwrap();
    memory.budget().set_limit(0);
    memory.alloc(layout(1), &stream).unwrap_err();
}

#[test]
fn an_endless_budget_admits_the_largest_request_and_survives_strange_frees() {
    let stream = stream();
    let memory = Fake::new().limited(Budget::new(u64::MAX));
    let largest = BlockLayout::new(1 << 62).unwrap();
    let elsewhere = memory.upstream().alloc(largest, &stream).unwrap();
    free(&memory, elsewhere, &stream).unwrap();
    let block = memory.alloc(largest, &stream).unwrap();
    assert_eq!(memory.budget().limit(), BlockLayout::MAX_SIZE);
    free(&memory, block, &stream).unwrap();
}

#[test]
fn a_charge_by_hand_counts_like_a_block() {
    let memory = Fake::new().limited(Budget::new(1000));
    let charge = memory.budget().charge(900).unwrap();
    assert_eq!(charge.bytes(), 900);
    assert!(memory.budget().charge(101).is_none());
    assert_eq!(memory.alloc(layout(101), &stream()).unwrap_err().kind(), AllocErrorKind::Limit);
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
