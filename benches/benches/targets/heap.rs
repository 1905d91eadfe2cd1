//! What is taken from the host's heap.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use vmem_core::ResourceExt;
use vmem_trace::RandomConfig;

use crate::subject::{CAPACITY, Churn, Memory, arena_pool};
use crate::table::{Bound, Table, Unit};
use vmem_benches::device;

/// The system's allocator, counting.
pub(crate) struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static HELD: AtomicU64 = AtomicU64::new(0);

/// How often anything was allocated.
pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// The bytes that are allocated now.
fn held() -> u64 {
    HELD.load(Ordering::Relaxed)
}

fn took(bytes: usize) {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    HELD.fetch_add(bytes as u64, Ordering::Relaxed);
}

fn gave_back(bytes: usize) {
    HELD.fetch_sub(bytes as u64, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: the caller keeps the clauses, which are the same there.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: the caller keeps the clauses, which are the same there.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        gave_back(layout.size());
        // SAFETY: the caller keeps the clauses, which are the same there.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        took(new_size);
        gave_back(layout.size());
        // SAFETY: the caller keeps the clauses, which are the same there.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

/// The heap memory of a pool with 36,000 live blocks less that of the pool when it was empty, over
/// the blocks. What the simulated device keeps of its own, for each granule, is left out: the empty
/// pool holds as much from it.
pub(crate) fn metadata(table: &mut Table) {
    let config = RandomConfig::LARGE;
    let live = usize::try_from(config.live).expect("they fit the host's memory");
    let mut memory = Memory::on(device(CAPACITY), 1, |device| arena_pool(device).into_dyn());
    let all = memory.allocate(config.live * config.max_size, 0);
    memory.free(all, 0);
    let mut churn = Churn::empty(live, config.min_size..=config.max_size);
    let empty = held();
    churn.fill(&mut memory);
    let per_block = (held() - empty) as f64 / live as f64;
    churn.end(&mut memory);
    let what = "pool's heap memory per block, 36,000 live";
    table.exact(what, per_block, Unit::Bytes, Bound::AtMost(64.0));
}
