//! Faults that a review found where streams end, capture, or belong to other threads.

use std::sync::Arc;

use vmem_core::{Block, Device, MemoryResource, ResourceExt, Stream};
use vmem_pool::{Chunks, Growth, Pool, PoolConfig};
use vmem_sim::Kernel;

use crate::support::{MIB, alloc, arena, device, free, keep_busy, layout};

#[test]
fn a_capturing_stream_does_not_hide_what_another_freed() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default().with_ceiling(20 * MIB));
    let [a, b, c] = [(); 3].map(|()| Stream::new(device.clone()).unwrap());
    let x = alloc(&pool, 8 * MIB, &a);
    let gap = alloc(&pool, 2 * MIB, &c);
    let y = alloc(&pool, 8 * MIB, &b);
    let end = alloc(&pool, 2 * MIB, &c);
    keep_busy(&device, &x, &a);
    keep_busy(&device, &y, &b);
    free(&pool, x, &a);
    free(&pool, y, &b);
    device.begin_capture(&a).unwrap();
    let r = pool.allocate_on(layout(8 * MIB), &c);
    device.end_capture(&a).unwrap();
    assert!(r.is_ok(), "{:?}", r.err());
    free(&pool, r.unwrap(), &c);
    free(&pool, gap, &c);
    free(&pool, end, &c);
}

#[test]
fn the_legacy_default_stream_is_new_after_it_was_retired() {
    let device = device();
    let erased: Arc<dyn Device> = device.clone();
    let kept = Stream::legacy_default(erased.clone());
    kept.retire().unwrap();
    assert!(!Stream::legacy_default(erased.clone()).is_retired(), "legacy");
}

#[test]
fn a_threads_default_stream_is_new_after_it_was_retired() {
    let device = device();
    let erased: Arc<dyn Device> = device.clone();
    let kept = Stream::per_thread_default(erased.clone());
    kept.retire().unwrap();
    assert!(!Stream::per_thread_default(erased.clone()).is_retired());
}

#[test]
fn a_request_for_another_threads_default_stream_gets_nothing_that_needs_a_wait() {
    let device = device();
    let erased: Arc<dyn Device> = device.clone();
    let pool = Arc::new(arena(device.clone(), PoolConfig::default().with_ceiling(8 * MIB)));
    let s = Stream::new(device.clone()).unwrap();
    let x = alloc(&*pool, 8 * MIB, &s);
    keep_busy(&device, &x, &s);
    free(&*pool, x, &s);
    let home = Stream::per_thread_default(erased.clone());
    let r = {
        let (pool, home) = (pool.clone(), home.clone());
        std::thread::spawn(move || pool.allocate_on(layout(8 * MIB), &home)).join().unwrap()
    };
    if let Ok(block) = r {
        let k = Kernel::write_pattern(block.ptr(), block.size(), 2);
        // SAFETY: contract, devices/handles, devices/ranges and devices/threads: a live block, on
        // this thread's own default stream.
        unsafe { device.launch_raw(home.raw(), k) }.unwrap();
        free(&*pool, block, &home);
    }
    device.synchronize().unwrap();
    device.assert_clean();
}

type Hook = Arc<std::sync::Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// An upstream that lets something happen in the middle of a request: what another thread could do.
struct Hooked<U> {
    up: U,
    hook: Hook,
}
impl<U: std::fmt::Debug> std::fmt::Debug for Hooked<U> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.up.fmt(f)
    }
}
impl<U: MemoryResource> std::fmt::Display for Hooked<U> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hooked<{}>", self.up)
    }
}

// SAFETY: contract, implementing: every call goes to one resource that keeps it.
unsafe impl<U: MemoryResource> MemoryResource for Hooked<U> {
    fn allocate(&self, r: &vmem_core::Request<'_>) -> Result<Block, vmem_core::AllocError> {
        self.up.allocate(r)
    }
    unsafe fn deallocate(&self, b: Block, s: &Stream) -> Result<(), vmem_core::FreeError> {
        let hook = self.hook.lock().unwrap().take();
        if let Some(hook) = hook {
            hook()
        }
        // SAFETY: the caller keeps the freeing clauses, which are the same there.
        unsafe { self.up.deallocate(b, s) }
    }
    fn device(&self) -> &Arc<dyn Device> {
        self.up.device()
    }

    fn capabilities(&self) -> vmem_core::Capabilities {
        self.up.capabilities()
    }
}

#[test]
fn a_wait_asked_while_a_request_climbs_is_queued_before_the_block_is_used() {
    let device = device();
    let erased: Arc<dyn Device> = device.clone();
    let hook = Hook::default();
    let up = Hooked { up: vmem_core::DeviceMemory::new(device.clone()), hook: hook.clone() };
    let config = PoolConfig::default().with_ceiling(5 * MIB).with_growth(Growth::Exact);
    let pool = Arc::new(Pool::new(Chunks::new(up), config).unwrap());
    let home = Stream::per_thread_default(erased.clone());
    let block = alloc(&*pool, 4 * MIB, &home);
    let small = alloc(&*pool, MIB, &home);
    free(&*pool, small, &home);
    home.synchronize().unwrap();
    let user = Stream::new(device.clone()).unwrap();
    {
        let (device, pool, home, user) = (device.clone(), pool.clone(), home.clone(), user.clone());
        *hook.lock().unwrap() = Some(Box::new(move || {
            std::thread::spawn(move || {
                keep_busy(&device, &block, &user);
                home.wait(&user.marker().unwrap()).unwrap();
                free(&*pool, block, &home);
            })
            .join()
            .unwrap();
        }));
    }
    let again = alloc(&*pool, 4 * MIB, &home); // misses, trims `small` (hook), hits
    assert!(hook.lock().unwrap().is_none());
    let k = Kernel::write_pattern(again.ptr(), again.size(), 2);
    // SAFETY: contract, devices/handles, devices/ranges and devices/threads: a live block, on this
    // thread's own default stream.
    unsafe { device.launch_raw(home.raw(), k) }.unwrap();
    free(&*pool, again, &home);
    device.synchronize().unwrap();
    device.assert_clean();
}

#[test]
fn a_retired_stream_is_refused_memory_at_hand_too() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default().with_initial(2 * MIB));
    let s = Stream::new(device.clone()).unwrap();
    s.retire().unwrap();
    assert!(pool.allocate_on(layout(MIB), &s).is_err());
}

#[test]
fn a_hit_for_another_threads_default_stream_waits_for_what_was_asked_of_it() {
    let device = device();
    let erased: Arc<dyn Device> = device.clone();
    let pool = Arc::new(arena(device.clone(), PoolConfig::default()));
    let home = Stream::per_thread_default(erased.clone());
    let block = alloc(&*pool, 4 * MIB, &home);
    home.synchronize().unwrap();
    let (d, p, h) = (device.clone(), pool.clone(), home.clone());
    let again = std::thread::spawn(move || {
        let user = Stream::new(d.clone()).unwrap();
        keep_busy(&d, &block, &user);
        h.wait(&user.marker().unwrap()).unwrap();
        free(&*p, block, &h);
        alloc(&*p, 4 * MIB, &h)
    })
    .join()
    .unwrap();
    let k = Kernel::write_pattern(again.ptr(), again.size(), 2);
    // SAFETY: contract, devices/handles, devices/ranges and devices/threads: a live block, on this
    // thread's own default stream.
    unsafe { device.launch_raw(home.raw(), k) }.unwrap();
    free(&*pool, again, &home);
    device.synchronize().unwrap();
    device.assert_clean();
}
