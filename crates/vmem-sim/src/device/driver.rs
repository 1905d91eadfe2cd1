//! The driver calls that every device has.

use vmem_core::author::{DeviceBase, HostAccess};
use vmem_core::{
    AsyncPool, Completion, Device, DeviceFacts, DevicePtr, DriverCode, DriverError, Managed,
    MemoryInfo, Pinned, RawEvent, RawStream, VirtualMemory,
};

use super::SimDevice;
use crate::memory::{Region, RegionKind, plain_size};
use crate::state::State;
use crate::stream::{Barrier, EventState, HostPtr, Submission, Work};
use crate::violation::Refusal;
use crate::{CallKind, CaptureStatus, Strictness};

// SAFETY: contract, devices: live allocations get disjoint addresses from `Addresses`, handles stay
// valid until destroyed, and every misuse that the contract excludes is refused besides.
unsafe impl Device for SimDevice {
    fn base(&self) -> &DeviceBase {
        &self.base
    }

    fn facts(&self) -> &DeviceFacts {
        &self.facts
    }

    fn memory_info(&self) -> Result<MemoryInfo, DriverError> {
        self.core.call(CallKind::MemoryInfo, |state| {
            let total = state.memory.capacity;
            Ok(MemoryInfo::new(total - state.memory.used, total))
        })
    }

    fn allocate(&self, bytes: u64) -> Result<DevicePtr, DriverError> {
        let address = self.core.call(CallKind::Allocate, |state| {
            state.refuse_unsafe_allocation()?;
            state.allocate_plain(bytes)
        })?;
        Ok(pointer(address))
    }

    unsafe fn free(&self, ptr: DevicePtr) -> Result<(), DriverError> {
        self.core.call(CallKind::Free, |state| {
            state.refuse_unsafe_allocation()?;
            state.free_plain(ptr.get())
        })
    }

    fn create_stream(&self) -> Result<RawStream, DriverError> {
        self.core.call(CallKind::CreateStream, |state| Ok(state.lanes.create(Barrier::NonBlocking)))
    }

    unsafe fn destroy_stream(&self, stream: RawStream) -> Result<(), DriverError> {
        self.core.call(CallKind::DestroyStream, |state| {
            if stream.is_default() {
                let detail = format!("handle {} names a default stream", stream.0);
                let rule = crate::ViolationKind::BadHandle;
                return Err(Refusal::misuse(rule, DriverCode::INVALID_HANDLE, detail));
            }
            let lane = state.lanes.resolve(stream)?;
            state.leave_capture(lane)?;
            state.lanes.destroy(stream)?;
            state.lanes.forget_drained(lane);
            Ok(())
        })
    }

    unsafe fn owns_stream(&self, stream: RawStream) -> Result<bool, DriverError> {
        self.core.call(CallKind::OwnsStream, |state| {
            if state.lanes.handles.is_foreign(stream.0) && !stream.is_default() {
                return Ok(false);
            }
            state.lanes.resolve(stream).map(|_| true)
        })
    }

    unsafe fn query_stream(&self, stream: RawStream) -> Result<Completion, DriverError> {
        self.core.call(CallKind::QueryStream, |state| state.query_stream(stream).map(completion))
    }

    unsafe fn synchronize_stream(&self, stream: RawStream) -> Result<(), DriverError> {
        self.core.call(CallKind::SynchronizeStream, |state| state.synchronize_stream(stream))
    }

    unsafe fn is_capturing(&self, stream: RawStream) -> Result<bool, DriverError> {
        self.core.call(CallKind::IsCapturing, |state| {
            let lane = state.lanes.resolve(stream)?;
            state.capture_status(lane).map(|status| status != CaptureStatus::None)
        })
    }

    fn synchronize(&self) -> Result<(), DriverError> {
        self.core.call(CallKind::Synchronize, State::synchronize)
    }

    fn create_event(&self) -> Result<RawEvent, DriverError> {
        let create = |state: &mut State| Ok(state.events.insert(EventState::default()));
        self.core.call(CallKind::CreateEvent, create).map(event)
    }

    fn create_timed_event(&self) -> Result<RawEvent, DriverError> {
        let create = |state: &mut State| {
            let raw = state.events.insert(EventState::default());
            state.timed_events.insert(raw);
            Ok(raw)
        };
        self.core.call(CallKind::CreateEvent, create).map(event)
    }

    unsafe fn elapsed_ns(&self, start: RawEvent, end: RawEvent) -> Result<i64, DriverError> {
        self.core.call(CallKind::ElapsedTime, |state| state.elapsed_ns(start, end))
    }

