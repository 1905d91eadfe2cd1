//! Memory that a graph owns: what stream-ordered allocation on a capturing stream makes.
//!
//! Only what concerns whoever allocates is modelled: addresses that exist for the capture alone.
//! Launching such a graph, which would give them memory, is not.

use std::collections::BTreeMap;

use vmem_core::DriverCode;

use super::CaptureId;
use crate::Strictness;
use crate::checker::LaneId;
use crate::state::State;
use crate::stream::Submission;
use crate::violation::{Refusal, ViolationKind};

/// Allocations by address.
#[derive(Debug, Default)]
pub(super) struct GraphMemory(BTreeMap<u64, Node>);

#[derive(Debug)]
struct Node {
    capture: CaptureId,
    bytes: u64,
    /// Freed within the capture.
    freed: bool,
}

impl GraphMemory {
    pub(super) fn is_of(&self, capture: CaptureId) -> bool {
        self.0.values().any(|node| node.capture == capture)
    }
}

impl State {
    /// An address for memory that the graph will own; no memory is taken.
    pub(crate) fn allocate_in_capture(&mut self, lane: LaneId, bytes: u64) -> Result<u64, Refusal> {
        self.check_valid(lane)?;
        let code = DriverCode::STREAM_CAPTURE_UNSUPPORTED;
        let detail = "the stream is capturing, and memory of graphs is refused";
        self.refuse_if(Strictness::GRAPH_MEMORY, Refusal::cannot(code, detail))?;
        let (Some(capture), Some(address)) =
            (self.lanes.get(lane).capture, self.memory.plain_addresses.take(bytes))
        else {
            let detail = format!("no {bytes} B of address space are left");
            return Err(Refusal::cannot(DriverCode::OUT_OF_MEMORY, detail));
        };
        self.captures.memory.0.insert(address, Node { capture, bytes, freed: false });
        self.record_node(lane, Submission::mark("cuMemAllocFromPoolAsync"));
        Ok(address)
    }

    /// Frees memory of a graph within its capture. False if it is none, and the stream captures
    /// nothing.
    pub(crate) fn free_in_capture(&mut self, lane: LaneId, address: u64) -> Result<bool, Refusal> {
        let capture = self.lanes.get(lane).capture;
        let wrong =
            |broken, detail| Err(Refusal { code: DriverCode::INVALID_VALUE, detail, broken });
        match self.captures.memory.0.get(&address) {
            Some(node) if Some(node.capture) == capture && !node.freed => {}
            Some(_) => {
                let detail = format!("{address:#x} is memory of a graph, which was not launched");
                return wrong(Some(ViolationKind::BadFree), detail);
            }
            None if capture.is_some() => {
                let detail = "a capturing stream frees what was allocated outside the capture";
                return wrong(None, detail.to_owned());
            }
            None => return Ok(false),
        }
        self.check_valid(lane)?;
        if let Some(node) = self.captures.memory.0.get_mut(&address) {
            node.freed = true;
        }
        self.record_node(lane, Submission::mark("cuMemFreeAsync"));
        Ok(true)
    }

    /// Whether a range lies in memory that the capture of `lane` allocated and did not free.
    pub(crate) fn is_graph_memory(&self, lane: LaneId, at: u64, bytes: u64) -> bool {
        let found = self.captures.memory.0.range(..=at).next_back();
        found.is_some_and(|(&base, node)| {
            let inside = (at - base).checked_add(bytes).is_some_and(|end| end <= node.bytes);
            inside && !node.freed && Some(node.capture) == self.lanes.get(lane).capture
        })
    }
}
