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
use std::thread::{self, ThreadId};

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

/// A pool into which the allocations of a capture go.
struct Begun {
    device: c_int,
    id: PoolId,
    /// Which began it.
    thread: ThreadId,
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

/// A capture is about to begin on this thread.
pub(super) fn begin(device: c_int, id: PoolId) {
    if fork::is_child() {
        return;
    }
    let thread = thread::current().id();
    with(|graphs| {
        *graphs.users.entry(id).or_default() += 1;
        graphs.begun.push(Begun { device, id, thread });
    });
}

pub(super) fn end(device: c_int, id: PoolId) {
    if is_idle() {
        return;
    }
    with(|graphs| {
        let at = graphs.begun.iter().position(|begun| begun.device == device && begun.id == id);
        at.map(|at| graphs.begun.remove(at));
    });
}

/// Whether something is captured on the device.
pub(super) fn is_capturing(device: c_int) -> bool {
    !is_idle() && with(|graphs| graphs.begun.iter().any(|begun| begun.device == device))
}

/// The pool that an allocation goes to, if to any.
///
/// PyTorch passes a filter to ask, a function of C++ that may throw. What it says is known without: whether the
/// stream captures. Only where several graphs are captured at once, the thread must tell which it is.
///
/// # Safety
/// The stream exists during the call.
pub(super) unsafe fn pool_of(device: c_int, stream: usize) -> Result<Option<PoolId>, Refusal> {
    // Nobody captures the default streams.
    if stream <= 2 || !is_capturing(device) {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    if !unsafe { aside::is_capturing(device, stream) }? {
        return Ok(None);
    }
    let here = thread::current().id();
    with(|graphs| {
        let begun = graphs.begun.iter().filter(|begun| begun.device == device);
        let begun: Vec<_> = begun.collect();
        let own = begun.iter().find(|begun| begun.thread == here);
        match (begun.as_slice(), own) {
            (_, Some(own)) => Ok(Some(own.id)),
            ([] | [_], None) => Ok(begun.first().map(|only| only.id)),
            (_, None) => Err(Refusal::internal(
                "several graphs are captured at once, and this thread began none of them: which one \
                 its memory is for cannot be told",
            )),
        }
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
pub(super) fn release(id: PoolId) {
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
