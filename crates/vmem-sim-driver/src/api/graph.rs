//! Stream capture.

use std::ffi::c_int;

use vmem_core::RawStream;

use super::exports;
use super::stream::capture_mode;
use crate::refusal::Refusal;
use crate::session::{GRAPH, unique};
use crate::types::Out;

exports! {
    fn cuStreamBeginCapture_v2(driver, stream: u64, mode: c_int) {
        let mode = capture_mode(mode)?;
        let sim = driver.session()?.maker(stream)?.sim;
        // SAFETY: contract, devices/handles: the simulation refuses a dead handle.
        Ok(unsafe { sim.begin_capture_raw_as(RawStream(stream), mode) }?)
    }

    fn cuStreamEndCapture(driver, stream: u64, graph: Out<u64>) {
        let slot = graph.slot()?;
        let session = driver.session()?;
        let sim = session.maker(stream)?.sim;
        // SAFETY: contract, devices/handles: the simulation refuses a dead handle.
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
