//! The heap of each thread, counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Counts what each thread allocates. What it frees of another's is booked on itself.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static HEAP: Counting = Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        let live = LIVE.with(|live| {
            live.set(live.get().wrapping_add(layout.size()));
            live.get()
        });
        // A thread that frees what others allocated is below nothing.
        if live < usize::MAX / 2 {
            PEAK.with(|peak| peak.set(peak.get().max(live)));
        }
        // SAFETY: the caller keeps the same promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.with(|live| live.set(live.get().wrapping_sub(layout.size())));
        // SAFETY: the caller keeps the same promises.
        unsafe { System.dealloc(ptr, layout) }
    }
}

/// How often this thread has allocated.
pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

/// How many bytes this thread has allocated and not freed.
pub(crate) fn live() -> usize {
    LIVE.with(Cell::get)
}

/// Forgets what was live before.
pub(crate) fn start_peak() {
    PEAK.with(|peak| peak.set(live()));
}

/// The most bytes that were live since.
pub(crate) fn peak() -> usize {
    PEAK.with(Cell::get)
}
