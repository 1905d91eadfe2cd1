//! Allocating and freeing.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use serde_json::json;
use vmem_core::author::StreamExt;
use vmem_core::{
    AllocError, Block, BlockLayout, Event, Label, LayoutError, MemoryEventKind, RawStream, Request,
    Stream,
};

use crate::abi::{place, pointer, text};
use crate::boundary::guard;
use crate::callback;
use crate::instance::{self, Instance, open_device};
use crate::recording;
use crate::status::{Failure, vmem_status};
use crate::streams::normal;
use crate::table::{self, Live, Uses};

/// A stream: a `CUstream` or `cudaStream_t`, which convert to it. The values 0 and 1 are the legacy default
/// stream, 2 is the calling thread's default stream, whatever a program was built with.
#[allow(non_camel_case_types, reason = "a name of the C header")]
pub type vmem_stream = *mut c_void;

/// The legacy default stream.
pub const VMEM_STREAM_LEGACY: usize = 1;
/// The calling thread's default stream.
pub const VMEM_STREAM_PER_THREAD: usize = 2;

/// A stream as the driver's calls take it.
pub(crate) fn handle(stream: vmem_stream) -> RawStream {
    RawStream(stream.expose_provenance() as u64)
}

/// Allocates `size` bytes of device memory, aligned to `alignment` bytes (a power of two, at most 2 MiB;
/// 0 for 256), for use in the order of `stream`: by work queued on it after this call returned, and by work
/// ordered after that point.
///
/// The caller vouches for the stream: it exists, and is not destroyed during the call. `tag` names what
/// the memory is for in statistics, and may be null; tags should come from a bounded set. 0 bytes are a
/// null pointer, which can be freed.
///
/// # Safety
/// The stream is valid during the call; `tag` is null or ends with a zero; `ptr` may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_allocate(
    size: u64,
    alignment: u64,
    device: i32,
    stream: vmem_stream,
    tag: *const c_char,
    ptr: *mut *mut c_void,
) -> vmem_status {
    guard("vmem_allocate", || {
        let ptr = place(ptr, "ptr")?;
        // SAFETY: the caller's promise.
        unsafe { ptr.put(std::ptr::null_mut()) };
        let open = open_device(device)?;
        let Some(instance) = &*open else { return Ok(()) };
        if size == 0 {
            return Ok(());
        }
        let alignment = if alignment == 0 { BlockLayout::DEFAULT_ALIGNMENT } else { alignment };
        let layout = BlockLayout::with_alignment(size, alignment).map_err(refused_layout)?;
        // SAFETY: the caller's promise.
        let label = match unsafe { text(tag, "tag") }? {
            Some(tag) => Label::intern(tag),
            None => Label::current(),
        };
        // SAFETY: the caller's promise.
        let address = unsafe { allocate(instance, layout, handle(stream), label) }?;
        // SAFETY: the caller's promise.
        unsafe { ptr.put(address) };
        Ok(())
    })
}

fn refused_layout(error: LayoutError) -> Failure {
    let status = match error {
        LayoutError::SizeTooLarge { .. } => vmem_status::VMEM_ERROR_NEVER_FITS,
        _ => vmem_status::VMEM_ERROR_INVALID_ARGUMENT,
    };
    Failure::new(status, error.to_string())
}

/// So often a stream is named anew that other threads hold or forget while it is allocated on.
const NAMINGS: usize = 16;

/// # Safety
/// The handle names a stream that is not destroyed during the call.
unsafe fn allocate(
    instance: &Arc<Instance>,
    layout: BlockLayout,
    handle: RawStream,
    label: Label,
) -> Result<*mut c_void, Failure> {
    // SAFETY: the caller's promise.
    let mut named = unsafe { instance.streams.name(handle) }?;
    let mut result = named.vouched(|| ask(instance, layout, &named.stream, label));
    for _ in 1..NAMINGS {
        if result.is_ok() || !named.stream.is_retired() {
            break;
        }
        // The caller vouches for the stream, which is another one to the library from now on.
        instance.streams.know_no_more(normal(handle), &named.stream);
        drop(named);
        // SAFETY: the caller's promise.
        named = unsafe { instance.streams.name(handle) }?;
        result = named.vouched(|| ask(instance, layout, &named.stream, label));
    }
    let kind = match &result {
        Ok(block) => MemoryEventKind::Allocate { ptr: block.ptr(), layout },
        Err(_) => MemoryEventKind::Failure { layout },
    };
    recording::tell(instance, kind, &named.stream, label);
    let block = result.map_err(|error| {
        Failure::from(error).with(
            "request",
            json!({
                "size": layout.size(), "alignment": layout.alignment(),
                "device": instance.ordinal, "stream": handle.0, "tag": label.as_str(),
            }),
        )
    })?;
    let raw = block.into_raw();
    let (stream, handle) = (named.stream, normal(handle));
    table::enter(Live { raw, instance: instance.clone(), stream, handle, uses: None });
    Ok(pointer(raw.ptr().get()))
}

