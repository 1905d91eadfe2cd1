//! Stream capture.

use std::ffi::c_int;

use vmem_core::RawStream;

use super::exports;
use crate::refusal::Refusal;
use crate::session::{GRAPH, unique};
use crate::types::Out;

exports! {
    /// Knows the global mode (0) alone.
    fn cuStreamBeginCapture_v2(driver, stream: u64, mode: c_int) {
        if mode != 0 {
            return Err(Refusal::unsupported(format!("capture mode {mode}")));
        }
        let sim = driver.session()?.here()?.sim;
        // SAFETY: contract, devices 1: the simulation refuses a dead handle.
        Ok(unsafe { sim.begin_capture_raw(RawStream(stream)) }?)
    }

    fn cuStreamEndCapture(driver, stream: u64, graph: Out<u64>) {
        let slot = graph.slot()?;
        let session = driver.session()?;
        let sim = session.here()?.sim;
        // SAFETY: contract, devices 1: the simulation refuses a dead handle.
        let captured = unsafe { sim.end_capture_raw(RawStream(stream)) }?;
        let handle = unique(GRAPH);
        session.graphs.insert(handle, captured);
        slot.put(handle);
        Ok(())
    }

    fn cuGraphDestroy(driver, graph: u64) {
        match driver.session()?.graphs.remove(&graph) {
            Some(_) => Ok(()),
            None => Err(Refusal::value(format!("{graph:#x} is no graph"))),
        }
    }
}
