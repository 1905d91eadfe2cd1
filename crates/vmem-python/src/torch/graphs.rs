//! Memory of graphs that PyTorch captures.
//!
//! A graph uses its memory whenever it is launched, after the tensors of the capture are gone. So what is
//! allocated in a capture is cut from segments that belong to the graph's pool until PyTorch releases it. Parts
//! that are freed serve later requests of the same pool and stream, as they do in PyTorch's own allocator:
//! within one graph the stream's order holds, and graphs that share a pool are launched one after the other.

use std::collections::{BTreeMap, HashMap};
use std::ffi::c_int;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use vmem::vmem_stream;
use vmem_core::author::fork;

use super::{ALIGNMENT, aside};
use crate::calls::{Wanted, pointer};
use crate::error::Refusal;

/// `c10::MempoolId_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PoolId {
    first: u64,
    second: u64,
}

/// A `std::function<bool(cudaStream_t)>`.
#[repr(C)]
pub(super) struct Filter([usize; 4]);

unsafe extern "C" {
    fn vmem_gpu_torch_filter_copy(to: *mut Filter, from: *const Filter);
    fn vmem_gpu_torch_filter_drop(filter: *mut Filter);
}
unsafe extern "C-unwind" {
    fn vmem_gpu_torch_filter_accepts(filter: *const Filter, stream: vmem_stream) -> c_int;
}

impl Filter {
    /// # Safety
    /// `from` points to such a function.
    pub(super) unsafe fn copied(from: *const Self) -> Self {
        let mut own = Self([0; 4]);
        // SAFETY: the caller's promise. What a copy keeps inside of itself may be moved: libstdc++'s `swap`
        // moves it as bytes too.
        unsafe { vmem_gpu_torch_filter_copy(&raw mut own, from) };
        own
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // SAFETY: a copy of our own.
        unsafe { vmem_gpu_torch_filter_drop(&raw mut *self) };
    }
}

/// A pool into which allocations go.
struct Begun {
    device: c_int,
    id: PoolId,
    filter: Filter,
}

/// Memory of a pool.
struct Segment {
    id: PoolId,
    stream: usize,
    size: u64,
    /// What is free, by where it starts: its size.
    free: BTreeMap<u64, u64>,
    /// How many parts are in use.
    live: usize,
}

/// A part that is in use.
struct Part {
    segment: usize,
    start: u64,
    size: u64,
    /// Whether another stream uses it too, whose place in the graph nobody knows: it is not used again.
    is_shared: bool,
}

#[derive(Default)]
struct Graphs {
    begun: Vec<Begun>,
    /// How many captures and graphs use a pool.
    users: BTreeMap<PoolId, usize>,
    segments: BTreeMap<usize, Segment>,
    parts: HashMap<usize, Part>,
}

/// Held for moments: nothing waits under it, and no code of Python's runs.
static GRAPHS: Mutex<Option<Graphs>> = Mutex::new(None);

/// How many captures and parts there are. With none, nothing is looked up.
static BUSY: AtomicUsize = AtomicUsize::new(0);

fn with<R>(act: impl FnOnce(&mut Graphs) -> R) -> R {
    let mut graphs: MutexGuard<'_, Option<Graphs>> = fork::locked(|| GRAPHS.lock());
    let graphs = graphs.get_or_insert_default();
    let result = act(graphs);
    BUSY.store(graphs.begun.len() + graphs.parts.len(), Ordering::Release);
    result
}

fn is_idle() -> bool {
    BUSY.load(Ordering::Acquire) == 0 || fork::is_child()
}

pub(super) fn begin(device: c_int, id: PoolId, filter: Filter) {
    if fork::is_child() {
        return;
    }
    with(|graphs| {
        *graphs.users.entry(id).or_default() += 1;
        graphs.begun.push(Begun { device, id, filter });
    });
}

pub(super) fn end(device: c_int, id: PoolId) {
    if is_idle() {
        return;
    }
    let ended = with(|graphs| {
        let at = graphs.begun.iter().position(|begun| begun.device == device && begun.id == id);
        at.map(|at| graphs.begun.remove(at))
    });
    // Its filter is PyTorch's code, which is called without the lock.
    drop(ended);
}

/// Whether allocations on the device go to a pool.
pub(super) fn is_capturing(device: c_int) -> bool {
    !is_idle() && with(|graphs| graphs.begun.iter().any(|begun| begun.device == device))
}

/// The pool that an allocation goes to, if to any. PyTorch's filter, which may throw, decides.
pub(super) fn pool_of(device: c_int, stream: vmem_stream) -> Option<PoolId> {
    // Nobody captures the default streams, and to ask about one can break a capture.
    if is_idle() || stream.expose_provenance() <= 2 {
        return None;
    }
    with(|graphs| {
        let accepts = |begun: &&Begun| {
            // SAFETY: between `begin` and `end` it can be called.
            begun.device == device
                && unsafe { vmem_gpu_torch_filter_accepts(&raw const begun.filter, stream) } != 0
        };
        graphs.begun.iter().find(accepts).map(|begun| begun.id)
    })
}

