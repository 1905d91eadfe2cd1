//! Capturing work into a graph instead of running it.
//!
//! The rules are those of the CUDA C++ Programming Guide, "Creating a Graph Using Stream Capture"
//! ("Prohibited and Unhandled Operations", "Invalidation"), with captures in the global mode of
//! `cuThreadExchangeStreamCaptureMode`.

use std::collections::HashSet;

use vmem_core::DriverCode;

use crate::checker::{Clock, LaneId, Point};
use crate::state::State;
use crate::stream::{Barrier, LEGACY, Submission};
use crate::sync::{ThreadId, current};
use crate::violation::{Refusal, ViolationKind};

/// A capture by number, never reused.
pub(crate) type CaptureId = usize;

/// `CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD` and its neighbours, which only capturing programs meet.
const UNMATCHED: DriverCode = DriverCode(903);
const UNJOINED: DriverCode = DriverCode(904);
const ISOLATION: DriverCode = DriverCode(905);
const IMPLICIT: DriverCode = DriverCode(906);

/// How a thread's calls treat captures in progress elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CaptureMode {
    /// A call that is unsafe during capture is refused while any thread captures, and breaks the
    /// capture.
    #[default]
    Global,
    /// Such calls are allowed.
    Relaxed,
}

/// Captured work, which can be launched again and again.
#[derive(Debug, Clone)]
pub struct Graph {
    pub(crate) nodes: Vec<Submission>,
}

impl Graph {
    /// How many pieces of work it holds.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

/// The captures in progress, and the threads that ignore them.
#[derive(Debug, Default)]
pub(crate) struct Captures {
    all: Vec<Capture>,
    active: usize,
    relaxed: HashSet<ThreadId>,
}

#[derive(Debug)]
struct Capture {
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

impl Capture {
    const fn member(lane: LaneId, clock: Clock) -> Member {
        Member { lane, recorded: 0, clock }
    }

    fn find(&mut self, lane: LaneId) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.lane == lane)
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
    pub(crate) fn begin_capture(&mut self, lane: LaneId) -> Result<(), Refusal> {
        if lane == LEGACY {
            let detail = "the legacy default stream cannot capture";
            return Err(unsupported(detail));
        }
        if self.lanes.get(lane).capture.is_some() {
            let detail = format!("{} is capturing already", self.lanes.describe(lane));
            let code = DriverCode::ILLEGAL_STATE;
            return Err(Refusal::misuse(ViolationKind::Capture, code, detail));
        }
        self.lanes.get_mut(lane).capture = Some(self.captures.all.len());
        self.captures.active += 1;
        self.captures.all.push(Capture {
            members: vec![Capture::member(lane, Clock::default())],
            nodes: Vec::new(),
            valid: true,
            active: true,
        });
        Ok(())
    }

    pub(crate) fn end_capture(&mut self, lane: LaneId) -> Result<Graph, Refusal> {
        let broken =
            |code, detail: &str| Err(Refusal::misuse(ViolationKind::Capture, code, detail));
        let Some(id) = self.lanes.get(lane).capture else {
            return broken(DriverCode::ILLEGAL_STATE, "the stream is not capturing");
        };
        if self.captures.all[id].members[0].lane != lane {
            return broken(UNMATCHED, "the capture began on another stream");
        }
        let capture = &mut self.captures.all[id];
        capture.active = false;
        self.captures.active -= 1;
        for member in &capture.members {
            self.lanes.get_mut(member.lane).capture = None;
        }
        if !capture.valid {
            let code = DriverCode::STREAM_CAPTURE_INVALIDATED;
            return broken(code, "a call that the capture forbids broke it");
        }
        if !capture.is_joined() {
            return broken(UNJOINED, "the origin does not wait for a stream that joined");
        }
        let nodes = std::mem::take(&mut capture.nodes);
        Ok(Graph { nodes })
    }

