//! What all adaptors have in common, alone and stacked.

use std::sync::Arc;

use vmem_adaptors::{AdaptorExt, Answer, Backtraces, Budget, Failure, Reclaimers, Track};
use vmem_core::{
    Capabilities, Device, DeviceMemory, Features, FreeErrorKind, MemoryResource, ResourceExt,
};
use vmem_sim::SimDevice;
use vmem_testkit::conformance::{self, Subject};

use crate::fake::{Fake, free, layout, stream};

fn give_up(_: &Failure<'_>) -> Answer {
    Answer::GiveUp
}

fn room() -> Budget {
    Budget::new(u64::MAX)
}

/// `upstream` in every adaptor and in every stack of two of them.
fn stacks<U: MemoryResource + 'static>(upstream: impl Fn() -> U) -> Vec<Arc<dyn MemoryResource>> {
    macro_rules! over {
        ($($inner:expr),*) => {
            [$(
                $inner.into_dyn(),
                $inner.with_statistics().into_dyn(),
                $inner.on_failure(give_up).into_dyn(),
                $inner.limited(room()).into_dyn(),
                $inner.tracked().into_dyn(),
            )*]
        };
    }
    over![
        upstream().with_statistics(),
        upstream().on_failure(give_up),
        upstream().limited(room()),
        upstream().tracked()
    ]
    .into()
}

#[test]
fn every_stack_keeps_the_contract() {
    let device = SimDevice::new(1 << 30);
    let other_device: Arc<dyn Device> = SimDevice::new(1 << 20);
    for stack in stacks(|| DeviceMemory::new(device.clone())) {
        let mut subject = Subject::new(&stack);
        subject.other_device = Some(other_device.clone());
        subject.budget = Subject::SMALLEST_BUDGET;
        conformance::check(&subject);
    }
    device.assert_clean();
}

#[test]
fn capabilities_survive_wrapping_exactly() {
    let odd = Capabilities::new(Features::HOST_ACCESSIBLE | Features::TRIMS);
    let upstream = || {
        let mut fake = Fake::new();
        fake.capabilities = odd;
        fake
    };
    for stack in stacks(upstream) {
        assert_eq!(stack.capabilities(), odd, "{stack:?}");
    }
}

/// RMM 76, 77.
#[test]
fn blocks_pass_every_stack_unchanged() {
    let stream = stream();
    let fake = Arc::new(Fake::new());
    let owner = {
        let block = fake.allocate_on(layout(1), &stream).unwrap();
        let owner = block.owner();
        free(&fake, block, &stream).unwrap();
        owner
    };
    for stack in stacks(|| fake.clone()) {
        let block = stack.allocate_on(layout(1), &stream).unwrap();
        assert_eq!(block.owner(), owner);
        free(&stack, block, &stream).unwrap();
        // Through one handle and freed through another.
        let block = stack.allocate_on(layout(1), &stream).unwrap();
        free(&stack.clone(), block, &stream).unwrap();
    }
    assert_eq!(fake.live(), 0);
}

#[test]
fn a_foreign_block_comes_back_through_every_stack() {
    let stream = stream();
    let elsewhere = Fake::new();
    for stack in stacks(Fake::new) {
        let block = elsewhere.allocate_on(layout(1), &stream).unwrap();
        let error = free(&stack, block, &stream).unwrap_err();
        assert_eq!(error.kind(), FreeErrorKind::Foreign);
        free(&elsewhere, error.into_block(), &stream).unwrap();
    }
    assert_eq!(elsewhere.live(), 0);
}

#[test]
fn display_prints_the_nest_with_its_parameters() {
    let reclaimers = Reclaimers::new();
    let memory = || DeviceMemory::new(SimDevice::new(1 << 20));
    let stack = memory().on_failure(reclaimers.hook()).with_statistics();
    assert_eq!(stack.to_string(), "Statistics<OnFailure<DeviceMemory>>");
    let stack = Track::new(memory().limited(Budget::new(4096)), Backtraces::Capture);
    assert_eq!(stack.to_string(), "Track<Limit<DeviceMemory, 4096 B>, backtraces>");
    assert_eq!(memory().tracked().to_string(), "Track<DeviceMemory>");
}

#[test]
fn adaptors_unwrap_to_their_upstream() {
    let stream = stream();
    let stack = Fake::new().tracked().limited(room()).on_failure(give_up).with_statistics();
    let block = stack.allocate_on(layout(1), &stream).unwrap();
    assert_eq!(stack.upstream().upstream().upstream().upstream().live(), 1);
    let fake = stack.into_inner().into_inner().into_inner().into_inner();
    free(&fake, block, &stream).unwrap();
    assert_eq!(fake.live(), 0);
}

#[test]
fn whatever_holds_blocks_prints_a_line_for_debugging() {
    let device = SimDevice::new(1 << 30);
    let stream = vmem_core::Stream::new(device.clone()).unwrap();
    let prints_little = |what: &dyn std::fmt::Debug| {
        let (line, lines) = (format!("{what:?}"), format!("{what:#?}"));
        assert!(line.len() < 1000 && lines.lines().count() < 60, "{lines}");
    };
    for stack in stacks(|| DeviceMemory::new(device.clone())) {
        let empty = format!("{stack:?}").len();
        let blocks: Vec<_> =
            (0..500).map(|_| stack.allocate_on(layout(1), &stream).unwrap()).collect();
        prints_little(&stack);
        assert!(format!("{stack:?}").len() < empty + 50, "{stack:?}");
        for block in blocks {
            free(&stack, block, &stream).unwrap();
        }
    }
    let scrubbed = DeviceMemory::new(device.clone()).scrubbed().unwrap();
    let memory = Track::new(scrubbed, Backtraces::Capture).with_statistics();
    let blocks: Vec<_> = (0..20).map(|_| memory.allocate_on(layout(1), &stream).unwrap()).collect();
    let caches = Reclaimers::new();
    let _caches: Vec<_> = (0..20).map(|nth| caches.register(nth.to_string(), || 0)).collect();
    let stats = memory.handle();
    let scope = stats.scope().unwrap();
    let budget = Budget::new(10);
    prints_little(&memory);
    prints_little(&stats);
    prints_little(&scope);
    prints_little(&stats.sizes().unwrap());
    prints_little(&stats.stats().unwrap());
    prints_little(&memory.upstream().handle());
    prints_little(&memory.upstream().handle().report().unwrap());
    prints_little(&memory.upstream().upstream().handle());
    prints_little(&caches);
    prints_little(&budget.account());
    prints_little(&budget.charge(1));
    for block in blocks {
        free(&memory, block, &stream).unwrap();
    }
}
