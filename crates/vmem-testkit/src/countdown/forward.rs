//! The device and its parts, each call through the gate.

use vmem_core::author::{DeviceBase, HostAccess};
use vmem_core::{
    Advice, AsyncPool, Completion, Device, DeviceFacts, DeviceId, DevicePtr, DriverError, Location,
    Managed, MemoryInfo, PhysicalHandle, Pinned, RawEvent, RawStream, VirtualMemory,
};

use super::{Carelessness, Countdown, Gate};

/// Methods that pass the gate and go on to `target` of the gate's inner device.
macro_rules! gated {
    (
        $part:literal, $gate:ident, $target:ident;
        safe { $(fn $name:ident($($arg:ident: $type:ty),*) -> $value:ty;)* }
        unsafe {
            $(fn $uname:ident($($uarg:ident: $utype:ty),*) -> $uvalue:ty
                $(, unless $careless:ident: $instead:expr)?;)*
        }
    ) => {
        $(
            fn $name(&self, $($arg: $type),*) -> Result<$value, DriverError> {
                const CALL: &str = concat!($part, "::", stringify!($name));
                self.$gate().pass(CALL)?;
                let value = self.$gate().$target().$name($($arg),*)?;
                self.$gate().passed(CALL);
                Ok(value)
            }
        )*
        $(
            unsafe fn $uname(&self, $($uarg: $utype),*) -> Result<$uvalue, DriverError> {
                const CALL: &str = concat!($part, "::", stringify!($uname));
                self.$gate().pass(CALL)?;
                $(
                    if self.$gate().is(Carelessness::$careless) {
                        return Ok($instead);
                    }
                )?
                // SAFETY: contract, devices: the caller keeps its clauses; every handle and range
                // it has is one of the inner device.
                let value = unsafe { self.$gate().$target().$uname($($uarg),*) }?;
                self.$gate().passed(CALL);
                Ok(value)
            }
        )*
    };
}

const ABSENT: &str = "a part is handed out only if the inner device has it";

impl Countdown {
    fn gate(&self) -> &Gate {
        &self.0
    }
}

impl Gate {
    fn gate(&self) -> &Self {
        self
    }

    fn device(&self) -> &dyn Device {
        &*self.inner
    }

    fn inner_virtual_memory(&self) -> &dyn VirtualMemory {
        self.inner.virtual_memory().expect(ABSENT)
    }

    fn inner_managed(&self) -> &dyn Managed {
        self.inner.managed().expect(ABSENT)
    }

    fn inner_pinned(&self) -> &dyn Pinned {
        self.inner.pinned().expect(ABSENT)
    }

    fn inner_async_pool(&self) -> &dyn AsyncPool {
        self.inner.async_pool().expect(ABSENT)
    }
}

// SAFETY: contract, devices: the inner device keeps it, and a failed call has no effect.
#[deny(clippy::missing_trait_methods)]
unsafe impl Device for Countdown {
    fn base(&self) -> &DeviceBase {
        self.0.inner.base()
    }

    fn facts(&self) -> &DeviceFacts {
        self.0.inner.facts()
    }

    fn id(&self) -> DeviceId {
        self.0.inner.id()
    }

    gated! {
        "Device", gate, device;
        safe {
            fn memory_info() -> MemoryInfo;
            fn allocate(bytes: u64) -> DevicePtr;
            fn create_stream() -> RawStream;
            fn synchronize() -> ();
            fn create_event() -> RawEvent;
            fn create_timed_event() -> RawEvent;
            fn check_host_access(ptr: DevicePtr, bytes: u64, access: HostAccess) -> ();
        }
        unsafe {
            fn free(ptr: DevicePtr) -> ();
            fn destroy_stream(stream: RawStream) -> ();
            fn owns_stream(stream: RawStream) -> bool;
            fn query_stream(stream: RawStream) -> Completion;
            fn synchronize_stream(stream: RawStream) -> ();
            fn is_capturing(stream: RawStream) -> bool;
            fn destroy_event(event: RawEvent) -> ();
            fn record_event(event: RawEvent, stream: RawStream) -> (), unless SkipRecords: ();
            fn query_event(event: RawEvent) -> Completion, unless ClaimCompletion: Completion::Complete;
            fn synchronize_event(event: RawEvent) -> ();
            fn elapsed_ns(start: RawEvent, end: RawEvent) -> i64;
            fn wait_event(stream: RawStream, event: RawEvent) -> (), unless SkipWaits: ();
            fn copy_from_host(to: DevicePtr, from: *const u8, bytes: u64, stream: RawStream) -> ();
            fn copy_to_host(to: *mut u8, from: DevicePtr, bytes: u64, stream: RawStream) -> ();
            fn copy_within(to: DevicePtr, from: DevicePtr, bytes: u64, stream: RawStream) -> ();
            fn fill(to: DevicePtr, value: u8, bytes: u64, stream: RawStream) -> ();
            fn fill_u16(to: DevicePtr, value: u16, count: u64, stream: RawStream) -> ();
            fn fill_u32(to: DevicePtr, value: u32, count: u64, stream: RawStream) -> ();
        }
    }

