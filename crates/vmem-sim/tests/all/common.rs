//! The driver calls of a simulated device without the `unsafe`: a simulation refuses misuse, which
//! is what these tests are about, and host memory named here outlives the device's work.

use std::ops::Deref;
use std::sync::Arc;

use vmem_core::author::{HostAccess, host_view};
use vmem_core::{
    Advice, AsyncPool, Completion, Device, DevicePtr, DriverError, Location, Managed,
    PhysicalHandle, Pinned, RawEvent, RawStream, Stream, VirtualMemory,
};
use vmem_sim::{Kernel, SimConfig, SimDevice, Strictness, Violation, ViolationKind};

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GRANULE: u64 = 2 * MIB;

/// A configuration with every strictness, whatever the environment says.
pub(crate) fn strict() -> SimConfig {
    SimConfig { strictness: Strictness::all(), ..SimConfig::default() }
}

pub(crate) struct Driver(pub(crate) Arc<SimDevice>);

impl Deref for Driver {
    type Target = SimDevice;

    fn deref(&self) -> &SimDevice {
        &self.0
    }
}

macro_rules! calls {
    ($($name:ident => $part:ident . $call:ident ($($arg:ident: $type:ty),*) -> $result:ty;)*) => {
        $(pub(crate) fn $name(&self, $($arg: $type),*) -> Result<$result, DriverError> {
            // SAFETY: contract, devices: the simulation refuses what the clauses exclude.
            unsafe { self.$part().$call($($arg),*) }
        })*
    };
}

impl Driver {
    pub(crate) fn new(config: SimConfig) -> Self {
        Self(SimDevice::with_config(config).unwrap())
    }

    pub(crate) fn with_seed(seed: u64) -> Self {
        Self::new(SimConfig { capacity: 256 * MIB, seed, ..strict() })
    }

    fn device(&self) -> &dyn Device {
        &*self.0
    }

    pub(crate) fn vm(&self) -> &dyn VirtualMemory {
        self.device().virtual_memory().unwrap()
    }

    pub(crate) fn managed(&self) -> &dyn Managed {
        self.device().managed().unwrap()
    }

    pub(crate) fn pinned(&self) -> &dyn Pinned {
        self.device().pinned().unwrap()
    }

    pub(crate) fn pool(&self) -> &dyn AsyncPool {
        self.device().async_pool().unwrap()
    }

    calls! {
        free => device.free(ptr: DevicePtr) -> ();
        destroy_stream => device.destroy_stream(stream: RawStream) -> ();
        owns => device.owns_stream(stream: RawStream) -> bool;
        query_stream => device.query_stream(stream: RawStream) -> Completion;
        sync_stream => device.synchronize_stream(stream: RawStream) -> ();
        capturing => device.is_capturing(stream: RawStream) -> bool;
        destroy_event => device.destroy_event(event: RawEvent) -> ();
        record => device.record_event(event: RawEvent, stream: RawStream) -> ();
        query => device.query_event(event: RawEvent) -> Completion;
        sync_event => device.synchronize_event(event: RawEvent) -> ();
        wait => device.wait_event(stream: RawStream, event: RawEvent) -> ();
        fill => device.fill(to: DevicePtr, value: u8, bytes: u64, stream: RawStream) -> ();
        fill_u16 => device.fill_u16(to: DevicePtr, value: u16, n: u64, stream: RawStream) -> ();
        fill_u32 => device.fill_u32(to: DevicePtr, value: u32, n: u64, stream: RawStream) -> ();
        copy => device.copy_within(to: DevicePtr, from: DevicePtr, bytes: u64, s: RawStream) -> ();
        upload => device.copy_from_host(to: DevicePtr, from: *const u8, bytes: u64, s: RawStream) -> ();
        download => device.copy_to_host(to: *mut u8, from: DevicePtr, bytes: u64, s: RawStream) -> ();
        free_range => vm.free_range(base: DevicePtr, bytes: u64) -> ();
        release => vm.release(handle: PhysicalHandle) -> ();
        map => vm.map(at: DevicePtr, bytes: u64, handle: PhysicalHandle) -> ();
        set_access => vm.set_access(at: DevicePtr, bytes: u64) -> ();
        unmap => vm.unmap(at: DevicePtr, bytes: u64) -> ();
        free_managed => managed.free(ptr: DevicePtr) -> ();
        advise => managed.advise(ptr: DevicePtr, bytes: u64, advice: Advice) -> ();
        prefetch => managed.prefetch(ptr: DevicePtr, bytes: u64, to: Location, s: RawStream) -> ();
        last_prefetch => managed.last_prefetch(ptr: DevicePtr, bytes: u64) -> Option<Location>;
        free_pinned => pinned.free(ptr: DevicePtr) -> ();
        pool_allocate => pool.allocate(bytes: u64, stream: RawStream) -> DevicePtr;
        pool_free => pool.free(ptr: DevicePtr, stream: RawStream) -> ();
    }

    pub(crate) fn view(
        &self,
        ptr: DevicePtr,
        bytes: u64,
        how: HostAccess,
    ) -> Result<*mut u8, DriverError> {
        host_view(&*self.0, ptr, bytes, how)
    }

    pub(crate) fn alloc(&self, bytes: u64) -> DevicePtr {
        self.device().allocate(bytes).unwrap()
    }

    pub(crate) fn stream(&self) -> RawStream {
        self.device().create_stream().unwrap()
    }

    pub(crate) fn event(&self) -> RawEvent {
        self.device().create_event().unwrap()
    }

    pub(crate) fn sync(&self) -> Result<(), DriverError> {
        self.device().synchronize()
    }

    pub(crate) fn owned_stream(&self) -> Stream {
        Stream::new(self.0.clone()).unwrap()
    }

    pub(crate) fn kernel(&self, stream: RawStream, kernel: Kernel) -> Result<(), DriverError> {
        // SAFETY: as for the other calls.
        unsafe { self.launch_raw(stream, kernel) }
    }

    /// One granule of physical memory, mapped with access at the start of a range of `granules`.
    pub(crate) fn mapped(&self, granules: u64) -> (DevicePtr, PhysicalHandle) {
        let base = self.vm().reserve(granules * GRANULE).unwrap();
        let handle = self.vm().create(GRANULE).unwrap();
        self.map(base, GRANULE, handle).unwrap();
        self.set_access(base, GRANULE).unwrap();
        (base, handle)
    }

    pub(crate) fn bytes(&self, ptr: DevicePtr, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.read_now(ptr, &mut bytes).unwrap();
        bytes
    }

    /// The one violation so far, which is forgotten.
    #[track_caller]
    pub(crate) fn only_violation(&self, kind: ViolationKind) -> Violation {
        let mut violations = self.take_violations();
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert_eq!(violations[0].kind, kind, "{}", violations[0]);
        violations.remove(0)
    }
}

pub(crate) fn at(ptr: DevicePtr, offset: u64) -> DevicePtr {
    ptr.checked_add(offset).unwrap()
}
