//! Kernels and graphs: work that the driver seam does not name.

use vmem_core::author::StreamExt;
use vmem_core::{DriverCode, DriverError, RawStream, Stream};

use super::SimDevice;
use crate::state::State;
use crate::stream::{Barrier, Submission, Work};
use crate::violation::Refusal;
use crate::{CallKind, CaptureMode, CaptureStatus, Graph, Kernel};

impl SimDevice {
    /// Queues a kernel.
    ///
    /// # Errors
    /// Those of [`StreamExt::with_raw`]; [`INVALID_CONTEXT`](DriverCode::INVALID_CONTEXT) for a
    /// stream of another device; [`INVALID_VALUE`](DriverCode::INVALID_VALUE) for a range outside
    /// live memory.
    ///
    /// # Safety
    /// The kernel's [ranges](vmem_core::contract#devices) stay valid until it completed; where they
    /// are pinned or managed memory, the host leaves them alone until then.
    pub unsafe fn launch(&self, stream: &Stream, kernel: Kernel) -> Result<(), DriverError> {
        self.on(stream, "SimDevice::launch", |raw| {
            // SAFETY: contract, devices/handles and devices/threads: `with_raw` hands out a valid,
            // callable stream; the caller promises the ranges.
            unsafe { self.launch_raw(raw, kernel) }
        })
    }

    /// Queues a kernel on a driver's handle.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](DriverCode::INVALID_VALUE) for a range outside live memory, and the errors that
    /// [`fail_call`](Self::fail_call) asked for.
    ///
    /// # Safety
    /// The conditions of [`launch`](Self::launch); the stream is [valid](vmem_core::contract#devices)
    /// and callable from this thread.
    pub unsafe fn launch_raw(&self, stream: RawStream, kernel: Kernel) -> Result<(), DriverError> {
        self.core.call(CallKind::Launch, |state| {
            let own = u64::try_from(kernel.duration.as_nanos()).unwrap_or(u64::MAX >> 8);
            let work = Submission {
                name: kernel.name,
                work: Work::Kernel(kernel.body),
                reads: kernel.reads,
                writes: kernel.writes,
                device_ns: own.max(1),
                touches: Some(kernel.pattern),
            };
            state.submit_to(stream, work)
        })
    }

    /// Creates a stream that synchronises with the legacy default stream, as foreign code may
    /// (`cuStreamCreate` without the non-blocking flag).
    ///
    /// # Errors
    /// The errors that [`fail_call`](Self::fail_call) asked for.
    pub fn create_blocking_stream(&self) -> Result<RawStream, DriverError> {
        self.core.call(CallKind::CreateStream, |state| Ok(state.lanes.create(Barrier::Blocking)))
    }

    /// Starts capturing the work queued on a stream, in [global mode](CaptureMode::Global), instead
    /// of running it.
    ///
    /// # Errors
    /// If the stream is capturing already or is the legacy default stream.
    pub fn begin_capture(&self, stream: &Stream) -> Result<(), DriverError> {
        self.begin_capture_as(stream, CaptureMode::Global)
    }

    /// Starts capturing the work queued on a stream in a mode.
    ///
    /// # Errors
    /// Those of [`begin_capture`](Self::begin_capture).
    pub fn begin_capture_as(&self, stream: &Stream, mode: CaptureMode) -> Result<(), DriverError> {
        self.on(stream, "SimDevice::begin_capture", |raw| {
            // SAFETY: contract, devices/handles: `with_raw` hands out a valid, callable stream.
            unsafe { self.begin_capture_raw_as(raw, mode) }
        })
    }

    /// Starts capturing the work queued on a driver's handle, in [global mode](CaptureMode::Global).
    ///
    /// # Errors
    /// Those of [`begin_capture`](Self::begin_capture).
    ///
    /// # Safety
    /// The stream is [valid](vmem_core::contract#devices) and callable from this thread.
    pub unsafe fn begin_capture_raw(&self, stream: RawStream) -> Result<(), DriverError> {
        // SAFETY: the caller's promise.
        unsafe { self.begin_capture_raw_as(stream, CaptureMode::Global) }
    }

    /// Starts capturing the work queued on a driver's handle in a mode.
    ///
    /// # Errors
    /// Those of [`begin_capture`](Self::begin_capture).
    ///
    /// # Safety
    /// The stream is [valid](vmem_core::contract#devices) and callable from this thread.
    pub unsafe fn begin_capture_raw_as(
        &self,
        stream: RawStream,
        mode: CaptureMode,
    ) -> Result<(), DriverError> {
        self.core.call(CallKind::BeginCapture, |state| {
            let lane = state.lanes.resolve(stream)?;
            state.begin_capture(lane, mode)
        })
    }