    unsafe fn destroy_event(&self, event: RawEvent) -> Result<(), DriverError> {
        self.core.call(CallKind::DestroyEvent, |state| {
            state.events.remove(event.0.get())?;
            state.timed_events.remove(&event.0.get());
            Ok(())
        })
    }

    unsafe fn record_event(&self, event: RawEvent, stream: RawStream) -> Result<(), DriverError> {
        self.core.call(CallKind::RecordEvent, |state| state.record(event, stream))
    }

    unsafe fn query_event(&self, event: RawEvent) -> Result<Completion, DriverError> {
        self.core.call(CallKind::QueryEvent, |state| state.query_event(event).map(completion))
    }

    unsafe fn synchronize_event(&self, event: RawEvent) -> Result<(), DriverError> {
        self.core.call(CallKind::SynchronizeEvent, |state| state.synchronize_event(event))
    }

    unsafe fn wait_event(&self, stream: RawStream, event: RawEvent) -> Result<(), DriverError> {
        self.core.call(CallKind::WaitEvent, |state| state.wait(stream, event))
    }

    unsafe fn copy_from_host(
        &self,
        to: DevicePtr,
        from: *const u8,
        bytes: u64,
        stream: RawStream,
    ) -> Result<(), DriverError> {
        self.core.call(CallKind::CopyFromHost, |state| {
            let device_ns = state.config.costs.link_ns(bytes);
            let copy = Submission {
                work: Work::CopyFromHost(HostPtr(from.cast_mut())),
                reads: state.host_side(from, bytes)?,
                writes: vec![(to.get(), bytes)],
                device_ns,
                ..Submission::mark("cuMemcpyHtoDAsync")
            };
            state.submit_to(stream, copy)
        })
    }

    unsafe fn copy_to_host(
        &self,
        to: *mut u8,
        from: DevicePtr,
        bytes: u64,
        stream: RawStream,
    ) -> Result<(), DriverError> {
        self.core.call(CallKind::CopyToHost, |state| {
            let device_ns = state.config.costs.link_ns(bytes);
            let copy = Submission {
                work: Work::CopyToHost(HostPtr(to)),
                reads: vec![(from.get(), bytes)],
                writes: state.host_side(to, bytes)?,
                device_ns,
                ..Submission::mark("cuMemcpyDtoHAsync")
            };
            state.submit_to(stream, copy)
        })
    }

    unsafe fn copy_within(
        &self,
        to: DevicePtr,
        from: DevicePtr,
        bytes: u64,
        stream: RawStream,
    ) -> Result<(), DriverError> {
        self.core.call(CallKind::CopyWithin, |state| {
            if to.get().abs_diff(from.get()) < bytes {
                let detail = format!("{bytes} B at {from} and at {to} overlap");
                let rule = crate::ViolationKind::BadArgument;
                let refusal = Refusal::misuse(rule, DriverCode::INVALID_VALUE, detail);
                state.refuse_if(Strictness::OVERLAPPING_COPY, refusal)?;
            }
            let device_ns = state.config.costs.memory_ns(bytes.saturating_mul(2));
            let copy = Submission {
                work: Work::CopyWithin,
                reads: vec![(from.get(), bytes)],
                writes: vec![(to.get(), bytes)],
                device_ns,
                ..Submission::mark("cuMemcpyDtoDAsync")
            };
            state.submit_to(stream, copy)
        })
    }

    unsafe fn fill(
        &self,
        to: DevicePtr,
        value: u8,
        bytes: u64,
        stream: RawStream,
    ) -> Result<(), DriverError> {
        self.fill_with(CallKind::Fill, [value; 4], (to, bytes), 1, stream)
    }

    unsafe fn fill_u16(
        &self,
        to: DevicePtr,
        value: u16,
        count: u64,
        stream: RawStream,
    ) -> Result<(), DriverError> {
        let [a, b] = value.to_ne_bytes();
        let range = (to, count.saturating_mul(2));
        self.fill_with(CallKind::FillU16, [a, b, a, b], range, 2, stream)
    }

    unsafe fn fill_u32(
        &self,
        to: DevicePtr,
        value: u32,
        count: u64,
        stream: RawStream,
    ) -> Result<(), DriverError> {
        let range = (to, count.saturating_mul(4));
        self.fill_with(CallKind::FillU32, value.to_ne_bytes(), range, 4, stream)
    }

    fn virtual_memory(&self) -> Option<&dyn VirtualMemory> {
        self.virtual_memory.as_ref().map(|part| part as _)
    }

