//! Lanes: streams by identity.

use std::collections::{HashMap, VecDeque};

use vmem_core::RawStream;

use super::work::Queued;
use crate::capture::CaptureId;
use crate::checker::{Clock, LaneId, Point};
use crate::handles::Handles;
use crate::sync::{ThreadId, current};
use crate::violation::Refusal;

/// How a lane orders with the legacy default stream (CUDA Driver API, "Stream synchronization
/// behavior").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Barrier {
    /// It is the legacy default stream: its work waits for all blocking streams, and they for it.
    Legacy,
    /// It waits for the legacy default stream, and that for it.
    Blocking,
    /// It does not.
    NonBlocking,
}

/// One stream's queue and clocks.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) raw: RawStream,
    pub(crate) barrier: Barrier,
    pub(crate) queue: VecDeque<Queued>,
    /// Pieces of work ever queued.
    pub(crate) queued: u64,
    /// Pieces of work that have run.
    pub(crate) done: u64,
    /// What its next work is ordered after, on other lanes.
    pub(crate) clock: Clock,
    /// When its last work ends, in virtual time.
    pub(crate) ready_ns: u64,
    pub(crate) capture: Option<CaptureId>,
    /// How often in a row a query found it pending.
    pub(crate) polls: u32,
}

/// All lanes, and which handle means which.
#[derive(Debug)]
pub(crate) struct Lanes {
    all: Vec<Lane>,
    pub(crate) handles: Handles<LaneId>,
    per_thread: HashMap<ThreadId, LaneId>,
    /// Lanes that order with the legacy default stream and are not destroyed.
    pub(crate) blocking: Vec<LaneId>,
    /// Lanes with work in their queues.
    pub(crate) busy: Vec<LaneId>,
}

pub(crate) const LEGACY: LaneId = 0;

impl Lanes {
    pub(crate) fn new(serial: u32) -> Self {
        let mut lanes = Self {
            all: Vec::new(),
            handles: Handles::new("stream", serial, 1),
            per_thread: HashMap::new(),
            blocking: Vec::new(),
            busy: Vec::new(),
        };
        let legacy = lanes.add(RawStream::LEGACY, Barrier::Legacy);
        debug_assert_eq!(legacy, LEGACY);
        lanes
    }

    /// A new stream.
    pub(crate) fn create(&mut self, barrier: Barrier) -> RawStream {
        let lane = self.all.len();
        let raw = RawStream(self.handles.insert(lane));
        self.add(raw, barrier);
        raw
    }

    /// The lane that a handle means on this thread.
    ///
    /// Handle 0 is taken for the legacy default stream; 2 means the calling thread's own ("Default
    /// Stream", CUDA C++ Programming Guide: a blocking stream, one per thread).
    pub(crate) fn resolve(&mut self, raw: RawStream) -> Result<LaneId, Refusal> {
        match raw {
            RawStream::NULL | RawStream::LEGACY => Ok(LEGACY),
            RawStream::PER_THREAD => {
                let thread = current().id();
                if let Some(&lane) = self.per_thread.get(&thread) {
                    return Ok(lane);
                }
                let lane = self.add(raw, Barrier::Blocking);
                self.per_thread.insert(thread, lane);
                Ok(lane)
            }
            created => self.handles.get(created.0).copied(),
        }
    }

    /// Forgets the handle; the lane's work goes on.
    pub(crate) fn destroy(&mut self, raw: RawStream) -> Result<LaneId, Refusal> {
        let lane = self.handles.remove(raw.0)?;
        Ok(lane)
    }

    pub(crate) fn get(&self, lane: LaneId) -> &Lane {
        &self.all[lane]
    }

    pub(crate) fn get_mut(&mut self, lane: LaneId) -> &mut Lane {
        &mut self.all[lane]
    }

    pub(crate) fn ids(&self) -> std::ops::Range<LaneId> {
        0..self.all.len()
    }

    pub(crate) fn is_done(&self, point: Point) -> bool {
        self.all[point.lane].done >= point.time
    }

    /// The lane's last piece of work so far.
    pub(crate) fn tail(&self, lane: LaneId) -> Point {
        let time = self.all[lane].queued;
        Point { lane, time }
    }

    /// How reports call a lane.
    pub(crate) fn describe(&self, lane: LaneId) -> String {
        match self.all[lane].raw {
            RawStream::LEGACY => "the legacy default stream".into(),
            RawStream::PER_THREAD => format!("a per-thread default stream (lane {lane})"),
            raw => format!("stream {:#x} (lane {lane})", raw.0),
        }
    }

    fn add(&mut self, raw: RawStream, barrier: Barrier) -> LaneId {
        let lane = self.all.len();
        if barrier == Barrier::Blocking {
            self.blocking.push(lane);
        }
        self.all.push(Lane {
            raw,
            barrier,
            queue: VecDeque::new(),
            queued: 0,
            done: 0,
            clock: Clock::default(),
            ready_ns: 0,
            capture: None,
            polls: 0,
        });
        lane
    }
}
