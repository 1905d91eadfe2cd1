//! What is compared after each step, and at the end.

use vmem_core::{AllocErrorKind, BlockLayout, Request};

use super::run::Run;
use super::{Caller, Summary};
use crate::finding::ensure;
use crate::{FailedFree, Finding, Ledger};

impl Run<'_> {
    pub(super) fn look_inside(&self) -> Result<(), Finding> {
        let probe = self.subject.probe;
        probe.check_invariants();
        if self.lost {
            return Ok(());
        }
        let ledger = self.ledger();
        probe.check_figures(&ledger)?;
        let expected = ledger.bytes;
        if let Some(live) = probe.live_bytes() {
            ensure!(
                (expected..=expected + ledger.leaked_bytes).contains(&live),
                "{live} B live instead of {expected} B"
            );
        }
        if let Some(reserved) = probe.reserved_bytes() {
            let held = expected - ledger.drawn_bytes + ledger.held_bytes;
            ensure!(reserved >= held, "{reserved} B reserved for {held} B live");
            if let Some(ceiling) = probe.ceiling() {
                ensure!(
                    reserved <= ceiling,
                    "{reserved} B reserved under a ceiling of {ceiling} B"
                );
            }
        }
        Ok(())
    }

    fn ledger(&self) -> Ledger {
        let (live, drawn) = (self.model.live(), self.model.drawn());
        let (held, held_bytes) = self.holds.held();
        let (buffers, buffer_bytes) = self.buffers.held();
        Ledger {
            blocks: live.blocks + buffers,
            bytes: live.bytes + buffer_bytes,
            drawn_blocks: drawn.blocks,
            drawn_bytes: drawn.bytes,
            held,
            held_bytes,
            leaked_blocks: self.leaked.0,
            leaked_bytes: self.leaked.1,
        }
    }

    /// Verifies and frees what is left.
    pub(super) fn finish(mut self) -> Result<Summary, Finding> {
        if self.lost {
            return self.finish_lost();
        }
        self.lent = None;
        let stream = self.stream(0);
        while self.buffers.pick(0).is_some() {
            self.guarded(|run| run.check_buffer(0))?;
            self.guarded(|run| {
                run.drop_buffer(0);
                Ok(())
            })?;
        }
        while let Some(place) = self.model.pick(0) {
            self.guarded(|run| {
                run.verify(place, &stream)?;
                run.free(place, &stream, Caller::Runner)
            })?;
        }
        let before = (self.faults(), self.holds.held());
        self.holds.drop_all();
        self.note_lost_hold(before);
        self.guarded(|run| Ok(run.device().synchronize()?))?;
        Ok(self.summary)
    }

    /// What is left of a program whose device is lost: no call hangs or panics, requests are refused
    /// for the fault or served from what is at hand.
    fn finish_lost(mut self) -> Result<Summary, Finding> {
        let stream = self.stream(0);
        for size in [1, 4096, self.subject.budget / 4 + 1] {
            let request = Request::new(BlockLayout::new(size)?, &stream);
            if let Err(error) = self.subject.resource.allocate(&request) {
                let kind = error.kind();
                let fault = kind == AllocErrorKind::DeviceFault;
                ensure!(
                    fault || kind.is_exhaustion() || kind == AllocErrorKind::NeverFits,
                    "a lost device was reported as {kind:?}: {error}"
                );
            }
            self.subject.probe.check_invariants();
        }
        while let Some(kept) = self.buffers.take(0) {
            drop(kept);
            self.subject.probe.check_invariants();
        }
        while let Some(place) = self.model.pick(0) {
            let freed = self.model.remove(place).block.free(self.subject.resource, &stream);
            drop(freed.map_err(FailedFree::into_block));
            self.subject.probe.check_invariants();
        }
        Ok(self.summary)
    }
}
