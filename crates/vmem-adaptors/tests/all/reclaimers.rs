//! Caches that give memory back.

use std::sync::{Arc, Mutex};

use vmem_adaptors::{AdaptorExt, Budget, Reclaimers, Registration};
use vmem_core::{AllocErrorKind, DeviceBuffer, ResourceExt};

use crate::fake::{Fake, layout, stream};

type Log = Arc<Mutex<Vec<&'static str>>>;

/// A cache that says it frees `bytes` every time, and that it was asked.
fn cache(list: &Reclaimers, log: &Log, name: &'static str, bytes: u64) -> Registration {
    let log = log.clone();
    list.register(name, move || {
        log.lock().unwrap().push(name);
        bytes
    })
}

#[test]
fn caches_are_asked_in_order_until_enough_is_freed() {
    let (list, log) = (Reclaimers::new(), Log::default());
    let _caches = [
        cache(&list, &log, "first", 10),
        cache(&list, &log, "second", 20),
        cache(&list, &log, "third", 40),
    ];
    assert_eq!(
        list.names().iter().map(|name| &**name).collect::<Vec<_>>(),
        ["first", "second", "third"]
    );
    assert_eq!(list.reclaim(30), 30);
    assert_eq!(*log.lock().unwrap(), ["first", "second"]);
    assert_eq!(list.reclaim(u64::MAX), 70);
}

#[test]
fn dropping_a_registration_takes_the_cache_off_the_list() {
    let (list, log) = (Reclaimers::new(), Log::default());
    let first = cache(&list, &log, "same name", 1);
    let second = cache(&list, &log, "same name", 2);
    drop(first);
    assert_eq!(list.reclaim(u64::MAX), 2);
    drop(second);
    assert_eq!(list.reclaim(u64::MAX), 0);
    let after = cache(&list, &log, "outlives the list", 1);
    drop(list);
    drop(after);
}

#[test]
fn a_cache_may_change_the_list_while_it_is_asked() {
    let list = Reclaimers::new();
    let own: Arc<Mutex<Option<Registration>>> = Arc::default();
    let (in_call, again) = (own.clone(), list.clone());
    *own.lock().unwrap() = Some(list.register("once", move || {
        let gone = in_call.lock().unwrap().take();
        drop(gone);
        std::mem::forget(again.register("other", || 5));
        1
    }));
    assert_eq!(list.reclaim(u64::MAX), 1);
    assert_eq!(list.reclaim(u64::MAX), 5);
}

#[test]
fn a_full_cache_makes_room_for_a_request() {
    let stream = stream();
    let list = Reclaimers::new();
    let memory = Fake::new().limited(Budget::new(1000)).on_failure(list.hook());
    let recovery = memory.handle();
    let memory = memory.into_dyn();
    let cached = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..4 {
        let buffer = DeviceBuffer::new(memory.clone(), 250, &stream).unwrap();
        cached.lock().unwrap().push(buffer);
    }
    let content = cached.clone();
    let _registration = list.register("one at a time", move || {
        content.lock().unwrap().pop().map_or(0, |buffer| buffer.len())
    });
    // 700 bytes are three of the four cached buffers: one call of the hook for each.
    drop(memory.buffer(700, &stream).unwrap());
    assert_eq!(cached.lock().unwrap().len(), 1);
    assert_eq!(
        (recovery.counts().unwrap().hook_calls, recovery.counts().unwrap().recovered),
        (3, 1)
    );
}

#[test]
fn caches_are_told_what_is_missing_until_as_much_was_freed_and_then_asked_for_everything() {
    let list = Reclaimers::new();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let cache = |name: &'static str, bytes| {
        let asked = asked.clone();
        list.register_with(name, move |wanted| {
            asked.lock().unwrap().push((name, wanted));
            bytes
        })
    };
    let _caches = [cache("a", 30), cache("b", 20)];
    let memory = Fake::new().on_failure(list.hook());
    memory.upstream().fail_next([AllocErrorKind::OutOfMemory; 3]);
    let _leaked = memory.allocate_on(layout(100), &stream()).unwrap();
    let all = u64::MAX;
    let expected = [("a", 100), ("b", 70), ("a", 50), ("b", 20), ("a", all), ("b", all)];
    assert_eq!(*asked.lock().unwrap(), expected);
}

#[test]
fn a_second_attempt_asks_every_cache() {
    let (list, log) = (Reclaimers::new(), Log::default());
    let _caches = [cache(&list, &log, "a", 100), cache(&list, &log, "b", 100)];
    let memory = Fake::new().on_failure(list.hook());
    let oom = AllocErrorKind::OutOfMemory;
    memory.upstream().fail_next([oom, oom]);
    let _leaked = memory.allocate_on(layout(50), &stream()).unwrap();
    assert_eq!(*log.lock().unwrap(), ["a", "a", "b"]);
}

#[test]
fn the_hook_gives_up_when_nothing_is_freed() {
    let (list, log) = (Reclaimers::new(), Log::default());
    let _empty = cache(&list, &log, "empty", 0);
    let memory = Fake::new().on_failure(list.hook());
    memory.upstream().fail_always(Some(AllocErrorKind::OutOfMemory));
    memory.allocate_on(layout(1), &stream()).unwrap_err();
    assert_eq!((memory.upstream().asked(), memory.handle().counts().unwrap().hook_calls), (1, 1));
}

#[test]
fn a_cache_that_panics_leaves_the_list_usable() {
    let list = Reclaimers::new();
    let broken = list.register("broken", || panic!("a cache fails"));
    let _works = list.register("works", || 5);
    let reclaim = std::panic::AssertUnwindSafe(|| list.reclaim(1));
    assert!(std::panic::catch_unwind(reclaim).is_err());
    drop(broken);
    assert_eq!(list.reclaim(1), 5);
}