    /// Ends a capture and returns what was queued.
    ///
    /// # Errors
    /// If the stream began no capture, the thread did not begin it (unless it is relaxed), a
    /// forbidden call broke it, or a stream that joined it was not joined back. Unless the stream
    /// began none, the capture is over.
    pub fn end_capture(&self, stream: &Stream) -> Result<Graph, DriverError> {
        self.on(stream, "SimDevice::end_capture", |raw| {
            // SAFETY: contract, devices/handles: `with_raw` hands out a valid, callable stream.
            unsafe { self.end_capture_raw(raw) }
        })
    }

    /// Ends the capture of a driver's handle.
    ///
    /// # Errors
    /// Those of [`end_capture`](Self::end_capture).
    ///
    /// # Safety
    /// The stream is [valid](vmem_core::contract#devices) and callable from this thread.
    pub unsafe fn end_capture_raw(&self, stream: RawStream) -> Result<Graph, DriverError> {
        self.core.call(CallKind::EndCapture, |state| {
            let lane = state.lanes.resolve(stream)?;
            state.end_capture(lane)
        })
    }

    /// Queues a graph's work on a stream, one piece after the other.
    ///
    /// # Errors
    /// If memory that the graph uses is gone; the pieces before that one are queued.
    /// [`NOT_SUPPORTED`](DriverCode::NOT_SUPPORTED) for a graph that owns memory, which is not
    /// modelled.
    ///
    /// # Safety
    /// The conditions of [`launch`](Self::launch), for everything captured.
    pub unsafe fn launch_graph(&self, stream: &Stream, graph: &Graph) -> Result<(), DriverError> {
        self.on(stream, "SimDevice::launch_graph", |raw| {
            self.core.call(CallKind::LaunchGraph, |state| {
                if graph.owns_memory {
                    let detail = "launching graphs that own memory is not modelled";
                    return Err(Refusal::cannot(DriverCode::NOT_SUPPORTED, detail));
                }
                let mut nodes = graph.nodes.iter().cloned();
                nodes.try_for_each(|node| state.submit_to(raw, node))
            })
        })
    }

    /// The state of a stream's capture, and whether it can still be ended well
    /// (`cuStreamIsCapturing`).
    ///
    /// # Errors
    /// For the legacy default stream, while a blocking stream captures.
    ///
    /// # Safety
    /// The stream is [valid](vmem_core::contract#devices) and callable from this thread.
    pub unsafe fn capture_status(&self, stream: RawStream) -> Result<CaptureStatus, DriverError> {
        self.core.call(CallKind::IsCapturing, |state| {
            let lane = state.lanes.resolve(stream)?;
            state.capture_status(lane)
        })
    }

    /// Has the effect on captures of any call that names a stream: naming the legacy default stream
    /// breaks the captures that a blocking stream takes part in, and `cuStreamGetId`, unlike
    /// `cuStreamGetCtx`, breaks the stream's own. No driver call is counted.
    ///
    /// # Errors
    /// If it broke a capture.
    ///
    /// # Safety
    /// The stream is [valid](vmem_core::contract#devices) and callable from this thread.
    pub unsafe fn name_stream(&self, stream: RawStream, id: bool) -> Result<(), DriverError> {
        self.quietly("SimDevice::name_stream", |state| {
            let lane = state.lanes.resolve(stream)?;
            if id { state.refuse_capturing(lane) } else { state.check_legacy_capture(lane) }
        })
    }

    /// Has the effect on this device's captures of an unsafe call on another device: captures are the
    /// process's. No driver call is counted.
    ///
    /// # Errors
    /// If a capture forbids such calls to the calling thread. It is then broken.
    pub fn unsafe_call_elsewhere(&self) -> Result<(), DriverError> {
        self.quietly("SimDevice::unsafe_call_elsewhere", State::refuse_unsafe)
    }

    fn quietly(
        &self,
        name: &'static str,
        body: impl FnOnce(&mut State) -> Result<(), Refusal>,
    ) -> Result<(), DriverError> {
        let mut state = self.core.lock();
        body(&mut state).map_err(|refusal| state.refuse(name, refusal))
    }

    /// Calls `call` with the handle of a stream of this device.
    fn on<T>(
        &self,
        stream: &Stream,
        name: &'static str,
        call: impl FnOnce(RawStream) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        if stream.device_id() != self.base.id() {
            let error = DriverError::new(name, DriverCode::INVALID_CONTEXT);
            return Err(error.with_detail("the stream belongs to another device"));
        }
        stream.with_raw(name, |_, raw| call(raw))
    }

    /// Sets the calling thread's mode and returns what it was (`cuThreadExchangeStreamCaptureMode`).
    /// It matters as [`Callers`](crate::Callers) says. No driver call is counted.
    pub fn exchange_capture_mode(&self, mode: CaptureMode) -> CaptureMode {
        self.core.lock().exchange_capture_mode(mode)
    }
}
