//! Every check is shown to fail, each by a bug that it is there for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vmem_core::{Device, DeviceMemory, MemoryResource};
use vmem_sim::{SimConfig, SimDevice};
use vmem_testkit::Probe;
use vmem_testkit::conformance::{self, CHECKS, Outcome, Subject};

use crate::broken::{Broken, Bug, Swallowing};

const CAUGHT: &[(Bug, &[&str])] = &[
    (
        Bug::Overlaps,
        &[
            "small_blocks_are_distinct",
            "live_blocks_do_not_overlap",
            "a_random_mix_keeps_every_byte",
            "blocks_stay_put_under_churn",
            "one_stream_reuses_without_waiting",
            "four_threads_use_their_own_streams",
            "four_threads_share_one_stream",
            "buffers_keep_their_bytes",
        ],
    ),
    (Bug::Misaligns, &["every_size_and_alignment_is_honoured"]),
    (
        Bug::ChangesCapabilities,
        &["capabilities_stay_the_same", "a_forwarded_resource_is_the_same_resource"],
    ),
    (Bug::NamesAnotherDevice, &["the_named_device_is_that_of_the_blocks"]),
    (
        Bug::ChangesItsDevice,
        &["the_named_device_is_that_of_the_blocks", "a_forwarded_resource_is_the_same_resource"],
    ),
    (Bug::PrintsNothing, &["the_resource_prints_as_one_line"]),
    (Bug::DropsLabels, &["blocks_carry_the_request"]),
    (Bug::RefusesHints, &["hints_are_accepted"]),
    (Bug::RefusesTiny, &["small_blocks_are_distinct", "an_empty_buffer_asks_for_nothing"]),
    (Bug::LosesMemory, &["no_freed_memory_is_lost"]),
    (Bug::AcceptsForeign, &["foreign_blocks_are_given_back"]),
    (
        Bug::AcceptsStale,
        &["no_free_is_swallowed", "stale_blocks_are_given_back", "forged_blocks_are_given_back"],
    ),
    (Bug::LosesGenerations, &["stale_blocks_are_given_back", "forged_blocks_are_given_back"]),
    (Bug::AcceptsAnyStream, &["streams_of_another_device_are_refused"]),
    (Bug::PanicsOnHuge, &["a_pebibyte_is_refused", "sizes_near_the_maximum_never_wrap"]),
    (Bug::Truncates, &["a_pebibyte_is_refused", "sizes_near_the_maximum_never_wrap"]),
    (Bug::KeepsRefusals, &["a_pebibyte_is_refused", "exhaustion_passes"]),
    (
        Bug::ReusesWithoutWaiting,
        &[
            "pending_writes_do_not_reach_the_next_owner",
            "pending_reads_see_the_old_bytes",
            "a_block_may_be_freed_on_another_stream",
            "the_default_streams_order_reuse",
            "a_stream_may_end_after_it_freed",
            "memory_of_an_ended_thread_is_reused_in_order",
            "buffers_wait_for_other_streams",
        ],
    ),
    (Bug::ForgetsWhoFreed, &["a_block_may_be_freed_on_another_stream"]),
    (Bug::ForgetsEndedStreams, &["a_stream_may_end_after_it_freed"]),
    (Bug::RefusesRetired, &["a_retired_stream_still_frees"]),
    (
        Bug::ServesOneThread,
        &[
            "another_thread_frees_on_the_same_stream",
            "another_thread_frees_on_another_stream",
            "per_thread_default_streams_hand_blocks_over",
        ],
    ),
    (Bug::RefusesOthersDefaults, &["another_thread_frees_on_a_default_stream_not_its_own"]),
];

/// A bug is caught whatever the schedule: each of these seeds gives another.
const SEEDS: std::ops::Range<u64> = 0..3;

fn run(bug: Bug, names: &[&str], seed: u64) -> Vec<(&'static str, Outcome)> {
    let config = SimConfig { seed, ..SimConfig::default() };
    let device: Arc<dyn Device> = SimDevice::with_config(config).unwrap();
    let broken = Broken::new(device.clone(), bug);
    let subject = Subject {
        other_device: Some(SimDevice::new(1 << 30)),
        budget: 16 << 20,
        seed,
        probe: &broken,
        ..Subject::new(&broken)
    };
    CHECKS
        .iter()
        .filter(|check| names.contains(&check.name))
        .map(|check| (check.name, check.run(&subject)))
        .collect()
}

#[test]
fn a_resource_without_a_bug_passes_every_check() {
    let names: Vec<_> = CHECKS.iter().map(|check| check.name).collect();
    for (name, outcome) in SEEDS.flat_map(|seed| run(Bug::None, &names, seed)) {
        assert_eq!(outcome, Outcome::Passed, "{name}");
    }
}

#[test]
fn a_check_fails_on_the_bug_it_is_there_for() {
    for (bug, names) in CAUGHT {
        for (name, seed) in names.iter().flat_map(|name| SEEDS.map(move |seed| (name, seed))) {
            let outcomes = run(*bug, &[name], seed);
            assert!(
                matches!(outcomes[..], [(_, Outcome::Failed(_))]),
                "{name} misses {bug:?} with seed {seed}: {outcomes:?}"
            );
        }
    }
}