/// Allocates from a pool.
pub(super) fn allocate(id: PoolId, wanted: Wanted<'_>) -> Result<usize, Refusal> {
    // What is too large to be rounded is refused as it is.
    let size = wanted.size.checked_next_multiple_of(ALIGNMENT).unwrap_or(wanted.size);
    if let Some(address) = with(|graphs| graphs.take(id, wanted.stream, size)) {
        return Ok(address);
    }
    let ask = |size| aside::allocate(Wanted { size, ..wanted });
    let whole = segment_size(size);
    let (base, whole) = match ask(whole) {
        Ok(base) => (base, whole),
        Err(refusal) if refusal.is_exhaustion() && whole > size => (ask(size)?, size),
        Err(refusal) => return Err(refusal),
    };
    Ok(with(|graphs| {
        let free = BTreeMap::from([(0, whole)]);
        let segment = Segment { id, stream: wanted.stream, size: whole, free, live: 0 };
        graphs.segments.insert(base, segment);
        graphs.cut(base, 0, size)
    }))
}

/// What PyTorch's own allocator asks the driver for.
fn segment_size(size: u64) -> u64 {
    const MIB: u64 = 1 << 20;
    if size <= MIB {
        2 * MIB
    } else if size < 10 * MIB {
        20 * MIB
    } else {
        size.checked_next_multiple_of(2 * MIB).unwrap_or(size)
    }
}

impl Graphs {
    /// The smallest free part that is large enough.
    fn take(&mut self, id: PoolId, stream: usize, size: u64) -> Option<usize> {
        let own = self.segments.iter().filter(|(_, own)| own.id == id && own.stream == stream);
        let free =
            own.flat_map(|(&base, own)| own.free.iter().map(move |(&at, &len)| (len, base, at)));
        let (_, base, start) = free.filter(|(len, ..)| *len >= size).min()?;
        Some(self.cut(base, start, size))
    }

    /// Cuts a part from where a free one starts.
    fn cut(&mut self, base: usize, start: u64, size: u64) -> usize {
        if let Some(segment) = self.segments.get_mut(&base) {
            let len = segment.free.remove(&start).unwrap_or(size);
            if len > size {
                segment.free.insert(start + size, len - size);
            }
            segment.live += 1;
        }
        let address = base + usize::try_from(start).unwrap_or(usize::MAX);
        self.parts.insert(address, Part { segment: base, start, size, is_shared: false });
        address
    }

    /// Puts a part back. Returns its segment's address if nobody needs the segment any more.
    fn put(&mut self, part: Part) -> Option<usize> {
        let segment = self.segments.get_mut(&part.segment)?;
        segment.live -= 1;
        if !part.is_shared {
            segment.put(part.start, part.size);
        }
        let is_over = segment.live == 0 && !self.users.contains_key(&segment.id);
        is_over.then(|| self.segments.remove(&part.segment)).map(|_| part.segment)
    }
}

impl Segment {
    /// Adds to what is free, and joins it with its neighbours.
    fn put(&mut self, mut start: u64, mut size: u64) {
        if let Some((&before, &len)) = self.free.range(..start).next_back()
            && before + len == start
        {
            self.free.remove(&before);
            (start, size) = (before, len + size);
        }
        if let Some(len) = self.free.remove(&(start + size)) {
            size += len;
        }
        debug_assert!(start + size <= self.size, "a part outside of its segment");
        self.free.insert(start, size);
    }
}

/// Frees what is a pool's. Returns whether it is.
pub(super) fn free(address: usize) -> bool {
    if is_idle() {
        return false;
    }
    let (found, over) = with(|graphs| match graphs.parts.remove(&address) {
        Some(part) => (true, graphs.put(part)),
        None => (false, None),
    });
    give_back(over);
    found
}

/// Notes that another stream than its own uses what is a pool's. Returns whether it is.
pub(super) fn record_use(address: usize) -> bool {
    !is_idle()
        && with(|graphs| graphs.parts.get_mut(&address).map(|part| part.is_shared = true).is_some())
}

/// One user less. A pool without any gives its segments back, those with live tensors once these are gone.
pub(super) fn release(_device: c_int, id: PoolId) {
    if fork::is_child() {
        return;
    }
    let over: Vec<usize> = with(|graphs| {
        if let Some(users) = graphs.users.get_mut(&id) {
            *users -= 1;
            if *users > 0 {
                return Vec::new();
            }
            graphs.users.remove(&id);
        }
        let over = graphs.segments.extract_if(.., |_, own| own.id == id && own.live == 0);
        over.map(|(base, _)| base).collect()
    });
    give_back(over);
}

/// Frees segments. Launches of a graph may be under way, on streams that nobody knows: the memory waits for the
/// device.
fn give_back(segments: impl IntoIterator<Item = usize>) {
    // An address of ours is no stream's handle.
    static NOBODY: u8 = 0;
    let nobody = (&raw const NOBODY).expose_provenance();
    for base in segments {
        // SAFETY: no graph that uses it is launched any more; what was launched is waited for with the device.
        let _ = unsafe { vmem::vmem_free(pointer(base), pointer(nobody)) };
    }
}
