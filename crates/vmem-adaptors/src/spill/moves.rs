//! Moving cold buffers to the host, and leased ones back.

use vmem_core::author::fork;
use vmem_core::{
    Contents, DriverCode, DriverError, RawBlock, Residence, Residency, ResidencyErrorKind,
};

use super::ledger::{Claim, Place, host_of};
use super::{Inner, Spill, uses};

impl Spill {
    /// Moves the memory of cold buffers to the host, least recently leased first, until that gave up
    /// `bytes` bytes of the device's memory, and returns how many it gave up. Waits on the host for the
    /// copies, and for no other work. Asks the driver about each buffer that is not leased, at most.
    ///
    /// What cannot be moved stays as it is, and is not told: less is returned.
    pub fn demote(&self, bytes: u64) -> u64 {
        if fork::is_child() {
            return 0;
        }
        self.demote_older(bytes, u64::MAX, Enough::AsMuchAsThereIs)
    }

    /// The bytes of the device's memory that [`demote`](Self::demote) could give up if all work on what is
    /// not leased were complete. No driver call; steps as there are buffers.
    pub fn room(&self) -> u64 {
        let Some(residency) = self.inner.residency.as_ref().filter(|_| !fork::is_child()) else {
            return 0;
        };
        let (blocks, mut host) = self.inner.ledger.idle();
        let mut bytes = 0;
        for found in blocks.iter().filter_map(|block| residency.residence(block)) {
            bytes += movable(&found);
            host += host_of(&found);
        }
        bytes.min(self.limit.saturating_sub(host)).min(residency.host_room())
    }

    /// Takes down what buffers have of the host's memory, as blocks can be moved by hand as well: those that
    /// are known to have some, or all.
    pub(super) fn look(&self, only_resting: bool) {
        let Some(residency) = self.inner.residency.as_deref() else { return };
        for (id, block, before) in self.inner.ledger.settled(only_resting) {
            let host = residency.residence(&block).map_or(0, |found| host_of(&found));
            if host != before {
                self.inner.ledger.correct(id, before, host);
            }
        }
    }

    /// Moves buffers out that were last leased before `until`.
    fn demote_older(&self, bytes: u64, until: u64, enough: Enough) -> u64 {
        let Some(residency) = self.inner.residency.as_deref() else { return 0 };
        self.look(true);
        let (mut freed, mut from) = (0, 0);
        while freed < bytes {
            let missing = bytes - freed;
            let (batch, bytes) = self.gather(residency, missing, &mut from, until);
            let is_idle = batch.is_empty();
            if is_idle || enough == Enough::All && bytes < missing {
                break;
            }
            freed += self.inner.move_out(residency, batch);
        }
        freed
    }

    /// Claims cold buffers that were leased after `from`, which goes on, with `missing` bytes to move,
    /// unless there are fewer; and says how many it has.
    fn gather(
        &self,
        residency: &dyn Residency,
        missing: u64,
        from: &mut u64,
        until: u64,
    ) -> (Vec<Claim<'_>>, u64) {
        let (mut batch, mut bytes, mut taken) = (Vec::new(), 0, 0);
        while bytes < missing {
            let room = residency.host_room().saturating_sub(taken);
            let Some(mut claim) = self.inner.ledger.claim(*from, until, room, self.limit) else {
                break;
            };
            *from = claim.leased;
            // A claim that is dropped here leaves the buffer where it is.
            let Some(found) = residency.residence(&claim.block) else { continue };
            // It may have been moved by hand.
            claim.found(found);
            let takes = claim.block.layout().size().saturating_sub(claim.host);
            let moves = movable(&found);
            if moves > 0 && takes <= room && uses::are_over(&mut claim.uses) {
                bytes += moves;
                taken += takes;
                batch.push(claim);
            }
        }
        (batch, bytes)
    }

