//! A simulated device that lets something happen just before or after an event is recorded, or after
//! memory is freed, as another thread may.

use std::fmt;
use std::sync::{Arc, Mutex};

use vmem_core::author::{DeviceBase, HostAccess};
use vmem_core::{
    AsyncPool, Completion, Device, DeviceFacts, DevicePtr, DriverError, Managed, MemoryInfo,
    Pinned, RawEvent, RawStream, VirtualMemory,
};
use vmem_sim::SimDevice;

type Hook = Box<dyn FnOnce() + Send>;

pub(crate) struct Hooked {
    device: Arc<SimDevice>,
    before_record: Mutex<Option<Hook>>,
    after_record: Mutex<Option<Hook>>,
    after_free: Mutex<Option<Hook>>,
}

impl Hooked {
    pub(crate) fn new(device: Arc<SimDevice>) -> Arc<Self> {
        let (before_record, after_record, after_free) = Default::default();
        Arc::new(Self { device, before_record, after_record, after_free })
    }

    /// Calls `hook` once, between the next question whether a stream captures and the recording.
    pub(crate) fn before_record(&self, hook: impl FnOnce() + Send + 'static) {
        *self.before_record.lock().unwrap() = Some(Box::new(hook));
    }

    /// Calls `hook` once, after the next recording.
    pub(crate) fn after_record(&self, hook: impl FnOnce() + Send + 'static) {
        *self.after_record.lock().unwrap() = Some(Box::new(hook));
    }

    /// Calls `hook` once, after plain memory is freed the next time.
    pub(crate) fn after_free(&self, hook: impl FnOnce() + Send + 'static) {
        *self.after_free.lock().unwrap() = Some(Box::new(hook));
    }
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooked")
    }
}

macro_rules! forward {
    ($(fn $name:ident($($arg:ident: $type:ty),*) -> $value:ty;)*) => {$(
        unsafe fn $name(&self, $($arg: $type),*) -> Result<$value, DriverError> {
            // SAFETY: contract, devices: the caller keeps its clauses, which are the same there.
            unsafe { self.device.$name($($arg),*) }
        }
    )*};
}

// SAFETY: contract, devices: the simulated device keeps it.
#[deny(clippy::missing_trait_methods)]
unsafe impl Device for Hooked {
    fn base(&self) -> &DeviceBase {
        self.device.base()
    }

    fn facts(&self) -> &DeviceFacts {
        self.device.facts()
    }

    fn memory_info(&self) -> Result<MemoryInfo, DriverError> {
        self.device.memory_info()
    }

    fn allocate(&self, bytes: u64) -> Result<DevicePtr, DriverError> {
        self.device.allocate(bytes)
    }

    fn create_stream(&self) -> Result<RawStream, DriverError> {
        self.device.create_stream()
    }

    fn synchronize(&self) -> Result<(), DriverError> {
        self.device.synchronize()
    }

    fn create_event(&self) -> Result<RawEvent, DriverError> {
        self.device.create_event()
    }

    fn create_timed_event(&self) -> Result<RawEvent, DriverError> {
        self.device.create_timed_event()
    }

    unsafe fn record_event(&self, event: RawEvent, stream: RawStream) -> Result<(), DriverError> {
        let hook = self.before_record.lock().unwrap().take();
        hook.into_iter().for_each(|hook| hook());
        // SAFETY: contract, devices/handles and devices/threads: the caller keeps them.
        unsafe { self.device.record_event(event, stream) }?;
        let hook = self.after_record.lock().unwrap().take();
        hook.into_iter().for_each(|hook| hook());
        Ok(())
    }

    unsafe fn free(&self, ptr: DevicePtr) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles and devices/pending-work: the caller keeps them.
        unsafe { self.device.free(ptr) }?;
        let hook = self.after_free.lock().unwrap().take();
        hook.into_iter().for_each(|hook| hook());
        Ok(())
    }

    forward! {
        fn destroy_stream(stream: RawStream) -> ();
        fn owns_stream(stream: RawStream) -> bool;
        fn query_stream(stream: RawStream) -> Completion;
        fn synchronize_stream(stream: RawStream) -> ();
        fn is_capturing(stream: RawStream) -> bool;
        fn destroy_event(event: RawEvent) -> ();
        fn query_event(event: RawEvent) -> Completion;
        fn elapsed_ns(start: RawEvent, end: RawEvent) -> i64;
        fn synchronize_event(event: RawEvent) -> ();
        fn wait_event(stream: RawStream, event: RawEvent) -> ();
        fn copy_from_host(to: DevicePtr, from: *const u8, bytes: u64, stream: RawStream) -> ();
        fn copy_to_host(to: *mut u8, from: DevicePtr, bytes: u64, stream: RawStream) -> ();
        fn copy_within(to: DevicePtr, from: DevicePtr, bytes: u64, stream: RawStream) -> ();
        fn fill(to: DevicePtr, value: u8, bytes: u64, stream: RawStream) -> ();
        fn fill_u16(to: DevicePtr, value: u16, count: u64, stream: RawStream) -> ();
        fn fill_u32(to: DevicePtr, value: u32, count: u64, stream: RawStream) -> ();
    }

    fn check_host_access(
        &self,
        ptr: DevicePtr,
        bytes: u64,
        access: HostAccess,
    ) -> Result<(), DriverError> {
        self.device.check_host_access(ptr, bytes, access)
    }

    fn virtual_memory(&self) -> Option<&dyn VirtualMemory> {
        self.device.virtual_memory()
    }

    fn managed(&self) -> Option<&dyn Managed> {
        self.device.managed()
    }

    fn pinned(&self) -> Option<&dyn Pinned> {
        self.device.pinned()
    }

    fn async_pool(&self) -> Option<&dyn AsyncPool> {
        self.device.async_pool()
    }
}
