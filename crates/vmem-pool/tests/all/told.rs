//! What sinks, counters and reports say of growth, moves and trims, to the byte.

use std::sync::{Arc, Mutex};

use vmem_core::{EventKind, EventSink, MemoryEvent, ResourceExt, Rung, Stream};
use vmem_pool::{Growth, PoolConfig};

use crate::support::{
    MIB, SMALL, alloc, arena, chunks, device, finish, free, free_all, layout, riddle, sim, tight,
};

/// One granule of the small devices.
const G: u64 = SMALL;

#[derive(Debug, Default)]
struct Events(Mutex<Vec<MemoryEvent>>);

impl EventSink for Events {
    fn event(&self, event: &MemoryEvent) {
        self.0.lock().unwrap().push(*event);
    }
}

#[test]
fn growth_moves_and_trims_are_told_and_counted_to_the_byte() {
    let events = Arc::new(Events::default());
    let sink: Arc<dyn EventSink> = events.clone();
    let device = sim(64, 512);
    let pool = arena(device.clone(), tight().with_observer(sink));
    let stream = Stream::new(device.clone()).unwrap();
    let kept = riddle(&pool, G, 8, &stream);
    // Three of the four free granules and more.
    let large = alloc(&pool, 5 * G, &stream);
    free(&pool, large, &stream);
    free_all(&pool, kept, &stream);
    let half = pool.handle().trim_to(4 * G).unwrap();
    let rest = pool.handle().trim_to(0).unwrap();
    assert_eq!(pool.handle().trim_to(0).unwrap(), 0, "nothing is left, and nothing told");
    let counters = pool.handle().counters().unwrap();
    assert_eq!(
        (half, rest, counters.bytes_grown, counters.bytes_trimmed),
        (5 * G, 4 * G, 9 * G, 9 * G)
    );
    assert_eq!((counters.peak_reserved, counters.reserved), (9 * G, 0));
    assert_eq!((counters.moves, counters.bytes_moved), (1, 4 * G));
    let seen = events.0.lock().unwrap().clone();
    let told: Vec<EventKind> = seen
        .iter()
        .map(|event| event.kind)
        .filter(|kind| !matches!(kind, EventKind::Allocate { .. } | EventKind::Free { .. }))
        .collect();
    let mut expected = vec![EventKind::Growth { bytes: G }; 8];
    expected.extend([
        EventKind::Move { bytes: 4 * G },
        EventKind::Growth { bytes: G },
        EventKind::Trim { bytes: 5 * G },
        EventKind::Trim { bytes: 4 * G },
    ]);
    assert_eq!(told, expected);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn chunks_returned_for_a_request_are_told_and_reported() {
    let events = Arc::new(Events::default());
    let sink: Arc<dyn EventSink> = events.clone();
    let device = device();
    let config =
        PoolConfig::default().with_ceiling(12 * MIB).with_growth(Growth::Exact).with_observer(sink);
    let pool = chunks(device.clone(), config);
    let stream = Stream::new(device.clone()).unwrap();
    let [a, b, kept] = [4 * MIB, 2 * MIB, 4 * MIB].map(|size| alloc(&pool, size, &stream));
    free(&pool, b, &stream);
    pool.handle().trim_to(0).unwrap();
    free(&pool, a, &stream);
    // Marks what was freed and waits for it, and returns nothing.
    pool.handle().trim_to(u64::MAX).unwrap();
    let error = pool.alloc(layout(9 * MIB), &stream).unwrap_err();
    let rungs = &error.report().unwrap().rungs;
    let trim = rungs.iter().find(|rung| rung.rung == Rung::Trim).unwrap();
    assert_eq!(trim.freed, 4 * MIB);
    let large = alloc(&pool, 8 * MIB, &stream);
    let told: Vec<EventKind> = events.0.lock().unwrap().iter().map(|event| event.kind).collect();
    let told: Vec<u64> = told
        .into_iter()
        .filter_map(|kind| if let EventKind::Trim { bytes } = kind { Some(bytes) } else { None })
        .collect();
    assert_eq!(told, [2 * MIB, 4 * MIB]);
    free(&pool, large, &stream);
    free(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);
}