    /// Begins a lease: brings the buffer back, or leaves it where it is.
    pub(super) fn pin(&self, id: u64) -> Result<(), DriverError> {
        let residency = self.inner.residency.as_deref();
        let is_resident = |block: &RawBlock, host| {
            let residence = residency.and_then(|residency| residency.residence(block));
            residence.is_none_or(|found| found.is_accessible() && found.host <= host)
        };
        let claim = self.inner.ledger.pin(id, is_resident);
        let (Some(mut claim), Some(residency)) = (claim, residency) else { return Ok(()) };
        // Work on what rests on the host is slow, and waited for without a lock.
        let moved = uses::finish(&mut claim.uses) && self.promote(residency, &claim);
        let residence = residency.residence(&claim.block).unwrap_or_default();
        if moved && residence.is_accessible() {
            claim.brought_back(residence);
        } else {
            claim.found(residence);
        }
        drop(claim);
        if residence.is_accessible() {
            if !moved {
                self.inner.ledger.count(|counts| counts.left_on_host += 1);
            }
            return Ok(());
        }
        self.inner.ledger.unpin(id, []);
        let error = DriverError::new("Spillable::lease", DriverCode::ILLEGAL_STATE);
        Err(error.with_detail("the driver could not map the buffer's memory again"))
    }

    /// Whether all is on the device now that can be brought there. The claim's buffer is cold.
    fn promote(&self, residency: &dyn Residency, claim: &Claim<'_>) -> bool {
        let mut made_room = false;
        loop {
            // SAFETY: contract, moving/nothing-pending: all uses are complete, as the host has seen, and
            // none is queued while the claim is held: who leases the buffer waits for that.
            match unsafe { residency.promote(&[claim.block]) } {
                Ok(moved) => {
                    self.inner.ledger.count(|counts| counts.promoted_bytes += moved.device);
                    return true;
                }
                Err(error) if error.kind() == ResidencyErrorKind::DeviceFull && !made_room => {
                    made_room = true;
                    // Only what was leased before this buffer was: the rest is hotter.
                    let away = |found: Residence| found.host + found.discarded + found.displaced;
                    let all = residency.residence(&claim.block).map_or(0, away);
                    let missing = error.missing().unwrap_or(all);
                    if self.demote_older(missing, claim.leased, Enough::All) == 0 {
                        return false;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "a buffer is left on the host");
                    return false;
                }
            }
        }
    }
}

impl Inner {
    /// Moves claimed, cold buffers to the host, and returns the bytes that the device got back.
    fn move_out(&self, residency: &dyn Residency, mut batch: Vec<Claim<'_>>) -> u64 {
        let blocks: Vec<RawBlock> = batch.iter().map(|claim| claim.block).collect();
        // SAFETY: contract, moving/nothing-pending: all uses are complete, as the host has seen, and none
        // is queued while the claims are held: who leases one of the buffers waits for that.
        match unsafe { residency.demote(&blocks, Contents::Kept) } {
            Ok(moved) => {
                find(residency, &mut batch);
                self.ledger.count(|counts| counts.demoted_bytes += moved.device);
                moved.device
            }
            Err(error) => {
                tracing::debug!(%error, "buffers are left on the device");
                find(residency, &mut batch);
                if batch.len() == 1 || error.kind() == ResidencyErrorKind::Split {
                    return 0;
                }
                // All or none: one that cannot move should not keep the others.
                batch.into_iter().map(|claim| self.move_out(residency, vec![claim])).sum()
            }
        }
    }
}

/// What is enough of a demotion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Enough {
    AsMuchAsThereIs,
    /// Nothing moves unless it makes all the room that is missing.
    All,
}

/// Notes where the memory of claimed buffers is. Blocks that are gone were freed.
fn find(residency: &dyn Residency, batch: &mut [Claim<'_>]) {
    for claim in batch {
        match residency.residence(&claim.block) {
            Some(residence) => claim.found(residence),
            None => (claim.place, claim.host) = (Place::Device, 0),
        }
    }
}

/// The bytes of the device's memory that moving one block would give up.
fn movable(found: &Residence) -> u64 {
    found.device.saturating_sub(found.shared)
}