    fn managed(&self) -> Option<&dyn Managed> {
        self.managed.as_ref().map(|part| part as _)
    }

    fn pinned(&self) -> Option<&dyn Pinned> {
        self.pinned.as_ref().map(|part| part as _)
    }

    fn async_pool(&self) -> Option<&dyn AsyncPool> {
        self.async_pool.as_ref().map(|part| part as _)
    }

    fn check_host_access(
        &self,
        ptr: DevicePtr,
        bytes: u64,
        access: HostAccess,
    ) -> Result<(), DriverError> {
        let mut state = self.core.lock();
        state
            .check_host_access(ptr.get(), bytes, access)
            .map_err(|refusal| state.refuse_host_access(refusal))
    }
}

impl SimDevice {
    /// Queues a fill with words of `size` bytes, which `word` repeats.
    fn fill_with(
        &self,
        call: CallKind,
        word: [u8; 4],
        (to, bytes): (DevicePtr, u64),
        size: u64,
        stream: RawStream,
    ) -> Result<(), DriverError> {
        self.core.call(call, |state| {
            if !to.is_aligned_to(size) {
                let detail = format!("{to} is no multiple of {size} bytes");
                let rule = crate::ViolationKind::BadArgument;
                return Err(Refusal::misuse(rule, DriverCode::INVALID_VALUE, detail));
            }
            let device_ns = state.config.costs.memory_ns(bytes);
            let fill = Submission {
                work: Work::Fill(word),
                writes: vec![(to.get(), bytes)],
                device_ns,
                ..Submission::mark(call.name())
            };
            state.submit_to(stream, fill)
        })
    }
}

impl State {
    /// Queues work on the stream that a handle means here.
    pub(super) fn submit_to(
        &mut self,
        stream: RawStream,
        submission: Submission,
    ) -> Result<(), Refusal> {
        let lane = self.lanes.resolve(stream)?;
        self.submit(lane, submission).map(drop)
    }

    /// The host's side of a copy as an access, where the device knows the memory: pinned and
    /// managed memory is checked like any other.
    fn host_side(&self, at: *const u8, bytes: u64) -> Result<Vec<(u64, u64)>, Refusal> {
        let refuse = |detail| {
            let rule = crate::ViolationKind::BadArgument;
            Err(Refusal::misuse(rule, DriverCode::INVALID_VALUE, detail))
        };
        if at.is_null() && bytes != 0 {
            return refuse("null where host memory is asked for".to_owned());
        }
        let at = at.addr() as u64;
        match self.memory.space.holding(at) {
            None => Ok(Vec::new()),
            Some((_, region)) if region.kind.is_host_memory() => Ok(vec![(at, bytes)]),
            Some(_) => refuse(format!("{at:#x} is device memory, not the host's")),
        }
    }

    fn allocate_plain(&mut self, bytes: u64) -> Result<u64, Refusal> {
        self.check_size(bytes)?;
        let too_large = || {
            let detail = format!("{bytes} B pass the address space");
            Refusal::cannot(DriverCode::OUT_OF_MEMORY, detail)
        };
        let size = plain_size(bytes).ok_or_else(too_large)?;
        self.take_memory(size)?;
        let Some(address) = self.memory.plain_addresses.take(size) else {
            self.memory.give_back(size);
            return Err(too_large());
        };
        let made = (CallKind::Allocate.name(), self.call_number);
        let physical = self.memory.new_physical(size, made);
        let region = Region {
            kind: RegionKind::Plain,
            size: bytes,
            physical,
            accessible: true,
            uses: Vec::new(),
            since: self.call_number,
        };
        self.memory.space.insert(address, region);
        Ok(address)
    }

    fn free_plain(&mut self, address: u64) -> Result<(), Refusal> {
        self.refuse_pending_free(address, RegionKind::Plain)?;
        self.await_device();
        let Some(region) = self.memory.bury(address, self.call_number) else {
            return Ok(());
        };
        if let Some(physical) = self.memory.physicals.drop_holder(region.physical) {
            self.memory.give_back(physical.size);
            self.memory.plain_addresses.give_back(address, physical.size);
        }
        Ok(())
    }
}

/// An address that the simulation handed out.
pub(super) fn pointer(address: u64) -> DevicePtr {
    DevicePtr::new(address).expect("no allocation is at zero")
}

fn event(raw: u64) -> RawEvent {
    RawEvent(raw.try_into().expect("handles are not zero"))
}

const fn completion(complete: bool) -> Completion {
    if complete { Completion::Complete } else { Completion::Pending }
}
