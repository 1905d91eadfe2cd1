//! What observers, counters and reports say of growth, moves and trims, to the byte.

use std::sync::{Arc, Mutex};

use vmem_core::{MemoryEvent, MemoryEventKind, MemoryObserver, ResourceExt, Stream};
use vmem_pool::{Growth, PoolConfig};

use crate::support::{
    MIB, SMALL, alloc, arena, chunks, device, finish, free, free_all, layout, riddle, sim, tight,
};

/// One granule of the small devices.
const G: u64 = SMALL;

#[derive(Debug, Default)]
struct Events(Mutex<Vec<MemoryEvent>>);

impl MemoryObserver for Events {
    fn event(&self, event: &MemoryEvent) {
        self.0.lock().unwrap().push(*event);
    }
}

#[test]
fn growth_moves_and_trims_are_told_and_counted_to_the_byte() {
    let events = Arc::new(Events::default());
    let observer: Arc<dyn MemoryObserver> = events.clone();
    let device = sim(64, 512);
    let pool = arena(device.clone(), tight().with_observer(observer));
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
    let told: Vec<MemoryEventKind> = seen
        .iter()
        .map(|event| event.kind)
        .filter(|kind| {
            !matches!(kind, MemoryEventKind::Allocate { .. } | MemoryEventKind::Free { .. })
        })
        .collect();
    let mut expected = vec![MemoryEventKind::Growth { bytes: G }; 8];
    expected.extend([
        MemoryEventKind::Move { bytes: 4 * G },
        MemoryEventKind::Growth { bytes: G },
        MemoryEventKind::Trim { bytes: 5 * G },
        MemoryEventKind::Trim { bytes: 4 * G },
    ]);
    assert_eq!(told, expected);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn chunks_returned_for_a_request_are_told_and_reported() {
    let events = Arc::new(Events::default());
    let observer: Arc<dyn MemoryObserver> = events.clone();
    let device = device();
    let config = PoolConfig::default()
        .with_ceiling(12 * MIB)
        .with_growth(Growth::Exact)
        .with_observer(observer);
    let pool = chunks(device.clone(), config);
    let stream = Stream::new(device.clone()).unwrap();
    let [a, b, kept] = [4 * MIB, 2 * MIB, 4 * MIB].map(|size| alloc(&pool, size, &stream));
    free(&pool, b, &stream);
    pool.handle().trim_to(0).unwrap();
    free(&pool, a, &stream);
    // Marks what was freed and waits for it, and returns nothing.
    pool.handle().trim_to(u64::MAX).unwrap();
    let error = pool.allocate_on(layout(9 * MIB), &stream).unwrap_err();
    let attempts = &error.report().unwrap().attempts;
    let trim = attempts.iter().find(|tried| tried.what == "trimming").unwrap();
    assert_eq!(trim.freed, 4 * MIB);
    let large = alloc(&pool, 8 * MIB, &stream);
    let told: Vec<MemoryEventKind> =
        events.0.lock().unwrap().iter().map(|event| event.kind).collect();
    let told: Vec<u64> = told
        .into_iter()
        .filter_map(
            |kind| if let MemoryEventKind::Trim { bytes } = kind { Some(bytes) } else { None },
        )
        .collect();
    assert_eq!(told, [2 * MIB, 4 * MIB]);
    free(&pool, large, &stream);
    free(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);
}
