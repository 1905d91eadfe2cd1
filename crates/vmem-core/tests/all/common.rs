use std::sync::{Arc, Mutex};

use vmem_core::author::{StreamExt, StreamObserver};
use vmem_core::{Device, DevicePtr, DriverError, Event, RawStream, Stream, StreamId};
use vmem_sim::{Kernel, SimConfig, SimDevice};

pub(crate) const MIB: u64 = 1 << 20;

pub(crate) fn sim(seed: u64) -> Arc<SimDevice> {
    let config = SimConfig { capacity: 64 * MIB, seed, ..SimConfig::default() };
    SimDevice::with_config(config).unwrap()
}

pub(crate) fn dyn_device(device: &Arc<SimDevice>) -> Arc<dyn Device> {
    device.clone()
}

pub(crate) fn stream(device: &Arc<SimDevice>) -> Stream {
    Stream::new(device.clone()).unwrap()
}

/// Queues a kernel. The memory it names is live in these tests, or the simulation refuses it.
pub(crate) fn launch(device: &SimDevice, stream: &Stream, kernel: Kernel) {
    // SAFETY: contract, devices/ranges: as said above.
    unsafe { device.launch(stream, kernel) }.unwrap();
}

/// Whether the driver still knows a stream.
pub(crate) fn is_alive(device: &SimDevice, raw: RawStream) -> bool {
    // SAFETY: the simulation refuses a handle that is not valid.
    let alive = unsafe { device.query_stream(raw) }.is_ok();
    if !alive {
        device.take_violations();
    }
    alive
}

/// Plain memory that lives until the device goes.
pub(crate) fn scratch(device: &SimDevice) -> DevicePtr {
    device.allocate(4096).unwrap()
}

/// What an observer was told.
#[derive(Debug, Default)]
pub(crate) struct Told(pub(crate) Mutex<Vec<(StreamId, Option<Event>)>>);

impl Told {
    pub(crate) fn watch(stream: &Stream) -> Arc<Self> {
        let told = Arc::new(Self::default());
        let observer: std::sync::Weak<Self> = Arc::downgrade(&told);
        stream.observe(observer);
        told
    }

    /// What the one call said.
    #[track_caller]
    pub(crate) fn once(&self) -> (StreamId, Option<Event>) {
        let told = self.0.lock().unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        told[0].clone()
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}

impl StreamObserver for Told {
    fn retiring(&self, stream: StreamId, marker: Option<&Event>) {
        self.0.lock().unwrap().push((stream, marker.cloned()));
    }
}

#[track_caller]
pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, DriverError>) -> vmem_core::DriverCode {
    result.unwrap_err().code()
}
