//! Uses of a block on other streams than its own.

use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};

use vmem_core::author::StreamExt;
use vmem_core::{Event, Stream, StreamId};

use crate::boundary::guard;
use crate::memory::{handle, vmem_stream};
use crate::status::vmem_status;
use crate::streams::normal;
use crate::table::{self, not_a_block};

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
        let (noted, result) = match unsafe { instance.streams.name(handle(stream)) } {
            Ok(named) => {
                let began = now();
                match named.vouched(|| named.stream.marker()) {
                    Ok(event) => {
                        let user = named.stream.id();
                        (Noted::Use(Use { user, event, began, ended: now() }), Ok(()))
                    }
                    Err(error) if error.is_capture() => return Err(error.into()),
                    Err(error) => match named.vouched(|| named.stream.synchronize_alone()) {
                        Ok(()) => return Ok(()),
                        Err(_) => (Noted::Lost, Err(error.into())),
                    },
                }
            }
            Err(failure) => (Noted::Lost, Err(failure)),
        };
        let passed = table::with(address, |live| live.uses.get_or_insert_default().note(noted));
        // Asked about without the table's lock, and dropped there too.
        let (covered, mut pending) = passed.ok_or_else(|| not_a_block(address))?;
        drop(covered);
        pending.retain(|used| !matches!(used.event.is_complete(), Ok(true)));
        if !pending.is_empty() {
            table::with(address, |live| live.uses.get_or_insert_default().list.extend(pending));
        }
        result
    })
}

/// Notes that work on `stream` may use a block until it is freed: all that is queued there by then is over
/// before the block is used again. Makes no call of the driver before the free, which leaves a marker on the
/// stream if that is held (vmem_hold_stream) or the legacy default stream, or its last one if it was forgotten
/// meanwhile. Otherwise, and where the marker cannot be had, because the stream captures say, the block, once
/// freed, waits for `vmem_synchronize`. The calling thread's default stream can be marked by that thread alone.
///
/// # Safety
/// The stream is valid during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_use_until_free(ptr: *mut c_void, stream: vmem_stream) -> vmem_status {
    guard("vmem_use_until_free", || {
        let Some(address) = table::address(ptr) else { return Ok(()) };
        let address = address.get();
        let instance = table::with(address, |live| live.instance.clone());
        let instance = instance.ok_or_else(|| not_a_block(address))?;
        let handle = handle(stream);
        let lasting = instance.streams.lasting(handle);
        let noted = table::with(address, |live| {
            // The block's own stream is told from others when it is freed.
            let own = (normal(handle) == live.handle).then(|| live.stream.clone());
            let uses = live.uses.get_or_insert_default();
            match lasting.or(own) {
                Some(stream) if uses.users.contains(&stream) => {}
                Some(stream) => uses.users.push(stream),
                None => uses.lost = true,
            }
        });
        noted.ok_or_else(|| not_a_block(address))
    })
}

/// Uses of a block that come before its free: the latest of each stream, or several where threads noted them
/// at the same time.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    list: Vec<Use>,
    /// Streams that use it until it is freed.
    users: Vec<Stream>,
    /// With so many it is looked which are over.
    look_at: usize,
    /// A use could not be marked: nothing tells when it is over but a wait for the device.
    lost: bool,
}

/// One use, up to its marker.
#[derive(Debug)]
struct Use {
    user: StreamId,
    event: Event,
    /// Before the marker was recorded.
    began: u64,
    /// Afterwards.
    ended: u64,
}

/// What a call to record a use came to.
enum Noted {
    Use(Use),
    Lost,
}

/// So many uses are kept before it is looked which are over.
const FEW: usize = 16;

impl Uses {
    /// Adds a use. Returns what it covers, and, once there are many, all that are left, which are to be put
    /// back unless they are over. Neither is to be dropped under a lock.
    fn note(&mut self, noted: Noted) -> (Vec<Use>, Vec<Use>) {
        let mut covered = Vec::new();
        match noted {
            Noted::Use(new) => {
                covered = self.list.extract_if(.., |old| new.covers(old)).collect();
                self.list.push(new);
            }
            Noted::Lost => self.lost = true,
        }
        if self.list.len() < FEW.max(self.look_at) {
            return (covered, Vec::new());
        }
        self.look_at = 2 * self.list.len();
        (covered, std::mem::take(&mut self.list))
    }

    /// Has what all streams but one did with the block come before what follows on that one. Returns whether
    /// that could be had. To be called once no further use can begin.
    pub(crate) fn precede(&self, stream: &Stream) -> bool {
        let id = stream.id();
        let mut before = self.list.iter().filter(|used| used.user != id);
        !self.lost
            && before.all(|used| stream.wait_later(&used.event).is_ok())
            && self.users.iter().filter(|user| user.id() != id).all(|user| {
                let marker = user.final_marker().map_or_else(|| user.marker(), Ok);
                marker.is_ok_and(|event| stream.wait_later(&event).is_ok())
            })
    }
}

impl Use {
    /// Whether its marker was recorded on the same stream, and later.
    fn covers(&self, other: &Self) -> bool {
        self.user == other.user && other.ended < self.began
    }
}

/// A number that only grows, to tell what was recorded later. One that is drawn after a call returned is
/// larger than one that was drawn before it.
fn now() -> u64 {
    static CLOCK: AtomicU64 = AtomicU64::new(0);
    CLOCK.fetch_add(1, Ordering::SeqCst)
}
