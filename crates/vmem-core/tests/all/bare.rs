//! A device of another crate that implements what it must and nothing more.

use std::sync::Arc;

use vmem_core::author::{DeviceBase, HostAccess, host_view};
use vmem_core::{
    AsyncMemory, Completion, Device, DeviceFacts, DeviceMemory, DevicePtr, DriverCode, DriverError,
    MemoryInfo, PinnedMemory, RawEvent, RawStream, ResourceExt, Stream,
};
use vmem_sim::SimDevice;

#[derive(Debug)]
struct Bare {
    base: DeviceBase,
    facts: DeviceFacts,
    device: Arc<SimDevice>,
}

macro_rules! forward {
    (
        safe { $(fn $name:ident($($arg:ident: $type:ty),*) -> $value:ty;)* }
        unsafe { $(fn $uname:ident($($uarg:ident: $utype:ty),*) -> $uvalue:ty;)* }
    ) => {
        $(fn $name(&self, $($arg: $type),*) -> Result<$value, DriverError> {
            self.device.$name($($arg),*)
        })*
        $(unsafe fn $uname(&self, $($uarg: $utype),*) -> Result<$uvalue, DriverError> {
            // SAFETY: contract, devices: the caller keeps its clauses, which are the same there.
            unsafe { self.device.$uname($($uarg),*) }
        })*
    };
}

// SAFETY: contract, devices: the simulated device keeps it.
unsafe impl Device for Bare {
    fn base(&self) -> &DeviceBase {
        &self.base
    }

    fn facts(&self) -> &DeviceFacts {
        &self.facts
    }

    forward! {
        safe {
            fn memory_info() -> MemoryInfo;
            fn allocate(bytes: u64) -> DevicePtr;
            fn create_stream() -> RawStream;
            fn synchronize() -> ();
            fn create_event() -> RawEvent;
            fn create_timed_event() -> RawEvent;
        }
        unsafe {
            fn free(ptr: DevicePtr) -> ();
            fn destroy_stream(stream: RawStream) -> ();
            fn owns_stream(stream: RawStream) -> bool;
            fn query_stream(stream: RawStream) -> Completion;
            fn synchronize_stream(stream: RawStream) -> ();
            fn is_capturing(stream: RawStream) -> bool;
            fn elapsed_ns(start: RawEvent, end: RawEvent) -> i64;
            fn destroy_event(event: RawEvent) -> ();
            fn record_event(event: RawEvent, stream: RawStream) -> ();
            fn query_event(event: RawEvent) -> Completion;
            fn synchronize_event(event: RawEvent) -> ();
            fn wait_event(stream: RawStream, event: RawEvent) -> ();
            fn copy_from_host(to: DevicePtr, from: *const u8, bytes: u64, stream: RawStream) -> ();
            fn copy_to_host(to: *mut u8, from: DevicePtr, bytes: u64, stream: RawStream) -> ();
            fn copy_within(to: DevicePtr, from: DevicePtr, bytes: u64, stream: RawStream) -> ();
            fn fill(to: DevicePtr, value: u8, bytes: u64, stream: RawStream) -> ();
            fn fill_u16(to: DevicePtr, value: u16, count: u64, stream: RawStream) -> ();
            fn fill_u32(to: DevicePtr, value: u32, count: u64, stream: RawStream) -> ();
        }
    }
}

#[test]
fn a_device_that_implements_only_what_it_must_has_plain_memory_and_no_parts() {
    let sim = SimDevice::new(1 << 20);
    let facts = DeviceFacts::new("bare", 3, 1 << 20);
    assert_eq!((facts.simulated, facts.driver.as_str()), (false, ""));
    let device: Arc<dyn Device> =
        Arc::new(Bare { base: DeviceBase::new(|_| {}), facts, device: sim.clone() });
    let stream = Stream::new(device.clone()).unwrap();
    let memory = DeviceMemory::new(device.clone()).into_dyn();
    let mut buffer = memory.owned_buffer(4096, &stream).unwrap();
    buffer.fill(0..4096, 7).unwrap();
    assert_eq!(buffer.to_vec().unwrap(), [7; 4096]);
    // It wants to know of no access of the host's, and the host finds memory at its address.
    let ptr = buffer.ptr().unwrap();
    let view = host_view(&*device, ptr, 4096, HostAccess::Read).unwrap();
    assert_eq!(view.addr() as u64, ptr.get());

    let absent = PinnedMemory::new(device.clone()).unwrap_err();
    assert_eq!(absent.code(), DriverCode::NOT_SUPPORTED);
    let absent = AsyncMemory::new(device.clone()).unwrap_err();
    assert_eq!(absent.code(), DriverCode::NOT_SUPPORTED);
    assert!(device.virtual_memory().is_none() && device.managed().is_none());
    drop((buffer, memory, stream));
    sim.assert_clean();
    assert_eq!(device.base().drop_failures().count(), 0);
}
