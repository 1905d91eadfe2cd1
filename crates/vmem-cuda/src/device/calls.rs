//! The driver calls that every device has.

use vmem_core::author::{DeviceBase, HostAccess};
use vmem_core::{
    AsyncPool, Completion, Device, DeviceFacts, DeviceId, DevicePtr, DriverError, Managed,
    MemoryInfo, Pinned, RawEvent, RawStream, VirtualMemory,
};

use super::CudaDevice;
use crate::context::Deferred;
use crate::result::{context, event, memory, stream};

// SAFETY: contract, devices: each call is the driver's, under the device's own context; the driver
// keeps live allocations disjoint and handles valid until destroyed.
#[deny(clippy::missing_trait_methods)]
unsafe impl Device for CudaDevice {
    fn base(&self) -> &DeviceBase {
        &self.context.base
    }

    fn facts(&self) -> &DeviceFacts {
        &self.facts
    }

    fn id(&self) -> DeviceId {
        self.context.base.id()
    }

    fn memory_info(&self) -> Result<MemoryInfo, DriverError> {
        self.context.call_relaxed("cuMemGetInfo", memory::info)
    }

    fn allocate(&self, bytes: u64) -> Result<DevicePtr, DriverError> {
        self.context.call_relaxed("cuMemAlloc", || memory::allocate(bytes))
    }

    unsafe fn free(&self, ptr: DevicePtr) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles and devices/pending-work: the caller's promise.
        unsafe { self.context.dispose("cuMemFree", Deferred::Memory(ptr)) }
    }

    fn create_stream(&self) -> Result<RawStream, DriverError> {
        self.context.call_relaxed("cuStreamCreate", stream::create)
    }

    unsafe fn destroy_stream(&self, stream: RawStream) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles and devices/pending-work: the caller's promise.
        unsafe { self.context.dispose("cuStreamDestroy", Deferred::Stream(stream)) }
    }

    unsafe fn owns_stream(&self, stream: RawStream) -> Result<bool, DriverError> {
        // A default stream is that of whichever context is current.
        if stream.is_default() {
            return Ok(true);
        }
        // SAFETY: contract, devices/handles: the caller's promise.
        let of = || unsafe { stream::context(stream) };
        Ok(self.context.call_relaxed("cuStreamGetCtx", of)? == self.context.raw())
    }

    unsafe fn query_stream(&self, stream: RawStream) -> Result<Completion, DriverError> {
        // SAFETY: contract, devices/handles and devices/threads: the caller's promise.
        self.context.call_relaxed("cuStreamQuery", || unsafe { stream::query(stream) })
    }

    unsafe fn synchronize_stream(&self, stream: RawStream) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles and devices/threads: the caller's promise.
        self.context.call_relaxed("cuStreamSynchronize", || unsafe { stream::synchronize(stream) })
    }

    unsafe fn is_capturing(&self, stream: RawStream) -> Result<bool, DriverError> {
        // SAFETY: contract, devices/handles and devices/threads: the caller's promise.
        self.context.call("cuStreamIsCapturing", || unsafe { stream::is_capturing(stream) })
    }

    fn synchronize(&self) -> Result<(), DriverError> {
        self.context.call_relaxed("cuCtxSynchronize", context::synchronize)
    }

    fn create_event(&self) -> Result<RawEvent, DriverError> {
        self.context.call_relaxed("cuEventCreate", event::create)
    }

    fn create_timed_event(&self) -> Result<RawEvent, DriverError> {
        self.context.call_relaxed("cuEventCreate", event::create_timed)
    }

    unsafe fn elapsed_ns(&self, start: RawEvent, end: RawEvent) -> Result<i64, DriverError> {
        // SAFETY: contract, devices/handles: the caller's promise.
        let elapsed = || unsafe { event::elapsed_ns(start, end) };
        self.context.call_relaxed("cuEventElapsedTime", elapsed)
    }

    unsafe fn destroy_event(&self, event: RawEvent) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles and devices/pending-work: the caller's promise.
        unsafe { self.context.dispose("cuEventDestroy", Deferred::Event(event)) }
    }

    unsafe fn record_event(&self, event: RawEvent, stream: RawStream) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles and devices/threads: the caller's promise.
        self.context.call("cuEventRecord", || unsafe { event::record(event, stream) })
    }

    unsafe fn query_event(&self, event: RawEvent) -> Result<Completion, DriverError> {
        // SAFETY: contract, devices/handles: the caller's promise.
        self.context.call_relaxed("cuEventQuery", || unsafe { event::query(event) })
    }

    unsafe fn synchronize_event(&self, event: RawEvent) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles: the caller's promise.
        self.context.call_relaxed("cuEventSynchronize", || unsafe { event::synchronize(event) })
    }

    unsafe fn wait_event(&self, stream: RawStream, event: RawEvent) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles and devices/threads: the caller's promise.
        self.context.call("cuStreamWaitEvent", || unsafe { stream::wait(stream, event) })
    }

    unsafe fn copy_from_host(
        &self,
        to: DevicePtr,
        from: *const u8,
        bytes: u64,
        stream: RawStream,
    ) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles, devices/ranges, devices/host-memory and
        // devices/threads: the caller's promise.
        let copy = || unsafe { memory::copy_from_host(to, from, bytes, stream) };
        self.context.call("cuMemcpyHtoDAsync", copy)
    }

    unsafe fn copy_to_host(
        &self,
        to: *mut u8,
        from: DevicePtr,
        bytes: u64,
        stream: RawStream,
    ) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles, devices/ranges, devices/host-memory and
        // devices/threads: the caller's promise.
        let copy = || unsafe { memory::copy_to_host(to, from, bytes, stream) };
        self.context.call("cuMemcpyDtoHAsync", copy)
    }

    unsafe fn copy_within(
        &self,
        to: DevicePtr,
        from: DevicePtr,
        bytes: u64,
        stream: RawStream,
    ) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles, devices/ranges and devices/threads: the caller's
        // promise.
        let copy = || unsafe { memory::copy_within(to, from, bytes, stream) };
        self.context.call("cuMemcpyDtoDAsync", copy)
    }

    unsafe fn fill(
        &self,
        to: DevicePtr,
        value: u8,
        bytes: u64,
        stream: RawStream,
    ) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles, devices/ranges and devices/threads: the caller's
        // promise.
        let fill = || unsafe { memory::fill(to, value, bytes, stream) };
        self.context.call("cuMemsetD8Async", fill)
    }

    unsafe fn fill_u16(
        &self,
        to: DevicePtr,
        value: u16,
        count: u64,
        stream: RawStream,
    ) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles, devices/ranges and devices/threads: the caller's
        // promise.
        let fill = || unsafe { memory::fill_u16(to, value, count, stream) };
        self.context.call("cuMemsetD16Async", fill)
    }

    unsafe fn fill_u32(
        &self,
        to: DevicePtr,
        value: u32,
        count: u64,
        stream: RawStream,
    ) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles, devices/ranges and devices/threads: the caller's
        // promise.
        let fill = || unsafe { memory::fill_u32(to, value, count, stream) };
        self.context.call("cuMemsetD32Async", fill)
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

    fn check_host_access(&self, _: DevicePtr, _: u64, _: HostAccess) -> Result<(), DriverError> {
        Ok(())
    }
}
