//! Recording what a program allocates and frees.

use std::ffi::c_char;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;
use vmem_core::{Label, MemoryEvent, MemoryEventKind, MemoryObserver, Stream};
use vmem_trace::Recorder;

use crate::abi::{place, text};
use crate::boundary::guard;
use crate::instance::{Instance, instance};
use crate::status::{Failure, vmem_status};

/// A recording in progress.
#[derive(Debug)]
pub(crate) struct Recording {
    recorder: Recorder,
}

/// Tells a recording, if there is one, of what happened.
#[inline]
pub(crate) fn tell(instance: &Instance, kind: MemoryEventKind, stream: &Stream, label: Label) {
    if instance.is_recorded.load(Ordering::Relaxed) {
        record(instance, kind, stream, label);
    }
}

#[cold]
fn record(instance: &Instance, kind: MemoryEventKind, stream: &Stream, label: Label) {
    if let Some(recording) = &*instance.recording.load() {
        let event = MemoryEvent::new(kind, instance.id).with_stream(stream.id()).with_label(label);
        recording.recorder.event(&event);
    }
}

/// Begins to record what is allocated and freed on a device into a new file, which vmem's tools read,
/// replay, compare and convert for others. A recording in progress ends. An event costs some tens of
/// nanoseconds and ten bytes; of a process that dies fewer than the last 128 events are lost.
///
/// # Safety
/// `path` ends with a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_start_recording(device: i32, path: *const c_char) -> vmem_status {
    guard("vmem_start_recording", || {
        // SAFETY: the caller's promise.
        let path = unsafe { text(path, "path") }?;
        let path = path.ok_or_else(|| Failure::argument("path is null"))?;
        let instance = instance(device)?;
        let recorder = Recorder::create(path).map_err(|error| io(path, &error))?;
        instance.recording.store(Some(Arc::new(Recording { recorder })));
        instance.is_recorded.store(true, Ordering::Relaxed);
        Ok(())
    })
}

/// Ends the recording of a device, which is then whole, and says how many events it has. `events` may be
/// null.
///
/// VMEM_ERROR_UNSUPPORTED if there is none, VMEM_ERROR_IO if not all of it could be written.
///
/// # Safety
/// `events` is null or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_stop_recording(device: i32, events: *mut u64) -> vmem_status {
    guard("vmem_stop_recording", || {
        let instance = instance(device)?;
        instance.is_recorded.store(false, Ordering::Relaxed);
        let Some(recording) = instance.recording.swap(None) else {
            let text = format!("device {device} is not recorded");
            return Err(Failure::new(vmem_status::VMEM_ERROR_UNSUPPORTED, text));
        };
        let recorded = recording.recorder.finish().map_err(|error| io("the recording", &error))?;
        if let Ok(events) = place(events, "events") {
            // SAFETY: the caller's promise.
            unsafe { events.put(recorded) };
        }
        Ok(())
    })
}

/// A file that cannot be written.
pub(crate) fn io(what: &str, error: &std::io::Error) -> Failure {
    let failure = Failure::new(vmem_status::VMEM_ERROR_IO, format!("{what}: {error}"));
    match error.raw_os_error() {
        Some(code) => failure.with("os_error", json!(code)),
        None => failure,
    }
}
