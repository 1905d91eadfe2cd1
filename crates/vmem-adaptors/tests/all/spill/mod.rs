//! Buffers that spill.

mod failures;
mod granules;
mod graphs;
mod mover;
mod order;
mod programs;
mod streams;

use std::sync::Arc;

use vmem_adaptors::{Spill, Spillable};
use vmem_core::{DeviceBuffer, Stream};
use vmem_sim::{Kernel, SimConfig, SimDevice};

use mover::{Memory, Mover};

const SIZE: u64 = 4096;

type Buffer = Spillable<DeviceBuffer<Memory>>;

/// A device that holds so many buffers, and a host that holds so many.
struct Bench {
    device: Arc<SimDevice>,
    mover: Arc<Mover>,
    spill: Spill,
    stream: Stream,
}

impl Bench {
    fn new(seed: u64, device_buffers: u64, host_buffers: u64) -> Self {
        let config = SimConfig { seed, ..SimConfig::default() };
        let device = SimDevice::with_config(config).unwrap();
        let mover = Mover::new(device.clone(), device_buffers * SIZE, host_buffers * SIZE);
        let spill = Spill::new(mover.clone());
        let stream = Stream::new(device.clone()).unwrap();
        Self { device, mover, spill, stream }
    }

    /// A buffer of [`SIZE`] bytes; makes room for it if there is none.
    fn buffer(&self) -> Buffer {
        let make = || DeviceBuffer::new(Memory(self.mover.clone()), SIZE, &self.stream);
        let buffer = make().or_else(|_| {
            self.device.settle();
            self.spill.demote(SIZE);
            make()
        });
        self.spill.adopt(buffer.unwrap())
    }

    fn buffers(&self, count: usize) -> Vec<Buffer> {
        let buffers = (0..count).map(|_| self.buffer()).collect();
        self.stream.synchronize().unwrap();
        buffers
    }

    /// Queues a kernel on memory that is leased.
    fn launch(&self, stream: &Stream, kernel: Kernel) {
        // SAFETY: contract, devices/ranges: live memory, or the simulation refuses it.
        unsafe { self.device.launch(stream, kernel) }.unwrap();
    }

    /// Writes a buffer's pattern under a lease.
    fn write(&self, buffer: &Buffer, stream: &Stream, tag: u64) {
        let lease = buffer.lease(stream).unwrap();
        self.launch(stream, Kernel::write_pattern(lease.ptr().unwrap(), SIZE, tag));
    }

    /// Checks a buffer's pattern under a lease.
    fn check(&self, buffer: &Buffer, stream: &Stream, tag: u64) {
        let lease = buffer.lease(stream).unwrap();
        self.launch(stream, Kernel::check_pattern(lease.ptr().unwrap(), SIZE, tag));
    }

    fn finish(self) {
        let Self { device, mover, spill, stream } = self;
        assert_eq!((spill.counts().buffers, spill.counts().host_bytes), (0, 0));
        drop((spill, mover, stream));
        device.assert_clean();
        device.settle();
        assert!(device.leaks().is_empty(), "{}", device.leaks());
    }
}

/// The address of a buffer.
fn address(buffer: &Buffer) -> u64 {
    // SAFETY: it is only compared.
    unsafe { buffer.ptr_without_lease() }.unwrap().get()
}
