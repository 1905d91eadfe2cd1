//! What is said of a request that was refused.

use std::fs;

use vmem_core::{AllocErrorKind, ResourceExt, label};
use vmem_report::{Refusal, Report};

use crate::{MIB, folder, pool};

#[test]
fn one_call_writes_what_was_asked_live_tried_and_what_would_help() {
    let (pool, stream) = pool(64 * MIB);
    let handle = pool.handle();
    let edges = {
        let _label = label("edges");
        pool.buffer(40 * MIB, &stream).unwrap()
    };
    let points = {
        let _label = label("points <of> both");
        pool.buffer(10 * MIB, &stream).unwrap()
    };
    let error = pool.buffer(20 * MIB, &stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::OutOfMemory);
    let path = folder("one_call").join("refused.html");
    let refusal = Refusal::write(&error, &handle, &path).unwrap();

    assert_eq!((refusal.requested(), refusal.live()), (20 * MIB, 50 * MIB));
    let needs: Vec<_> = refusal.needs().iter().map(|need| need.bytes.clone().unwrap()).collect();
    assert!(needs.iter().all(|&bytes| bytes >= 70 * MIB), "{needs:?}");
    let page = fs::read_to_string(path).unwrap();
    for said in
        ["20.00 MiB", "edges", "points &lt;of&gt; both", "Made available", "Smallest device"]
    {
        assert!(page.contains(said), "{said}");
    }
    assert!(!page.contains("points <of> both"), "labels are text, not markup");
    assert!((1..=3).contains(&refusal.remedies().count()), "{refusal}");
    drop((edges, points));
}

#[test]
fn a_pool_under_a_ceiling_tells_the_fewest_blocks_and_how_much_more_it_needs() {
    let (pool, stream) = {
        let (_, stream) = pool(64 * MIB);
        let device = stream.device().clone();
        let config = vmem_pool::PoolConfig::default().with_ceiling(32 * MIB);
        let arena = vmem_pool::VirtualArena::new(device).unwrap();
        (vmem_pool::Pool::new(arena, config).unwrap(), stream)
    };
    let held: Vec<_> =
        [12, 8, 6].iter().map(|&mib| pool.buffer(mib * MIB, &stream).unwrap()).collect();
    let error = pool.buffer(10 * MIB, &stream).unwrap_err();
    let refusal = Refusal::of_error(&error, &pool.handle()).unwrap();
    // 36 MiB in 32: 4 are too few, and the block of 6 is the smallest that is enough.
    let text = refusal.to_string();
    assert!(text.contains("4.000 MiB too few: one block of 6.000 MiB would be enough"), "{text}");
    let remedies: Vec<_> = refusal.remedies().collect();
    assert!(remedies[0].starts_with("free the block of 6.000 MiB (unlabelled)"), "{remedies:?}");
    assert!(remedies[1].contains("which is 4.000 MiB more"), "{remedies:?}");
    drop(held);
}

#[test]
fn a_pool_at_a_moment_is_shown_with_the_names_that_track_tells() {
    use vmem_adaptors::{Backtraces, Track};
    let (pool, stream) = pool(64 * MIB);
    let handle = pool.handle();
    let tracked = Track::new(pool, Backtraces::Off);
    let names = ["overlay/face-walk", "", "out.x"];
    let held: Vec<_> = (1..)
        .zip(names)
        .map(|(n, name)| {
            let _label = label(name);
            tracked.buffer(n * MIB, &stream).unwrap()
        })
        .collect();
    let report = Report::of_pool("pool", &handle).unwrap();
    let mut page = Vec::new();
    report.write_html(&mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    let tracked = tracked.handle().report().unwrap();
    for line in tracked.to_string().lines().skip(1).take(names.len()) {
        // A name, blocks, bytes.
        let (name, rest) = line.trim().split_once(": ").unwrap();
        let bytes = rest.split(", ").nth(1).unwrap().trim_end_matches(" B");
        let row = format!("<th title=\"{name}\">{name}</th><td><data value=\"{bytes}\"");
        assert!(page.contains(&row), "{row}");
    }
    drop(held);
}
