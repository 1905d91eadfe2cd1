use std::num::NonZeroU64;

use vmem_trace::{
    Event, Mark, Origin, RandomConfig, Scale, Trace, Workload, WorkloadOptions, random,
};

fn scaled(workload: Workload, scale: u64) -> WorkloadOptions {
    WorkloadOptions { scale: Scale::new(scale).unwrap(), ..workload.defaults() }
}

/// Figures of an independent implementation of the models.
#[test]
fn peak_live_bytes_are_the_published_ones() {
    for (workload, scale, passes, peak) in [
        (Workload::Overlay, 100_000, 3, 3_033_163_104),
        (Workload::OverlayCore, 100_000, 3, 1_257_732_624),
        (Workload::Dissolve, 1_000_000, 3, 3_180_279_700),
        (Workload::SpatialJoin, 1_000_000, 3, 297_232_650),
        (Workload::Overlay, 1, 3, 222_085),
        (Workload::Overlay, 1_000_000, 1, 30_330_451_104),
        (Workload::Dissolve, 1, 1, 134_320),
        (Workload::SpatialJoin, 1, 1, 131_853),
    ] {
        let options = WorkloadOptions { passes, ..scaled(workload, scale) };
        let trace = workload.generate(&options).unwrap();
        assert_eq!(trace.peak_live(), peak, "{workload} at {scale}");
        assert_eq!(trace.passes(), passes);
        assert_eq!(trace.streams(), 1);
    }
}

#[test]
fn the_defaults_are_the_published_scales() {
    for workload in Workload::ALL {
        let million = matches!(workload, Workload::Dissolve | Workload::SpatialJoin);
        let scale = if million { "1m" } else { "100k" };
        let options = workload.defaults();
        assert_eq!((options.scale.to_string().as_str(), options.passes), (scale, 3));
    }
}

/// Live bytes at every mark of a pass and at the end.
fn live_between_passes(trace: &Trace) -> Vec<u64> {
    let mut sizes = vec![0; usize::try_from(trace.slots()).unwrap()];
    let mut live = 0;
    let mut found = Vec::new();
    for event in trace.events() {
        match *event {
            Event::Allocate { slot, size, .. } => {
                sizes[usize::try_from(slot).unwrap()] = size;
                live += size;
            }
            Event::Free { slot, .. } => live -= sizes[usize::try_from(slot).unwrap()],
            Event::Mark(Mark::Pass) => found.push(live),
            _ => {}
        }
    }
    found.push(live);
    found
}

#[test]
fn everything_is_freed_between_passes() {
    for workload in Workload::ALL {
        let trace = workload.generate(&scaled(workload, 3_000)).unwrap();
        assert_eq!(live_between_passes(&trace), [0; 4], "{workload}");
    }
}

#[test]
fn a_seed_gives_one_trace_and_another_seed_another() {
    for workload in [Workload::OverlayTwoStreams, Workload::Random] {
        let options = scaled(workload, 1_000);
        let again = workload.generate(&options).unwrap();
        assert_eq!(workload.generate(&options).unwrap(), again);
        let other = WorkloadOptions { seed: 1, ..options };
        assert_ne!(workload.generate(&other).unwrap(), again);
    }
}

#[test]
fn two_streams_interleave_in_runs_and_every_third_overlay_frees_its_results_elsewhere() {
    let workload = Workload::OverlayTwoStreams;
    let trace = workload.generate(&workload.defaults()).unwrap();
    assert_eq!((trace.streams(), trace.threads()), (2, 2));
    assert_eq!(trace.allocations(), 3 * 2 * 703);

    // The residents of both come first in one turn each; beyond them turns are 1 to 20 long.
    let residents = 16;
    let mut runs = vec![(0, 0)];
    let mut slots = vec![Origin::default(); usize::try_from(trace.slots()).unwrap()];
    let mut elsewhere = Vec::new();
    let mut pass = 0;
    for event in trace.events() {
        match *event {
            Event::Allocate { slot, origin, .. } => {
                slots[usize::try_from(slot).unwrap()] = origin;
                match runs.last_mut() {
                    Some((stream, length)) if *stream == origin.stream => *length += 1,
                    _ => runs.push((origin.stream, 1)),
                }
            }
            Event::Free { slot, origin } => {
                let from = slots[usize::try_from(slot).unwrap()];
                if from != origin {
                    elsewhere.push((pass, from.stream, origin.stream));
                }
            }
            Event::Mark(Mark::Pass) => pass += 1,
            _ => {}
        }
    }
    // A whole turn, and the residents; what one stream has left when the other is done is longer.
    let long = runs.iter().filter(|(_, length)| *length > 20 + residents);
    assert!(long.count() <= 3);
    assert!(runs.len() > 3 * 2 * 703 / 25);
    elsewhere.dedup();
    assert_eq!(elsewhere, [(2, 0, 1), (3, 1, 0)]);
}

fn paged(scale: u64, pairs: u64) -> Trace {
    let options = WorkloadOptions {
        passes: 1,
        page_pairs: NonZeroU64::new(pairs).unwrap(),
        ..scaled(Workload::OverlayPaged, scale)
    };
    Workload::OverlayPaged.generate(&options).unwrap()
}

fn pages(trace: &Trace) -> usize {
    let marks = trace.events().iter();
    marks.filter(|e| **e == Event::Mark(Mark::Page)).count()
}

