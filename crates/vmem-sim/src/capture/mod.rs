//! Capturing work into a graph instead of running it.
//!
//! The rules are those of the CUDA C++ Programming Guide, "Creating a Graph Using Stream Capture"
//! ("Prohibited and Unhandled Operations", "Invalidation") and of the driver API
//! (`cuStreamBeginCapture`, `cuThreadExchangeStreamCaptureMode`); where those say nothing, what a
//! driver of version 580 answered.

mod graph_memory;
mod rules;

use std::collections::HashMap;

use vmem_core::DriverCode;

use crate::Strictness;
use crate::checker::{Clock, LaneId, Point};
use crate::state::State;
use crate::stream::{LEGACY, Submission};
use crate::sync::{ThreadId, current};
use crate::violation::{Refusal, ViolationKind};
use graph_memory::GraphMemory;

/// A capture by number, never reused.
pub(crate) type CaptureId = usize;

/// Which calls a capture forbids, if it is a capture's mode; which captures forbid a thread
/// anything, if it is a thread's.
///
/// What conflicts with a capture by its nature is forbidden in every mode: waiting for a capturing
/// stream or asking about it, asking about an event of a capture, synchronising the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum CaptureMode {
    /// A capture forbids unsafe calls to all threads. A thread is forbidden them by captures of its
    /// own unless they are relaxed, and by others' in this mode.
    #[default]
    Global,
    /// A capture forbids unsafe calls to the thread that began it. A thread is forbidden them by
    /// captures of its own unless they are relaxed.
    ThreadLocal,
    /// A capture forbids no unsafe calls, and any thread may end it. A thread is forbidden none.
    Relaxed,
}

/// The state of a stream's capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CaptureStatus {
    /// It does not.
    None,
    /// It does.
    Active,
    /// It does, and a forbidden call broke the capture: it can only be ended, which answers so.
    Invalidated,
}

/// Captured work, which can be launched again and again.
#[derive(Debug, Clone)]
pub struct Graph {
    pub(crate) nodes: Vec<Submission>,
    pub(crate) owns_memory: bool,
}

impl Graph {
    /// The number of pieces of work in it.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Returns true if there is no work in it.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

/// The captures there were, and the modes of threads that are not in the global one.
#[derive(Debug, Default)]
pub(crate) struct Captures {
    all: Vec<Capture>,
    active: usize,
    modes: HashMap<ThreadId, CaptureMode>,
    memory: GraphMemory,
}

#[derive(Debug)]
struct Capture {
    mode: CaptureMode,
    /// The thread that began it.
    thread: ThreadId,
    /// The stream it began on first, then those that joined.
    members: Vec<Member>,
    nodes: Vec<Submission>,
    valid: bool,
    active: bool,
}

/// A stream in a capture: how much it recorded, and what that is ordered after on other members.
#[derive(Debug)]
struct Member {
    lane: LaneId,
    recorded: u64,
    clock: Clock,
}

/// What an event recorded in a capture stands for.
#[derive(Debug, Clone)]
pub(crate) struct CapturePoint {
    capture: CaptureId,
    point: Point,
    clock: Clock,
}

impl Member {
    fn new(lane: LaneId) -> Self {
        Self { lane, recorded: 0, clock: Clock::default() }
    }
}

impl Capture {
    fn find(&mut self, lane: LaneId) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.lane == lane)
    }

    fn origin(&self) -> LaneId {
        self.members[0].lane
    }

    /// Whether the first stream waits, directly or not, for all that the others recorded.
    fn is_joined(&self) -> bool {
        let Some((origin, others)) = self.members.split_first() else {
            return true;
        };
        others.iter().all(|member| {
            let time = member.recorded;
            let lane = member.lane;
            origin.clock.covers(Point { lane, time })
        })
    }
}

impl State {
    pub(crate) fn begin_capture(&mut self, lane: LaneId, mode: CaptureMode) -> Result<(), Refusal> {
        if lane == LEGACY {
            return Err(unsupported("the legacy default stream cannot capture"));
        }
        if self.lanes.get(lane).capture.is_some() {
            let detail = format!("{} is capturing already", self.lanes.describe(lane));
            return Err(misuse(DriverCode::ILLEGAL_STATE, detail));
        }
        self.lanes.get_mut(lane).capture = Some(self.captures.all.len());
        self.captures.active += 1;
        self.captures.all.push(Capture {
            mode,
            thread: current().id(),
            members: vec![Member::new(lane)],
            nodes: Vec::new(),
            valid: true,
            active: true,
        });
        Ok(())
    }

