//! Events, waits, and what the host learns by waiting or asking.

use vmem_core::{DriverCode, RawEvent, RawStream};

use super::lane::Lanes;
use super::work::{Queued, Submission, Work};
use crate::Strictness;
use crate::capture::CapturePoint;
use crate::checker::{Clock, LaneId, Point};
use crate::state::State;
use crate::violation::{Refusal, ViolationKind};

/// What an event stands for.
#[derive(Debug, Clone, Default)]
pub(crate) enum EventState {
    /// Nothing yet: it counts as complete, and waiting for it does nothing (CUDA Driver API,
    /// `cuEventQuery`, `cuStreamWaitEvent`).
    #[default]
    Unrecorded,
    /// A point in a lane's work.
    Recorded {
        point: Point,
        /// What the point is ordered after, on other lanes.
        clock: Clock,
        /// When it is reached, in virtual time.
        ready_ns: u64,
    },
    /// A node of a graph being captured, or captured.
    Captured(CapturePoint),
}

impl State {
    pub(crate) fn record(&mut self, event: RawEvent, stream: RawStream) -> Result<(), Refusal> {
        self.events.get(event.0.get())?;
        let lane = self.lanes.resolve(stream)?;
        self.check_legacy_capture(lane)?;
        self.check_valid(lane)?;
        let state = match self.capture_point(lane) {
            Some(captured) => EventState::Captured(captured),
            None => {
                let point = self.submit(lane, Submission::mark("cuEventRecord"))?;
                let lane = self.lanes.get_mut(lane);
                lane.clock.prune(&self.seen);
                EventState::Recorded { point, clock: lane.clock.clone(), ready_ns: lane.ready_ns }
            }
        };
        *self.events.get_mut(event.0.get())? = state;
        Ok(())
    }

    /// Later work of the stream waits for what the event stands for now; recording it again changes
    /// nothing for this wait (CUDA Driver API, `cuStreamWaitEvent`).
    pub(crate) fn wait(&mut self, stream: RawStream, event: RawEvent) -> Result<(), Refusal> {
        let state = self.events.get(event.0.get())?.clone();
        let lane = self.lanes.resolve(stream)?;
        match state {
            EventState::Unrecorded => self.check_valid(lane),
            EventState::Captured(captured) => self.join_capture(lane, &captured),
            EventState::Recorded { point, clock, ready_ns } => {
                self.check_legacy_capture(lane)?;
                self.check_valid(lane)?;
                self.check_isolation(lane)?;
                self.queue_wait(lane, point, &clock, ready_ns);
                Ok(())
            }
        }
    }

    /// Orders later work of `lane` after `point`.
    pub(crate) fn queue_wait(&mut self, lane: LaneId, point: Point, clock: &Clock, ready_ns: u64) {
        let mut needs = self.cross_barrier(lane);
        needs.push(point);
        let host = self.host_ns;
        let later = self.lanes.get_mut(lane);
        later.clock.join(clock);
        later.clock.raise(point);
        later.ready_ns = later.ready_ns.max(ready_ns).max(host);
        let wait = Queued {
            name: "cuStreamWaitEvent",
            work: Work::Mark,
            reads: Vec::new(),
            writes: Vec::new(),
            needs,
        };
        self.enqueue(lane, wait);
    }

    /// Whether the event's work has completed. A yes is something the host has seen.
    pub(crate) fn query_event(&mut self, event: RawEvent) -> Result<bool, Refusal> {
        match self.events.get(event.0.get())?.clone() {
            EventState::Unrecorded => self.refuse_unsafe_query().map(|()| true),
            EventState::Captured(captured) => Err(self.captured_event(&captured)),
            EventState::Recorded { point, clock, ready_ns } => {
                self.refuse_unsafe_query()?;
                let reached = self.poll(point);
                if reached {
                    self.seen.observe(point, &clock);
                    self.host_ns = self.host_ns.max(ready_ns);
                }
                Ok(reached)
            }
        }
    }

    pub(crate) fn synchronize_event(&mut self, event: RawEvent) -> Result<(), Refusal> {
        match self.events.get(event.0.get())?.clone() {
            EventState::Unrecorded => self.refuse_unsafe_query(),
            EventState::Captured(captured) => Err(self.captured_event(&captured)),
            EventState::Recorded { point, clock, ready_ns } => {
                self.refuse_unsafe_query()?;
                self.force(point);
                self.seen.observe(point, &clock);
                self.host_ns = self.host_ns.max(ready_ns);
                self.trim_after_wait();
                Ok(())
            }
        }
    }

    pub(crate) fn query_stream(&mut self, stream: RawStream) -> Result<bool, Refusal> {
        let lane = self.lanes.resolve(stream)?;
        self.refuse_capturing(lane)?;
        self.refuse_unsafe_query()?;
        let tail = self.lanes.tail(lane);
        let reached = self.poll(tail);
        if reached {
            self.see_tail(lane);
            self.host_ns = self.host_ns.max(self.lanes.get(lane).ready_ns);
        }
        Ok(reached)
    }

    pub(crate) fn synchronize_stream(&mut self, stream: RawStream) -> Result<(), Refusal> {
        let lane = self.lanes.resolve(stream)?;
        self.refuse_capturing(lane)?;
        self.refuse_unsafe_query()?;
        self.force(self.lanes.tail(lane));
        self.see_tail(lane);
        self.host_ns = self.host_ns.max(self.lanes.get(lane).ready_ns);
        self.trim_after_wait();
        Ok(())
    }

    /// Waits for all lanes, those of destroyed streams included.
    pub(crate) fn synchronize(&mut self) -> Result<(), Refusal> {
        self.refuse_any_capture()?;
        self.drain();
        for lane in self.lanes.ids() {
            self.see_tail(lane);
        }
        self.await_device();
        self.trim_after_wait();
        Ok(())
    }

    /// Moves the host's clock to the end of all queued work.
    pub(crate) fn await_device(&mut self) {
        self.host_ns = self.host_ns.max(self.device_ns);
    }

    fn see_tail(&mut self, lane: LaneId) {
        let tail = self.lanes.tail(lane);
        self.seen.observe(tail, &self.lanes.get(lane).clock);
    }

    /// Refuses if work is not known to have completed: seen by the host, or, without the checker,
    /// simply run. A device that is not so strict reports it, and runs the work.
    pub(crate) fn refuse_pending(
        &mut self,
        strictness: Strictness,
        uses: &[Point],
        what: impl FnOnce() -> String,
    ) -> Result<(), Refusal> {
        let complete = |point: &&Point| match self.config.checker {
            crate::Checker::On => self.seen.covers(**point),
            crate::Checker::Off => self.lanes.is_done(**point),
        };
        let Some(pending) = uses.iter().find(|point| !complete(point)) else {
            return Ok(());
        };
        let detail = format!(
            "{} while the host has not seen work on it complete, queued on {}",
            what(),
            self.lanes.describe(pending.lane)
        );
        let code = DriverCode::INVALID_VALUE;
        let refusal = Refusal::misuse(ViolationKind::PendingWork, code, detail);
        self.refuse_if(strictness, refusal)?;
        if strictness != Strictness::PENDING_ACCESS {
            self.drain();
        }
        Ok(())
    }
}

impl Lanes {
    /// A destroyed stream's barrier ends with its last work.
    pub(crate) fn forget_drained(&mut self, lane: LaneId) {
        if self.get(lane).queue.is_empty() {
            self.blocking.retain(|&blocking| blocking != lane);
        }
    }
}