fn ask(
    instance: &Instance,
    layout: BlockLayout,
    stream: &Stream,
    label: Label,
) -> Result<Block, AllocError> {
    let request = Request::new(layout, stream).with_label(label);
    let request = if callback::is_running() { request.without_retry() } else { request };
    instance.resource.allocate(&request)
}

/// Frees a block by its address, in the order of `stream`: what was queued on it before, and all that it
/// waits for, may still use the block. Any thread may free, without a context too, while a stream captures,
/// and after `vmem_close`. A null pointer is nothing to free. Makes no call of the driver that names the
/// stream, and never waits.
///
/// The stream need not exist any more: the block then serves its own stream, which is never asked for
/// again, and others after `vmem_forget_stream` had marked it, or `vmem_synchronize`. A stream that this
/// library never met in a call that vouches for it is taken for one that nobody can name: what is freed on
/// it waits for `vmem_synchronize`. Who can vouch for the stream calls `vmem_free_vouched`.
///
/// Once the block's own stream was forgotten its handle may be another stream's, and means the one that a
/// caller has vouched for since. If none has, the block waits for `vmem_synchronize`.
///
/// # Safety
/// Work that uses the block is ordered before what follows on `stream`, and none follows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_free(ptr: *mut c_void, stream: vmem_stream) -> vmem_status {
    guard("vmem_free", || {
        let Some(live) = take(ptr)? else { return Ok(()) };
        let order = Order::of(&live, handle(stream));
        // SAFETY: the caller's promise.
        unsafe { free(live, order) }
    })
}

/// The same, by a caller who vouches for the stream: it exists, and is not destroyed during the call. So a
/// stream need not be known, and others find what was freed on it sooner.
///
/// # Safety
/// As `vmem_free`; and the stream is valid during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_free_vouched(ptr: *mut c_void, stream: vmem_stream) -> vmem_status {
    guard("vmem_free_vouched", || {
        let Some(live) = take(ptr)? else { return Ok(()) };
        // SAFETY: the caller's promise.
        match unsafe { live.instance.streams.name(handle(stream)) } {
            Ok(named) => {
                let order = match named.is_identified {
                    true => Order::of_stream(On::Other(named.stream.clone())),
                    false => Order::of(&live, handle(stream)),
                };
                // SAFETY: the caller's promise.
                named.vouched(|| unsafe { free(live, order) })
            }
            Err(failure) => {
                table::enter(live);
                Err(failure)
            }
        }
    })
}

/// Notes that work now on `stream` uses a block, so that it is over before the block is used again, whatever
/// stream it is freed on. The caller vouches for the stream. Not for work that a graph captures.
///
/// VMEM_ERROR_CAPTURING if the stream captures. After any other failure the block, once freed, waits for
/// `vmem_synchronize`.
///
/// # Safety
/// The stream is valid during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_record_use(ptr: *mut c_void, stream: vmem_stream) -> vmem_status {
    guard("vmem_record_use", || {
        let Some(address) = table::address(ptr) else { return Ok(()) };
        let address = address.get();
        let instance = table::with(address, |live| live.instance.clone());
        let instance = instance.ok_or_else(|| not_a_block(address))?;
        // SAFETY: the caller's promise.
        let (note, result) = match unsafe { instance.streams.name(handle(stream)) } {
            Ok(named) => match named.vouched(|| named.stream.marker()) {
                Ok(marker) => (Note::Marker(named.stream.id(), marker), Ok(())),
                Err(error) if error.is_capture() => return Err(error.into()),
                Err(error) => match named.vouched(|| named.stream.synchronize_alone()) {
                    Ok(()) => return Ok(()),
                    Err(_) => (Note::Lost, Err(error.into())),
                },
            },
            Err(failure) => (Note::Lost, Err(failure)),
        };
        let pending = table::with(address, |live| live.uses.get_or_insert_default().note(note));
        // Asked about without the table's lock, and dropped there too.
        let pending = pending.ok_or_else(|| not_a_block(address))?;
        let pending: Vec<_> = pending.into_iter().filter(|(_, event)| !is_over(event)).collect();
        if !pending.is_empty() {
            table::with(address, |live| live.uses.get_or_insert_default().events.extend(pending));
        }
        result
    })
}

/// What a call to record a use came to.
enum Note {
    Marker(vmem_core::StreamId, Event),
    Lost,
}

/// So many uses are kept before it is looked which are over.
const FEW: usize = 16;

impl Uses {
    /// Adds a use. Returns what is to be looked at, once there are many.
    fn note(&mut self, note: Note) -> Vec<(vmem_core::StreamId, Event)> {
        match note {
            Note::Marker(stream, event) => self.events.push((stream, event)),
            Note::Lost => self.lost = true,
        }
        if self.events.len() >= FEW.max(self.look_at) {
            let events = std::mem::take(&mut self.events);
            self.look_at = 2 * events.len();
            return events;
        }
        Vec::new()
    }
}

/// Whether an event is known to be over. One that cannot be asked about is not.
fn is_over(event: &Event) -> bool {
    matches!(event.is_complete(), Ok(true))
}