    pub(crate) fn exchange_capture_mode(&mut self, mode: CaptureMode) -> CaptureMode {
        let thread = current().id();
        let was_relaxed = match mode {
            CaptureMode::Relaxed => !self.captures.relaxed.insert(thread),
            CaptureMode::Global => self.captures.relaxed.remove(&thread),
        };
        match was_relaxed {
            true => CaptureMode::Relaxed,
            false => CaptureMode::Global,
        }
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
        if !self.captures.all[id].active {
            let detail = "the event belongs to a graph that was captured before";
            return Err(misuse(DriverCode::CAPTURED_EVENT, detail));
        }
        match self.lanes.get(lane).capture {
            Some(own) if own != id => {
                self.captures.all[own].valid = false;
                return Err(misuse(ISOLATION, "the event belongs to another capture"));
            }
            Some(_) => {}
            None => {
                self.lanes.get_mut(lane).capture = Some(id);
                let joining = Capture::member(lane, Clock::default());
                self.captures.all[id].members.push(joining);
            }
        }
        if let Some(member) = self.captures.all[id].find(lane) {
            member.clock.join(&awaited.clock);
            member.clock.raise(awaited.point);
        }
        Ok(())
    }

    /// A capturing stream cannot wait for work outside its capture.
    pub(crate) fn check_isolation(&mut self, lane: LaneId) -> Result<(), Refusal> {
        match self.lanes.get(lane).capture {
            None => Ok(()),
            Some(own) => {
                self.captures.all[own].valid = false;
                let detail = "a capturing stream waits for an event recorded outside the capture";
                Err(misuse(ISOLATION, detail))
            }
        }
    }

    /// The legacy default stream orders with every blocking stream, so it must not be used while
    /// one of them captures.
    pub(crate) fn check_legacy_capture(&mut self, lane: LaneId) -> Result<(), Refusal> {
        if self.captures.active == 0 || lane != LEGACY {
            return Ok(());
        }
        let blocking = |member: &Member| self.lanes.get(member.lane).barrier == Barrier::Blocking;
        let mut broke = false;
        for capture in self.captures.all.iter_mut().filter(|capture| capture.active) {
            if capture.members.iter().any(blocking) {
                capture.valid = false;
                broke = true;
            }
        }
        if !broke {
            return Ok(());
        }
        let detail = "the legacy default stream is used while a blocking stream captures";
        Err(misuse(IMPLICIT, detail))
    }

    /// Queries and synchronisation of a capturing stream are refused and break its capture.
    pub(crate) fn refuse_capturing(&mut self, lane: LaneId) -> Result<(), Refusal> {
        self.check_legacy_capture(lane)?;
        match self.lanes.get(lane).capture {
            None => Ok(()),
            Some(id) => {
                self.captures.all[id].valid = false;
                Err(unsupported("the stream is capturing"))
            }
        }
    }

    /// A synchronisation of the whole device covers capturing streams, so it is refused.
    pub(crate) fn refuse_any_capture(&mut self) -> Result<(), Refusal> {
        if self.captures.active == 0 {
            return Ok(());
        }
        self.break_captures();
        Err(unsupported("a stream of the device is capturing"))
    }

    /// Calls that may synchronise are refused while any thread captures, unless the calling thread
    /// is in relaxed mode.
    pub(crate) fn refuse_unsafe_in_capture(&mut self) -> Result<(), Refusal> {
        if self.captures.active == 0 {
            return Ok(());
        }
        let thread = current().id();
        if self.captures.relaxed.contains(&thread) {
            return Ok(());
        }
        self.break_captures();
        Err(unsupported("a stream is capturing and the calling thread is not in relaxed mode"))
    }

    /// Asking about a captured event is refused and breaks its capture.
    pub(crate) fn captured_event(&mut self, event: &CapturePoint) -> Refusal {
        self.captures.all[event.capture].valid = false;
        let detail = "the event was recorded in a capture";
        misuse(DriverCode::CAPTURED_EVENT, detail)
    }

    fn break_captures(&mut self) {
        for capture in self.captures.all.iter_mut().filter(|capture| capture.active) {
            capture.valid = false;
        }
    }
}

fn unsupported(detail: &str) -> Refusal {
    misuse(DriverCode::STREAM_CAPTURE_UNSUPPORTED, detail)
}

fn misuse(code: DriverCode, detail: &str) -> Refusal {
    Refusal::misuse(ViolationKind::Capture, code, detail)
}