    pub(crate) fn end_capture(&mut self, lane: LaneId) -> Result<Graph, Refusal> {
        let Some(id) = self.lanes.get(lane).capture else {
            return Err(misuse(DriverCode::ILLEGAL_STATE, "the stream is not capturing"));
        };
        if self.captures.all[id].origin() != lane {
            self.captures.all[id].valid = false;
            return Err(misuse(UNMATCHED, "the capture began on another stream"));
        }
        self.close_capture(id);
        let capture = &mut self.captures.all[id];
        if capture.mode != CaptureMode::Relaxed && capture.thread != current().id() {
            return Err(misuse(WRONG_THREAD, "the capture was begun by another thread"));
        }
        if !capture.valid {
            let code = DriverCode::STREAM_CAPTURE_INVALIDATED;
            return Err(misuse(code, "a call that the capture forbids broke it"));
        }
        if !capture.is_joined() {
            return Err(misuse(UNJOINED, "the origin does not wait for a stream that joined"));
        }
        let nodes = std::mem::take(&mut capture.nodes);
        Ok(Graph { nodes, owns_memory: self.captures.memory.is_of(id) })
    }

    /// A stream is about to be destroyed. One that began a capture takes it along; one that joined
    /// leaves its work there.
    pub(crate) fn leave_capture(&mut self, lane: LaneId) -> Result<(), Refusal> {
        let Some(id) = self.lanes.get(lane).capture else {
            return Ok(());
        };
        if self.captures.all[id].origin() != lane {
            return Ok(());
        }
        if self.config.strictness.contains(Strictness::CAPTURING_DESTROY) {
            return self.refuse_capturing(lane);
        }
        let detail = "a stream is destroyed while it captures";
        let code = DriverCode::STREAM_CAPTURE_UNSUPPORTED;
        self.refuse_if(Strictness::CAPTURING_DESTROY, misuse(code, detail))?;
        self.close_capture(id);
        Ok(())
    }

    fn close_capture(&mut self, id: CaptureId) {
        let capture = &mut self.captures.all[id];
        capture.active = false;
        self.captures.active -= 1;
        for member in &capture.members {
            self.lanes.get_mut(member.lane).capture = None;
        }
    }

    pub(crate) fn exchange_capture_mode(&mut self, mode: CaptureMode) -> CaptureMode {
        let thread = current().id();
        let was = match mode {
            CaptureMode::Global => self.captures.modes.remove(&thread),
            other => self.captures.modes.insert(thread, other),
        };
        was.unwrap_or_default()
    }

    pub(crate) fn record_node(&mut self, lane: LaneId, submission: Submission) {
        if let Some(id) = self.lanes.get(lane).capture {
            let capture = &mut self.captures.all[id];
            capture.nodes.push(submission);
            if let Some(member) = capture.find(lane) {
                member.recorded += 1;
            }
        }
    }

    /// Where a capturing lane stands in its capture.
    pub(crate) fn capture_point(&mut self, lane: LaneId) -> Option<CapturePoint> {
        let capture = self.lanes.get(lane).capture?;
        let member = self.captures.all[capture].find(lane)?;
        let time = member.recorded;
        Some(CapturePoint { capture, point: Point { lane, time }, clock: member.clock.clone() })
    }

    /// Waiting for a captured event draws the waiting stream into the capture.
    pub(crate) fn join_capture(
        &mut self,
        lane: LaneId,
        awaited: &CapturePoint,
    ) -> Result<(), Refusal> {
        let id = awaited.capture;
        self.check_legacy_capture(lane)?;
        self.check_valid(lane)?;
        self.check_event(awaited)?;
        if lane == LEGACY {
            self.captures.all[id].valid = false;
            return Err(misuse(IMPLICIT, "the legacy default stream cannot join a capture"));
        }
        match self.lanes.get(lane).capture {
            Some(own) if own != id => {
                self.captures.all[own].valid = false;
                self.captures.all[id].valid = false;
                return Err(misuse(MERGE, "the event belongs to another capture"));
            }
            Some(_) => {}
            None => {
                self.lanes.get_mut(lane).capture = Some(id);
                self.captures.all[id].members.push(Member::new(lane));
            }
        }
        if let Some(member) = self.captures.all[id].find(lane) {
            member.clock.join(&awaited.clock);
            member.clock.raise(awaited.point);
        }
        Ok(())
    }
}

/// `CUDA_ERROR_STREAM_CAPTURE_MERGE` and its neighbours, which only capturing programs meet.
const MERGE: DriverCode = DriverCode(902);
const UNMATCHED: DriverCode = DriverCode(903);
const UNJOINED: DriverCode = DriverCode(904);
const ISOLATION: DriverCode = DriverCode(905);
const IMPLICIT: DriverCode = DriverCode(906);
const WRONG_THREAD: DriverCode = DriverCode(908);

fn unsupported(detail: &str) -> Refusal {
    misuse(DriverCode::STREAM_CAPTURE_UNSUPPORTED, detail)
}

fn misuse(code: DriverCode, detail: impl Into<String>) -> Refusal {
    Refusal::misuse(ViolationKind::Capture, code, detail)
}