/// Takes a block that is to be freed out of the table; none for null.
fn take(ptr: *mut c_void) -> Result<Option<Live>, Failure> {
    let Some(address) = table::address(ptr) else { return Ok(None) };
    let address = address.get();
    table::take(address).map(Some).ok_or_else(|| not_a_block(address))
}

/// Why an address is not one of a block.
#[cold]
pub(crate) fn not_a_block(address: u64) -> Failure {
    let text = match table::holding(address) {
        Some(found) => format!(
            "{address:#x} lies inside the block that starts at {} and has {} B; blocks are known by where \
             they start",
            found.raw.ptr(),
            found.raw.layout().size(),
        ),
        None => format!(
            "no live block is at {address:#x}: it was freed before, or never came from this library"
        ),
    };
    Failure::new(vmem_status::VMEM_ERROR_NOT_A_BLOCK, text).with("address", json!(address))
}

/// In whose order a block is freed.
struct Order {
    on: On,
    /// What must be over besides.
    after: Option<Event>,
}

/// A stream to free on.
enum On {
    /// The block's own.
    Home,
    Legacy,
    Other(Stream),
    /// One that nobody can name.
    Nameless,
}

impl Order {
    const fn of_stream(on: On) -> Self {
        Self { on, after: None }
    }

    /// What a handle means for which nobody vouches, without giving it to the driver.
    ///
    /// If it is the one that the block was allocated with, it means that stream: hosts free with what they
    /// remember, and should the handle name another by now, the block's own stream is dead and serves
    /// nobody. Any other means what it meant when somebody last vouched for it; should it name another by
    /// now, that one is dead in the same way.
    ///
    /// A stream that was forgotten, or held since, is over: it serves everybody behind its last marker,
    /// which says nothing of work that came later under its handle.
    fn of(live: &Live, handle: RawStream) -> Self {
        let streams = &live.instance.streams;
        Self::of_stream(match normal(handle) {
            RawStream::LEGACY => On::Legacy,
            RawStream::PER_THREAD if live.handle == RawStream::PER_THREAD => {
                return Self::of_thread(live);
            }
            RawStream::PER_THREAD => On::Other(streams.of_thread()),
            same if same == live.handle => match live.stream.final_marker() {
                None => On::Home,
                Some(last) => {
                    return match streams.remembered(same) {
                        Some(now) => Self { on: On::Other(now), after: Some(last) },
                        None => Self::of_stream(On::Nameless),
                    };
                }
            },
            other => streams.remembered(other).map_or(On::Nameless, On::Other),
        })
    }

    /// A block of a thread's default stream, freed on a thread's default stream: the caller may mean that of
    /// the thread that allocated, or its own. Both are heeded.
    fn of_thread(live: &Live) -> Self {
        let own = live.instance.streams.of_thread();
        if live.stream.is_callable_here() {
            return Self::of_stream(On::Other(own));
        }
        if live.stream.is_orphaned() || live.stream.is_retired() {
            return Self::of_stream(On::Nameless);
        }
        match own.marker() {
            Ok(after) => Self { on: On::Home, after: Some(after) },
            Err(_) => Self::of_stream(On::Nameless),
        }
    }
}

/// # Safety
/// The contract's freeing clauses hold of the stream.
unsafe fn free(live: Live, order: Order) -> Result<(), Failure> {
    let streams = &live.instance.streams;
    let stream = match &order.on {
        On::Home => &live.stream,
        On::Legacy => streams.legacy(),
        On::Other(stream) => stream,
        On::Nameless => streams.nameless(),
    };
    let is_ordered = (live.uses.is_none() && order.after.is_none())
        || precede(live.uses.as_deref(), order.after.as_ref(), stream);
    let stream = if is_ordered { stream } else { streams.nameless() };
    let (ptr, layout, label) = (live.raw.ptr(), live.raw.layout(), live.raw.label());
    // SAFETY: contract, implementing/owned: these are a live block's parts, and the table, which had them
    // once, has them no more.
    let block = unsafe { Block::from_raw(live.raw) };
    // SAFETY: contract, freeing: the caller's promise; what was recorded besides is in the stream's inbox,
    // or the stream is one that waits for the device.
    match unsafe { live.instance.resource.deallocate(block, stream) } {
        Ok(()) => {
            let kind = MemoryEventKind::Free { ptr, layout };
            recording::tell(&live.instance, kind, stream, label);
            if live.instance.is_closed() {
                drop((order, live));
                instance::settle();
            }
            Ok(())
        }
        Err(error) => {
            let failure = Failure::from(error);
            if failure.status != vmem_status::VMEM_ERROR_INTERNAL {
                table::enter(live);
            }
            Err(failure)
        }
    }
}

/// Has all that was recorded come before what follows on a stream. Returns whether that could be had.
#[cold]
fn precede(uses: Option<&Uses>, after: Option<&Event>, stream: &Stream) -> bool {
    if uses.is_some_and(|uses| uses.lost) {
        return false;
    }
    let uses = uses.into_iter().flat_map(|uses| &uses.events);
    let others = uses.filter(|(user, _)| *user != stream.id()).map(|(_, event)| event);
    others.chain(after).all(|event| stream.wait_later(event).is_ok())
}