#[test]
fn every_check_is_shown_to_fail() {
    for check in CHECKS {
        assert!(
            CAUGHT.iter().any(|(_, names)| names.contains(&check.name)),
            "no bug shows that {} can fail",
            check.name
        );
    }
}

fn swallowing(upstream: &dyn MemoryResource, every: u64) -> Swallowing<&dyn MemoryResource> {
    Swallowing { upstream, every, frees: AtomicU64::new(0) }
}

#[test]
fn an_adaptor_that_loses_one_free_in_many_is_caught_without_a_probe() {
    for every in [2, 7, 50, 200, 999, 1000] {
        let device = SimDevice::new(1 << 30);
        let leaf = DeviceMemory::new(device.clone());
        let cache = Broken::new(device.clone(), Bug::None);
        for upstream in [&leaf as &dyn MemoryResource, &cache] {
            let resource = swallowing(upstream, every);
            let subject = Subject { budget: 16 << 20, ..Subject::new(&resource) };
            let outcomes = conformance::run(&subject);
            let (name, outcome) = &outcomes[0];
            let is_caught =
                *name == "no_free_is_swallowed" && matches!(outcome, Outcome::Failed(_));
            assert!(is_caught, "every {every}th: {outcomes:?}");
        }
    }
}

#[test]
fn checks_that_run_out_of_memory_where_frees_are_lost_name_the_cause_and_not_the_consequence() {
    let device = SimDevice::new(1 << 30);
    // Its ceiling of 24 MiB is full of what was lost after a while.
    let cache = Broken::new(device.clone(), Bug::None);
    let resource = swallowing(&cache, 2);
    let subject = Subject { budget: 16 << 20, ..Subject::new(&resource) };
    let outcomes = conformance::run(&subject);
    let text = format!("{outcomes:?}");
    assert!(text.contains("memory ran out, after no_free_is_swallowed failed"), "{text}");
    for (name, outcome) in outcomes {
        if let Outcome::Failed(how) = outcome {
            assert!(!how.contains("the limit is reached"), "{name}: {how}");
        }
    }
}

#[test]
fn what_stays_live_after_a_check_is_found_by_the_probe() {
    /// Says that more is live each time it is asked.
    #[derive(Debug, Default)]
    struct Growing(AtomicU64);

    impl Probe for Growing {
        fn live_bytes(&self) -> Option<u64> {
            Some(self.0.fetch_add(1, Ordering::Relaxed))
        }
    }

    let device = SimDevice::new(1 << 30);
    let (memory, probe) = (DeviceMemory::new(device.clone()), Growing::default());
    let subject = Subject { probe: &probe, ..Subject::new(&memory) };
    for check in CHECKS.iter().filter(|check| check.name.starts_with("small_blocks")) {
        let expected = "Some(0) B were live before, Some(1) B are live after";
        assert_eq!(check.run(&subject), Outcome::Failed(expected.into()));
    }
}

#[test]
fn a_failed_suite_names_its_checks() {
    let device = SimDevice::new(1 << 30);
    let broken = Broken::new(device.clone(), Bug::DropsLabels);
    let subject = Subject::new(&broken);
    let failed = catch_unwind(AssertUnwindSafe(|| {
        conformance::check(&subject);
    }));
    let text = failed.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("\nblocks_carry_the_request: labels"), "{text}");
}

#[test]
fn checks_that_do_not_apply_say_why() {
    let device = SimDevice::new(1 << 30);
    let broken = Broken::new(device.clone(), Bug::None);
    let outcomes = conformance::run(&Subject::new(&broken));
    let skipped: Vec<_> = outcomes
        .iter()
        .filter(|(_, outcome)| matches!(outcome, Outcome::Skipped(_)))
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(skipped, ["streams_of_another_device_are_refused", "exhaustion_passes"]);
}

#[test]
fn a_resource_that_takes_live_blocks_with_it_is_found() {
    let leaks = |bug| {
        let device: Arc<dyn Device> = SimDevice::new(1 << 30);
        let broken = Broken::new(device.clone(), bug);
        catch_unwind(AssertUnwindSafe(|| conformance::check_leak(broken)))
    };
    assert!(leaks(Bug::None).is_ok());
    assert!(leaks(Bug::FreesLive).is_err());
}

#[test]
fn a_budget_too_small_for_the_checks_is_refused() {
    let device = SimDevice::new(1 << 30);
    let broken = Broken::new(device.clone(), Bug::None);
    let subject = Subject { budget: Subject::SMALLEST_BUDGET - 1, ..Subject::new(&broken) };
    assert!(catch_unwind(AssertUnwindSafe(|| conformance::run(&subject))).is_err());
}

#[test]
fn the_smallest_budget_suffices() {
    let device = SimDevice::new(1 << 30);
    let broken = Broken::new(device.clone(), Bug::None);
    conformance::check(&Subject { budget: Subject::SMALLEST_BUDGET, ..Subject::new(&broken) });
}
