//! What captures forbid, and what breaks them.

use vmem_core::DriverCode;

use super::{
    Capture, CaptureMode, CapturePoint, CaptureStatus, IMPLICIT, ISOLATION, misuse, unsupported,
};
use crate::checker::LaneId;
use crate::state::State;
use crate::stream::{Barrier, LEGACY};
use crate::sync::current;
use crate::violation::Refusal;
use crate::{Callers, Strictness};

impl Capture {
    /// Whether it forbids unsafe calls to the calling thread, which is in `mode`.
    fn forbids(&self, mode: CaptureMode) -> bool {
        let own = self.thread == current().id();
        match mode {
            _ if !self.active => false,
            CaptureMode::Relaxed => false,
            CaptureMode::ThreadLocal => own && self.mode != CaptureMode::Relaxed,
            CaptureMode::Global if own => self.mode != CaptureMode::Relaxed,
            CaptureMode::Global => self.mode == CaptureMode::Global,
        }
    }
}

impl State {
    pub(crate) fn capture_status(&self, lane: LaneId) -> Result<CaptureStatus, Refusal> {
        let blocking = |capture| self.is_blocking(capture);
        if lane == LEGACY && self.captures.active > 0 && self.captures.all.iter().any(blocking) {
            // Whoever asks does nothing wrong.
            return Err(Refusal::cannot(IMPLICIT, LEGACY_USED));
        }
        Ok(match self.lanes.get(lane).capture {
            None => CaptureStatus::None,
            Some(id) if self.captures.all[id].valid => CaptureStatus::Active,
            Some(_) => CaptureStatus::Invalidated,
        })
    }

    /// A capture that was broken takes nothing more: it can only be ended.
    pub(crate) fn check_valid(&self, lane: LaneId) -> Result<(), Refusal> {
        match self.lanes.get(lane).capture {
            Some(id) if !self.captures.all[id].valid => {
                let code = DriverCode::STREAM_CAPTURE_INVALIDATED;
                Err(misuse(code, "the stream's capture was broken and is not ended"))
            }
            _ => Ok(()),
        }
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
        let blocking: Vec<usize> = (0..self.captures.all.len())
            .filter(|&id| self.is_blocking(&self.captures.all[id]))
            .collect();
        if blocking.is_empty() {
            return Ok(());
        }
        blocking.into_iter().for_each(|id| self.captures.all[id].valid = false);
        Err(misuse(IMPLICIT, LEGACY_USED))
    }

    /// Whether a blocking stream takes part in a capture that is not ended.
    fn is_blocking(&self, capture: &Capture) -> bool {
        let blocking = |lane| self.lanes.get(lane).barrier == Barrier::Blocking;
        capture.active && capture.members.iter().any(|member| blocking(member.lane))
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
        self.break_captures(|_| true, "a stream of the device is capturing")
    }

    /// Unsafe calls are refused while a capture forbids them to the calling thread.
    pub(crate) fn refuse_unsafe(&mut self) -> Result<(), Refusal> {
        let mode = self.captures.modes.get(&current().id()).copied().unwrap_or_default();
        let forbids = |capture: &Capture| capture.forbids(mode);
        self.break_captures(forbids, "a stream is capturing, and the call is unsafe meanwhile")
    }

    /// An allocation or a free, in no stream's order, is unsafe.
    pub(crate) fn refuse_unsafe_allocation(&mut self) -> Result<(), Refusal> {
        let strict = self.config.strictness.contains(Strictness::ALLOCATION_IN_CAPTURE);
        match self.config.callers {
            Callers::Relaxed if !strict => Ok(()),
            _ => self.refuse_unsafe(),
        }
    }

    /// Waiting for a stream or an event, asking about them, and the stream-ordered pool's calls are
    /// unsafe.
    pub(crate) fn refuse_unsafe_query(&mut self) -> Result<(), Refusal> {
        match self.config.callers {
            Callers::Relaxed => Ok(()),
            Callers::TheirOwn => self.refuse_unsafe(),
        }
    }

    /// Asking about an event of a capture is refused and breaks the capture.
    pub(crate) fn captured_event(&mut self, event: &CapturePoint) -> Refusal {
        if let Err(over) = self.check_event(event) {
            return over;
        }
        self.captures.all[event.capture].valid = false;
        misuse(DriverCode::CAPTURED_EVENT, "the event was recorded in a capture")
    }

    /// An event of a capture that was ended or broken stands for nothing any more.
    pub(super) fn check_event(&self, event: &CapturePoint) -> Result<(), Refusal> {
        let capture = &self.captures.all[event.capture];
        if capture.active && capture.valid {
            return Ok(());
        }
        let detail = "the event belongs to a capture that is over";
        Err(misuse(DriverCode::INVALID_VALUE, detail))
    }

    /// Breaks the captures that forbid a call, if there are any.
    fn break_captures(
        &mut self,
        forbids: impl Fn(&Capture) -> bool,
        detail: &str,
    ) -> Result<(), Refusal> {
        if self.captures.active == 0 {
            return Ok(());
        }
        let mut broke = false;
        for capture in self.captures.all.iter_mut().filter(|capture| capture.active) {
            if forbids(capture) {
                capture.valid = false;
                broke = true;
            }
        }
        if broke { Err(unsupported(detail)) } else { Ok(()) }
    }
}

const LEGACY_USED: &str = "the legacy default stream is used while a blocking stream captures";
