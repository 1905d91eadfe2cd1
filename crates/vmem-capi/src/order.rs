//! Freeing, and in whose order.

use std::ffi::c_void;

use vmem_core::author::StreamExt;
use vmem_core::{Block, Event, MemoryEventKind, RawStream, Stream};

use crate::boundary::guard;
use crate::instance;
use crate::memory::{handle, vmem_stream};
use crate::recording;
use crate::status::{Failure, vmem_status};
use crate::streams::normal;
use crate::table::{self, Live, not_a_block};
use crate::uses::Uses;

/// Frees a block by its address, in the order of `stream`: what was queued on it before, and all that it
/// waits for, may still use the block. Any thread may free, without a context too, while a stream captures,
/// and after `vmem_close`. A null pointer is nothing to free. Never waits, but with managed memory
/// (`VMEM_MANAGED_MEMORY=1`) for the work on the stream, if that can be named. Makes no call of the driver that
/// names the stream, unless that is held or one of 0, 1 and 2, which last.
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
/// stream need not be known, and once a second stream is used others find at once what is freed: a marker is
/// left on the stream. Where the driver cannot say which stream it is, because it captures or the driver is
/// older than CUDA 12.0, this does what `vmem_free` does.
///
/// VMEM_ERROR_INVALID_STREAM if the stream belongs to another device; the block is then still allocated.
///
/// # Safety
/// As `vmem_free`; and the stream is valid during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_free_vouched(ptr: *mut c_void, stream: vmem_stream) -> vmem_status {
    guard("vmem_free_vouched", || {
        let Some(live) = take(ptr)? else { return Ok(()) };
        let handle = handle(stream);
        if handle.is_default() {
            // These last, whoever vouches; and whose a thread's default stream is may have to be told apart.
            let order = Order::of(&live, handle);
            // SAFETY: the caller's promise.
            return unsafe { free(live, order) };
        }
        // SAFETY: the caller's promise.
        match unsafe { live.instance.streams.name(handle) } {
            Ok(named) if named.is_identified => {
                let order = Order::of_stream(On::Other(named.stream.clone()));
                // SAFETY: the caller's promise.
                named.vouched(|| unsafe { free(live, order) })
            }
            Err(failure) if failure.status == vmem_status::VMEM_ERROR_INVALID_STREAM => {
                table::enter(live);
                Err(failure)
            }
            // Nothing tells which stream it is.
            Ok(_) | Err(_) => {
                let order = Order::of(&live, handle);
                // SAFETY: the caller's promise.
                unsafe { free(live, order) }
            }
        }
    })
}

/// Takes a block that is to be freed out of the table; none for null.
fn take(ptr: *mut c_void) -> Result<Option<Live>, Failure> {
    let Some(address) = table::address(ptr) else { return Ok(None) };
    let address = address.get();
    table::take(address).map(Some).ok_or_else(|| not_a_block(address))
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
            let Live { instance, stream, uses, .. } = live;
            drop((order, stream, uses));
            instance::leave(instance);
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
    uses.is_none_or(|uses| uses.precede(stream))
        && after.is_none_or(|event| stream.wait_later(event).is_ok())
}
