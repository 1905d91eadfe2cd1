//! Everything a device is, behind its one lock.

use std::collections::HashSet;

use vmem_core::{DriverCode, DriverError};

use crate::capture::Captures;
use crate::checker::Seen;
use crate::handles::Handles;
use crate::memory::{Memory, RegionKind};
use crate::pool::Pool;
use crate::rng::Rng;
use crate::script::Script;
use crate::stream::{EventState, Lanes};
use crate::violation::{Refusal, Violation};
use crate::{CallCounts, CallKind, Leaks, SimConfig, Strictness};

/// Violations kept; later ones are dropped.
const MOST_VIOLATIONS: usize = 1000;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: SimConfig,
    pub(crate) calls: CallCounts,
    /// The name of the call in progress.
    pub(crate) calling: &'static str,
    /// Calls so far, as their numbers in reports.
    pub(crate) call_number: u64,
    pub(crate) script: Script,
    pub(crate) violations: Vec<Violation>,
    pub(crate) rng: Rng,
    /// Some lane advances once in this many opportunities; never for zero.
    pub(crate) haste: u64,
    /// The host's clock, in virtual time.
    pub(crate) host_ns: u64,
    /// When all queued work ends, in virtual time.
    pub(crate) device_ns: u64,
    pub(crate) memory: Memory,
    pub(crate) pool: Pool,
    pub(crate) lanes: Lanes,
    pub(crate) events: Handles<EventState>,
    /// Handles of the events that keep their times.
    pub(crate) timed_events: HashSet<u64>,
    pub(crate) seen: Seen,
    pub(crate) captures: Captures,
}

impl State {
    pub(crate) fn new(config: SimConfig, serial: u32) -> Self {
        let mut rng = Rng::new(config.seed);
        // Some seeds run nothing that is not forced, others let lanes race ahead of one another.
        let haste = [0, 2, 8, 32][rng.below(4)];
        Self {
            calls: CallCounts::default(),
            calling: "",
            call_number: 0,
            script: Script::default(),
            violations: Vec::new(),
            rng,
            haste,
            host_ns: 0,
            device_ns: 0,
            memory: Memory::new(&config, serial),
            pool: Pool::default(),
            lanes: Lanes::new(serial),
            events: Handles::new("event", serial, 2),
            timed_events: HashSet::new(),
            seen: Seen::default(),
            captures: Captures::default(),
            config,
        }
    }

    /// Counts and charges a call, and refuses it if the device is lost or the script says so.
    pub(crate) fn enter(&mut self, kind: CallKind) -> Result<(), DriverError> {
        self.calls.add(kind);
        self.calling = kind.name();
        self.call_number += 1;
        self.host_ns += kind.host_cost(&self.config.costs);
        let struck = self.script.strikes(kind);
        if self.script.is_lost() {
            let error = DriverError::new(kind.name(), DriverCode::LAUNCH_FAILED);
            return Err(error.with_detail("the device was lost; this answer is for ever"));
        }
        match struck {
            Some(code) => Err(DriverError::new(kind.name(), code).with_detail("scripted")),
            None => Ok(()),
        }
    }

    /// The error of a call, noted if it is the caller's doing.
    pub(crate) fn refuse(&mut self, call: &'static str, refusal: Refusal) -> DriverError {
        if let Some(rule) = refusal.broken {
            self.report(Violation {
                kind: rule,
                call: call.into(),
                detail: refusal.detail.clone(),
            });
        }
        DriverError::new(call, refusal.code).with_detail(refusal.detail)
    }

    pub(crate) fn report(&mut self, violation: Violation) {
        if self.violations.len() < MOST_VIOLATIONS {
            self.violations.push(violation);
        }
    }

    /// Refuses what CUDA does not, if the device is so strict; else only reports it.
    pub(crate) fn refuse_if(
        &mut self,
        strictness: Strictness,
        refusal: Refusal,
    ) -> Result<(), Refusal> {
        if self.config.strictness.contains(strictness) {
            return Err(refusal);
        }
        if let Some(kind) = refusal.broken {
            self.report(Violation { kind, call: self.calling.into(), detail: refusal.detail });
        }
        Ok(())
    }

    /// Refuses sizes that no call accepts, and those that the script does not.
    pub(crate) fn check_size(&self, bytes: u64) -> Result<(), Refusal> {
        if bytes == 0 {
            let code = DriverCode::INVALID_VALUE;
            return Err(Refusal::misuse(crate::ViolationKind::BadArgument, code, "a size of zero"));
        }
        if self.script.refuses_size(bytes) {
            let detail = format!("scripted: {bytes} B is above the allowed size");
            return Err(Refusal::cannot(DriverCode::OUT_OF_MEMORY, detail));
        }
        Ok(())
    }

    /// The device is asked to take `bytes`; charges what making room costs.
    pub(crate) fn take_memory(&mut self, bytes: u64) -> Result<(), Refusal> {
        let costs = self.config.costs;
        let moved = self.memory.take(bytes, &costs);
        let moved = match moved {
            Err(_) if self.reclaim_idle() => self.memory.take(bytes, &costs)?,
            other => other?,
        };
        self.host_ns += moved;
        Ok(())
    }

    pub(crate) fn leaks(&self) -> Leaks {
        let mut leaks = Leaks {
            streams: self.lanes.handles.iter().count() as u64,
            events: self.events.iter().count() as u64,
            ..Leaks::default()
        };
        for (_, region) in self.memory.space.iter() {
            let kind = match region.kind {
                RegionKind::Plain => &mut leaks.plain,
                RegionKind::Mapping => &mut leaks.mappings,
                RegionKind::Managed => &mut leaks.managed,
                RegionKind::Pinned => &mut leaks.pinned,
                RegionKind::StreamOrdered => &mut leaks.stream_ordered,
            };
            kind.add(region.size);
        }
        for &physical in self.memory.handles.iter() {
            leaks.handles.add(self.memory.physicals.get(physical).size);
        }
        for &size in self.memory.ranges.values() {
            leaks.ranges.add(size);
        }
        leaks
    }
}
