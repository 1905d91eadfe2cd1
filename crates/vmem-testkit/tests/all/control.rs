//! What programs can do to a simulated device.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vmem_core::{DriverError, Stream};
use vmem_sim::{CaptureMode, SimDevice};
use vmem_testkit::DeviceControl;

/// Captures on a simulated device, and loses it.
#[derive(Debug)]
pub(crate) struct Control {
    device: Arc<SimDevice>,
    pub(crate) captured: AtomicU64,
}

impl Control {
    pub(crate) fn of(device: &Arc<SimDevice>) -> Self {
        Self { device: device.clone(), captured: AtomicU64::new(0) }
    }
}

impl DeviceControl for Control {
    fn capture(
        &self,
        stream: &Stream,
        work: &mut dyn FnMut() -> Result<(), DriverError>,
    ) -> Option<Result<(), DriverError>> {
        let captured = self.device.begin_capture(stream).and_then(|()| {
            // As vmem's CUDA device makes its calls.
            let mode = self.device.exchange_capture_mode(CaptureMode::Relaxed);
            let done = work();
            self.device.exchange_capture_mode(mode);
            let graph = self.device.end_capture(stream)?;
            self.captured.fetch_add(graph.len() as u64, Ordering::Relaxed);
            done?;
            // SAFETY: contract, devices/ranges: the program keeps the blocks until the graph has
            // run.
            unsafe { self.device.launch_graph(stream, &graph) }
        });
        Some(captured)
    }

    fn lose(&self) -> bool {
        self.device.lose();
        true
    }
}
