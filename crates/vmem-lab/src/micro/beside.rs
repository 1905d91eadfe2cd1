//! What goes on while something is measured.

#![expect(unsafe_code, reason = "the driver's calls themselves are used")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use vmem_core::{Device, DevicePtr, DriverError, RawStream};

use super::lab::Lab;
use super::report::Beside;

/// Fills that are queued at a time on the busy stream.
const FILLS: u32 = 32;

/// Fills of the launching thread between two waits.
const LAUNCHES: u32 = 64;

/// Something that goes on until it is ended.
#[derive(Debug)]
pub(super) enum Company {
    Nobody,
    Busy(Scratch),
    Launching { stop: Arc<AtomicBool>, thread: JoinHandle<Result<(), DriverError>> },
}

/// A stream and memory to fill.
#[derive(Debug)]
pub(super) struct Scratch {
    device: Arc<dyn Device>,
    stream: RawStream,
    ptr: DevicePtr,
    bytes: u64,
}

impl Company {
    /// How much of the device it takes, in bytes. Large enough that fills outlast calls; in a
    /// simulation, which would really write the bytes, calls and fills are what they are.
    pub(super) fn bytes(lab: &Lab) -> u64 {
        if lab.device.facts().simulated { 1 << 20 } else { 256 << 20 }
    }

    /// # Errors
    /// The [`DriverError`] of the driver call.
    pub(super) fn start(lab: &Lab, beside: Beside) -> Result<Self, DriverError> {
        Ok(match beside {
            Beside::Nothing => Self::Nobody,
            Beside::BusyStream => Self::Busy(Scratch::new(lab.device.clone(), Self::bytes(lab))?),
            Beside::LaunchingThread => {
                let scratch = Scratch::new(lab.device.clone(), 4 << 10)?;
                let stop = Arc::new(AtomicBool::new(false));
                let asked = stop.clone();
                let thread = thread::spawn(move || {
                    let launched = launch_until(&scratch, &asked);
                    launched.and(scratch.end())
                });
                Self::Launching { stop, thread }
            }
        })
    }

    /// Makes sure that it goes on. Called before every time that is taken.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    pub(super) fn keep_on(&self) -> Result<(), DriverError> {
        match self {
            Self::Busy(scratch) => scratch.keep_busy(),
            Self::Nobody | Self::Launching { .. } => Ok(()),
        }
    }

    /// Ends it, and waits for that.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    pub(super) fn end(self) -> Result<(), DriverError> {
        match self {
            Self::Nobody => Ok(()),
            Self::Busy(scratch) => scratch.end(),
            Self::Launching { stop, thread } => {
                stop.store(true, Ordering::Relaxed);
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
        }
    }
}

fn launch_until(scratch: &Scratch, asked: &AtomicBool) -> Result<(), DriverError> {
    while !asked.load(Ordering::Relaxed) {
        scratch.fill(LAUNCHES)?;
        // SAFETY: contract, devices/handles: the scratch owns the stream.
        unsafe { scratch.device.synchronize_stream(scratch.stream) }?;
    }
    Ok(())
}

impl Scratch {
    /// # Errors
    /// The [`DriverError`] of the driver call.
    pub(super) fn new(device: Arc<dyn Device>, bytes: u64) -> Result<Self, DriverError> {
        let ptr = device.allocate(bytes)?;
        let stream = device.create_stream()?;
        Ok(Self { device, stream, ptr, bytes })
    }

    pub(super) fn stream(&self) -> RawStream {
        self.stream
    }

    pub(super) fn ptr(&self) -> DevicePtr {
        self.ptr
    }

    /// Queues `count` fills of all of it.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    pub(super) fn fill(&self, count: u32) -> Result<(), DriverError> {
        (0..count).try_for_each(|_| self.fill_part(self.bytes))
    }

    /// Queues a fill of its first `bytes` bytes.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    pub(super) fn fill_part(&self, bytes: u64) -> Result<(), DriverError> {
        let bytes = bytes.min(self.bytes);
        // SAFETY: contract, devices/handles and devices/ranges: the scratch owns the memory and the
        // stream.
        unsafe { self.device.fill(self.ptr, 0x5A, bytes, self.stream) }
    }

    /// Waits for what was queued.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    pub(super) fn wait(&self) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles: the scratch owns the stream.
        unsafe { self.device.synchronize_stream(self.stream) }
    }

    fn keep_busy(&self) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles: the scratch owns the stream.
        let completion = unsafe { self.device.query_stream(self.stream) }?;
        if completion.is_complete() { self.fill(FILLS) } else { Ok(()) }
    }

    /// Gives it back.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    pub(super) fn end(self) -> Result<(), DriverError> {
        self.wait()?;
        // SAFETY: contract, devices/handles and devices/pending-work: the work on it has completed,
        // and it is the last user.
        unsafe { self.device.free(self.ptr) }?;
        // SAFETY: contract, devices/handles: it is the last user.
        unsafe { self.device.destroy_stream(self.stream) }
    }
}
