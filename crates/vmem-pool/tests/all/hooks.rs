//! Hooks below a pool that call the pool: nothing hangs, and what cannot be had is refused with words.

use std::error::Error;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use vmem_adaptors::{Answer, Failure, OnFailure};
use vmem_core::{DeviceMemory, MemoryResource, ResourceExt, Stream};
use vmem_pool::{Chunks, Growth, Pool, PoolConfig, PoolHandle};
use vmem_sim::SimDevice;

use crate::support::{MIB, alloc, free, layout};

/// Everything that an error says.
fn words(error: &(dyn Error + 'static)) -> String {
    let below = error.source().map(words).unwrap_or_default();
    format!("{error}: {below}")
}

#[test]
fn a_hook_below_a_pool_that_uses_the_pool_is_refused_instead_of_waiting_for_itself() {
    type Above = (Weak<dyn MemoryResource>, PoolHandle);
    let device = SimDevice::new(16 * MIB);
    let above: Arc<OnceLock<Above>> = Arc::default();
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let (pool, said) = (above.clone(), told.clone());
    let hook = move |failure: &Failure<'_>| {
        let (pool, handle) = pool.get().unwrap();
        let pool = pool.upgrade().unwrap();
        // What is free in the pool is to be had.
        free(&pool, alloc(&pool, MIB, failure.stream), failure.stream);
        let refused = pool.allocate_on(layout(12 * MIB), failure.stream).unwrap_err();
        said.lock().unwrap().push(words(&refused));
        for trimmed in [handle.try_trim(0), handle.trim_to(0)] {
            said.lock().unwrap().push(words(&trimmed.unwrap_err()));
        }
        Answer::GiveUp
    };
    let upstream = OnFailure::new(DeviceMemory::new(device.clone()), hook);
    let config = PoolConfig::default().with_initial(4 * MIB).with_growth(Growth::Exact);
    let pool = Pool::new(Chunks::new(upstream), config).unwrap();
    let handle = pool.handle();
    let pool: Arc<dyn MemoryResource> = Arc::new(pool);
    assert!(above.set((Arc::downgrade(&pool), handle.clone())).is_ok());
    let stream = Stream::new(device.clone()).unwrap();
    let kept = alloc(&pool, 8 * MIB, &stream);
    // The chunk that it is in stays, and has room.
    let held = alloc(&pool, MIB, &stream);
    let error = pool.allocate_on(layout(10 * MIB), &stream).unwrap_err();
    assert!(error.kind().is_exhaustion(), "{error}");
    let told = std::mem::take(&mut *told.lock().unwrap());
    assert!(told.len() >= 3, "{told:?}");
    assert!(told.iter().all(|words| words.contains("belongs above")), "{told:?}");
    // Afterwards the pool works as ever.
    handle.check_invariants();
    free(&pool, kept, &stream);
    free(&pool, held, &stream);
    free(&pool, alloc(&pool, 10 * MIB, &stream), &stream);
    handle.trim_to(0).unwrap();
    assert_eq!(handle.counters().unwrap().reserved, 0);
    drop((pool, stream));
    device.assert_clean();
    assert!(device.leaks().is_empty(), "{:?}", device.leaks());
}