    fn virtual_memory(&self) -> Option<&dyn VirtualMemory> {
        self.0.inner.virtual_memory().map(|_| &self.0 as _)
    }

    fn managed(&self) -> Option<&dyn Managed> {
        self.0.inner.managed().map(|_| &self.0 as _)
    }

    fn pinned(&self) -> Option<&dyn Pinned> {
        self.0.inner.pinned().map(|_| &self.0 as _)
    }

    fn async_pool(&self) -> Option<&dyn AsyncPool> {
        self.0.inner.async_pool().map(|_| &self.0 as _)
    }
}

// SAFETY: contract, devices: the inner device keeps it, and a failed call has no effect.
#[deny(clippy::missing_trait_methods)]
unsafe impl VirtualMemory for Gate {
    fn granularity(&self) -> u64 {
        self.inner_virtual_memory().granularity()
    }

    fn has_host_memory(&self) -> bool {
        self.inner_virtual_memory().has_host_memory()
    }

    gated! {
        "VirtualMemory", gate, inner_virtual_memory;
        safe {
            fn reserve(bytes: u64) -> DevicePtr;
            fn create(bytes: u64) -> PhysicalHandle;
            fn create_on_host(bytes: u64) -> PhysicalHandle;
        }
        unsafe {
            fn free_range(base: DevicePtr, bytes: u64) -> ();
            fn release(handle: PhysicalHandle) -> ();
            fn map(at: DevicePtr, bytes: u64, handle: PhysicalHandle) -> ();
            fn unmap(at: DevicePtr, bytes: u64) -> ();
        }
    }

    unsafe fn set_access(&self, at: DevicePtr, bytes: u64) -> Result<(), DriverError> {
        const CALL: &str = "VirtualMemory::set_access";
        self.pass(CALL)?;
        let more = if self.is(Carelessness::WideAccess) { self.granularity() } else { 0 };
        let from = DevicePtr::new(at.get() - more).unwrap_or(at);
        // SAFETY: contract, devices: the caller keeps its clauses, unless the test is about one that
        // is broken.
        unsafe { self.inner_virtual_memory().set_access(from, bytes + more) }?;
        self.passed(CALL);
        Ok(())
    }
}

// SAFETY: contract, devices: the inner device keeps it, and a failed call has no effect.
#[deny(clippy::missing_trait_methods)]
unsafe impl Managed for Gate {
    fn concurrent_access(&self) -> bool {
        self.inner_managed().concurrent_access()
    }

    gated! {
        "Managed", gate, inner_managed;
        safe {
            fn allocate(bytes: u64) -> DevicePtr;
        }
        unsafe {
            fn free(ptr: DevicePtr) -> ();
            fn advise(ptr: DevicePtr, bytes: u64, advice: Advice) -> ();
            fn prefetch(ptr: DevicePtr, bytes: u64, to: Location, stream: RawStream) -> ();
            fn last_prefetch(ptr: DevicePtr, bytes: u64) -> Option<Location>;
        }
    }
}

// SAFETY: contract, devices: the inner device keeps it, and a failed call has no effect.
#[deny(clippy::missing_trait_methods)]
unsafe impl Pinned for Gate {
    gated! {
        "Pinned", gate, inner_pinned;
        safe {
            fn allocate(bytes: u64) -> DevicePtr;
        }
        unsafe {
            fn free(ptr: DevicePtr) -> ();
        }
    }
}

// SAFETY: contract, devices: the inner device keeps it, and a failed call has no effect.
#[deny(clippy::missing_trait_methods)]
unsafe impl AsyncPool for Gate {
    gated! {
        "AsyncPool", gate, inner_async_pool;
        safe {
            fn trim_to(keep: u64) -> ();
            fn set_release_threshold(bytes: u64) -> ();
            fn release_threshold() -> u64;
            fn reserved() -> u64;
        }
        unsafe {
            fn allocate(bytes: u64, stream: RawStream) -> DevicePtr;
            fn free(ptr: DevicePtr, stream: RawStream) -> ();
        }
    }
}