/// Live labels at each mark of a page, sorted.
fn live_after_pages(trace: &Trace) -> Vec<Vec<&'static str>> {
    let mut live = vec![None; usize::try_from(trace.slots()).unwrap()];
    let mut found = Vec::new();
    for event in trace.events() {
        match *event {
            Event::Allocate { slot, label, .. } => {
                live[usize::try_from(slot).unwrap()] = Some(label.as_str());
            }
            Event::Free { slot, .. } => live[usize::try_from(slot).unwrap()] = None,
            Event::Mark(Mark::Page) => {
                let mut names: Vec<_> = live.iter().copied().flatten().collect();
                names.sort_unstable();
                found.push(names);
            }
            _ => {}
        }
    }
    found
}

#[test]
fn pages_leave_their_outputs_live_and_nothing_else_of_their_own() {
    // 2,000 pairs in pages of 300: seven, the last of 200.
    let trace = paged(1_000, 300);
    assert_eq!(pages(&trace), 7);
    let after = live_after_pages(&trace);
    let outputs = |names: &[&str]| names.iter().filter(|n| n.starts_with("fin.")).count();
    for (page, names) in after.iter().enumerate() {
        assert_eq!(outputs(names), 6 * (page + 1));
        let others: Vec<_> = names.iter().filter(|n| !n.starts_with("fin.")).collect();
        let first: Vec<_> = after[0].iter().filter(|n| !n.starts_with("fin.")).collect();
        assert_eq!(others, first, "only outputs are added from page to page");
        assert!(!names.iter().any(|n| n.starts_with("out.") || n.starts_with("page.")));
    }
}

#[test]
fn the_page_decides_how_much_is_live_and_one_page_is_the_whole_overlay_and_its_concatenation() {
    let small = paged(100_000, 2_000);
    assert_eq!(pages(&small), 100);
    let large = paged(100_000, 20_000);
    assert_eq!(pages(&large), 10);
    assert!(small.peak_live() < large.peak_live());

    let whole = Workload::Overlay.generate(&scaled(Workload::Overlay, 100_000)).unwrap();
    let one = paged(100_000, u64::MAX);
    assert_eq!(pages(&one), 1);
    assert_eq!(one.peak_live(), whole.peak_live());
    // The results among the six outputs are allocated once more.
    assert_eq!(one.allocations(), 703 + 5);
}

#[test]
fn random_blocks_stay_in_their_bounds() {
    let config = RandomConfig { allocations: 5_000, ..RandomConfig::LARGE };
    let options = Workload::Random.defaults();
    let trace = random(&RandomConfig { live: 100, ..config }, &options).unwrap();
    assert_eq!((trace.slots(), trace.allocations()), (100, 15_000));
    let mut sizes = trace.events().iter().filter_map(|event| match event {
        Event::Allocate { size, .. } => Some(*size),
        _ => None,
    });
    assert!(sizes.all(|size| (1..=1 << 20).contains(&size)));
}

#[test]
fn what_cannot_be_generated_is_refused_with_the_reason() {
    let overlay = Workload::Overlay;
    let refused = |workload: Workload, options: WorkloadOptions| {
        workload.generate(&options).unwrap_err().to_string()
    };
    for workload in Workload::ALL {
        let scale = Scale::new(u64::MAX).unwrap();
        let error = refused(workload, WorkloadOptions { scale, ..workload.defaults() });
        assert!(error.contains(workload.name()), "{error}");
        let none = WorkloadOptions { passes: 0, ..workload.defaults() };
        assert!(refused(workload, none).contains("at least 1"));
    }
    let error = refused(overlay, scaled(overlay, u64::MAX));
    assert!(error.contains("overflows in the size"), "{error}");
    // Each size fits a block, their sum not 64 bits.
    let error = refused(overlay, scaled(overlay, 1 << 52));
    assert!(error.contains("together exceed 64 bits"), "{error}");
    let many = WorkloadOptions { passes: u32::MAX, ..scaled(overlay, 1) };
    assert!(refused(overlay, many).contains("fewer passes"));
    let one = NonZeroU64::MIN;
    let paged = Workload::OverlayPaged;
    let many = WorkloadOptions { page_pairs: one, ..scaled(paged, 10_000_000) };
    assert!(refused(paged, many).contains("larger pages"));
    for config in [
        RandomConfig { min_size: 0, ..RandomConfig::SMALL },
        RandomConfig { max_size: 1, ..RandomConfig::SMALL },
        RandomConfig { live: 0, ..RandomConfig::SMALL },
        RandomConfig { max_size: u64::MAX, ..RandomConfig::SMALL },
    ] {
        assert!(random(&config, &Workload::Random.defaults()).is_err(), "{config:?}");
    }
}

#[test]
fn names_are_parsed_and_others_refused_with_those_accepted() {
    for workload in Workload::ALL {
        assert_eq!(workload.name().parse(), Ok(workload));
    }
    let error = "overlays".parse::<Workload>().unwrap_err().to_string();
    assert!(error.contains("overlay-2s, dissolve"), "{error}");
    for (text, n) in [("10k", 10_000), ("1M", 1_000_000), ("123", 123)] {
        assert_eq!(text.parse(), Ok(Scale::new(n).unwrap()));
    }
    for text in ["", "k", "0", "-1", "1g", "1.5k", "0k", "18446744073709551615k"] {
        let error = text.parse::<Scale>().unwrap_err().to_string();
        assert!(error.contains("accepted: 10k, 100k"), "{error}");
    }
}
