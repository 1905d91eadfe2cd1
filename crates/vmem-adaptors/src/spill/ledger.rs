//! Who holds leases of what, in which order buffers were leased, and where their memory is.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use vmem_core::author::fork;
use vmem_core::{RawBlock, Residence};

use super::SpillCounts;
use super::uses::{self, Mark, Use};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// The driver is asked which uses of a buffer are over when there are twice as many as the last time, and
/// never for fewer than these.
const FEW: usize = 16;

/// The buffers of one [`Spill`](crate::Spill). No driver call is made under its lock.
#[derive(Default)]
pub(super) struct Ledger {
    state: Mutex<State>,
    /// Told whenever a buffer is no longer being moved.
    settled: Condvar,
}

#[derive(Default)]
struct State {
    entries: FxHashMap<u64, Entry>,
    /// The buffers by when they were last leased.
    order: BTreeMap<u64, u64>,
    /// The leases and buffers so far: the clock by which they are ordered.
    now: u64,
    /// Host memory in use, or claimed by a move.
    host: u64,
    counts: SpillCounts,
}

struct Entry {
    /// `None` of memory that cannot move.
    block: Option<RawBlock>,
    place: Place,
    /// Leases and holds of graphs.
    pins: usize,
    /// Captured without a hold, or with uses that could not be ordered: nobody knows when it is used.
    is_stuck: bool,
    uses: Vec<Use>,
    /// With so many uses the driver is asked which are over.
    asks_at: usize,
    /// When the last lease began.
    leased: u64,
    /// What it has of the host's memory, or claims.
    host: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// As far as promoting it brings it there.
    Device,
    /// Some of it is elsewhere.
    Host,
    /// Whoever has the [`Claim`] finds out.
    Moving,
}

/// The right to move one buffer's memory, which nobody leases meanwhile. Dropping it says where the memory
/// is.
pub(super) struct Claim<'a> {
    ledger: &'a Ledger,
    id: u64,
    pub(super) block: RawBlock,
    pub(super) uses: Vec<Use>,
    /// When it was last leased, but for a lease that is beginning.
    pub(super) leased: u64,
    /// Where the memory is, and how much of it on the host.
    pub(super) place: Place,
    pub(super) host: u64,
}

impl Claim<'_> {
    /// Takes down where the memory is.
    pub(super) fn found(&mut self, residence: Residence) {
        let host = host_of(&residence);
        let was_there = self.place == Place::Device && residence.is_accessible();
        let is_there = residence.is_on_device() || was_there && host <= self.host;
        self.place = if is_there { Place::Device } else { Place::Host };
        self.host = host;
    }

    /// Takes down where the memory is after all was brought back that can be: what is still on the host
    /// shares a handle with other memory that is there.
    pub(super) fn brought_back(&mut self, residence: Residence) {
        (self.place, self.host) = (Place::Device, host_of(&residence));
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut state = self.ledger.lock();
        // It may have been freed meanwhile.
        if let Some(entry) = state.entries.get_mut(&self.id) {
            entry.place = self.place;
            // What was there is dropped with the claim, after the lock.
            std::mem::swap(&mut entry.uses, &mut self.uses);
            let before = std::mem::replace(&mut entry.host, self.host);
            state.host = state.host - before + self.host;
        }
        drop(state);
        self.ledger.settled.notify_all();
    }
}

impl Ledger {
    /// Adds a buffer that was used up to `used`, and returns its number.
    pub(super) fn add(&self, block: Option<RawBlock>, used: Mark) -> u64 {
        let mut state = self.lock();
        state.now += 1;
        let (id, leased) = (state.now, state.now);
        let mut entry = Entry {
            block,
            place: Place::Device,
            pins: 0,
            is_stuck: false,
            uses: Vec::new(),
            asks_at: FEW,
            leased,
            host: 0,
        };
        entry.note(used);
        state.entries.insert(id, entry);
        state.order.insert(leased, id);
        id
    }

    /// Takes a buffer off, after any move that is going on, and returns its uses. What frees it may queue work
    /// on its memory first, which must not meet a move.
    pub(super) fn remove(&self, id: u64) -> Vec<Use> {
        let mut state = self.lock();
        while state.entries.get(&id).is_some_and(|entry| entry.place == Place::Moving) {
            state = fork::locked(|| self.settled.wait(state));
        }
        let Some(entry) = state.entries.remove(&id) else { return Vec::new() };
        state.order.remove(&entry.leased);
        state.host -= entry.host;
        entry.uses
    }

    /// Sets a buffer's block, which a lease holder may have changed.
    pub(super) fn replace(&self, id: u64, block: Option<RawBlock>, host: u64) {
        let mut state = self.lock();
        if let Some(entry) = state.entries.get_mut(&id) {
            entry.block = block;
            let is_as_before =
                entry.block == block && entry.place == Place::Device && host <= entry.host;
            entry.place = if host == 0 || is_as_before { Place::Device } else { Place::Host };
            let before = std::mem::replace(&mut entry.host, host);
            state.host = state.host - before + host;
        }
    }

    /// Begins a lease, after any move that is going on. The claim is for the first lease of a buffer that
    /// is not on the device, or of which `is_resident` says so, which gets the bytes that are known to be
    /// on the host: memory can be moved by hand as well.
    pub(super) fn pin(
        &self,
        id: u64,
        is_resident: impl FnOnce(&RawBlock, u64) -> bool,
    ) -> Option<Claim<'_>> {
        let mut state = self.lock();
        while state.entry(id).place == Place::Moving {
            state = fork::locked(|| self.settled.wait(state));
        }
        state.now += 1;
        let now = state.now;
        let entry = state.entry(id);
        let leased = std::mem::replace(&mut entry.leased, now);
        entry.pins += 1;
        let is_free = entry.pins == 1 && !entry.is_stuck;
        if let Some(block) = entry.block.filter(|_| is_free && entry.place == Place::Device)
            && !is_resident(&block, entry.host)
        {
            entry.place = Place::Host;
        }
        let moves = entry.place == Place::Host && is_free;
        let claim = entry.block.filter(|_| moves).map(|block| {
            entry.place = Place::Moving;
            let (uses, host) = (entry.uses.clone(), entry.host);
            Claim { ledger: self, id, block, uses, leased, place: Place::Host, host }
        });
        state.order.remove(&leased);
        state.order.insert(now, id);
        claim
    }

    /// Begins one more lease of a buffer that is leased.
    pub(super) fn pin_again(&self, id: u64) {
        self.lock().entry(id).pins += 1;
    }

    /// Ends a lease, whose work is known by these marks.
    pub(super) fn unpin(&self, id: u64, used: impl IntoIterator<Item = Mark>) {
        let mut state = self.lock();
        let entry = state.entry(id);
        let over: Vec<Use> = used.into_iter().flat_map(|mark| entry.note(mark)).collect();
        let (few, asks_at) = (FEW.max(2 * entry.uses.len()), entry.asks_at);
        let ask = (entry.uses.len() >= asks_at).then(|| entry.uses.clone());
        entry.asks_at = if ask.is_some() { few } else { asks_at.min(few) };
        entry.pins -= 1;
        drop(state);
        drop(over);
        // Those that are over are forgotten with the next.
        ask.iter().flat_map(|uses| uses::events(uses)).for_each(|event| {
            let _ = event.is_complete();
        });
    }

    /// Claims the buffer without leases that was leased first after `from`, and before `until`, and that
    /// takes at most `room` more bytes of the host, with all that is taken at most `limit`. Some or all of
    /// it may be there already.
    pub(super) fn claim(&self, from: u64, until: u64, room: u64, limit: u64) -> Option<Claim<'_>> {
        let mut state = self.lock();
        let left = limit.saturating_sub(state.host).min(room);
        let State { entries, order, host, .. } = &mut *state;
        if until <= from {
            return None;
        }
        for (&leased, id) in order.range(from + 1..until) {
            let Some(entry) = entries.get_mut(id) else { continue };
            let Some(block) = entry.block.filter(|_| entry.is_idle()) else { continue };
            let before = entry.host;
            let all = before.max(block.layout().size());
            if all - before <= left {
                let place = std::mem::replace(&mut entry.place, Place::Moving);
                entry.host = all;
                *host += all - before;
                let (uses, host) = (entry.uses.clone(), before);
                return Some(Claim { ledger: self, id: *id, block, uses, leased, place, host });
            }
        }
        None
    }

    /// The uses of a buffer now.
    pub(super) fn uses(&self, id: u64) -> Vec<Use> {
        self.lock().entry(id).uses.clone()
    }

    /// Whether a buffer's memory is all on the device, as far as it can move.
    pub(super) fn is_on_device(&self, id: u64) -> bool {
        self.lock().entry(id).place == Place::Device
    }

    /// The blocks that nobody leases, and what the others have of the host's memory.
    pub(super) fn idle(&self) -> (Vec<RawBlock>, u64) {
        let state = self.lock();
        let (mut blocks, mut host) = (Vec::new(), state.host);
        for entry in state.entries.values().filter(|entry| entry.is_idle()) {
            blocks.extend(entry.block);
            host -= entry.host;
        }
        (blocks, host)
    }

    /// The blocks that are not being moved, of buffers that have some of the host's memory or of all, with
    /// what is known of that.
    pub(super) fn settled(&self, only_resting: bool) -> Vec<(u64, RawBlock, u64)> {
        let state = self.lock();
        let settled = state.entries.iter().filter(|(_, entry)| entry.place != Place::Moving);
        let wanted = settled.filter(|(_, entry)| entry.host > 0 || !only_resting);
        wanted.filter_map(|(&id, entry)| Some((id, entry.block?, entry.host))).collect()
    }

    /// Takes down that a buffer has so much of the host's memory, if it is known for `before` still.
    pub(super) fn correct(&self, id: u64, before: u64, host: u64) {
        let mut state = self.lock();
        let State { entries, host: all, .. } = &mut *state;
        if let Some(entry) = entries.get_mut(&id)
            && entry.place != Place::Moving
            && entry.host == before
        {
            entry.host = host;
            *all = *all - before + host;
        }
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut SpillCounts)) {
        count(&mut self.lock().counts);
    }

    pub(super) fn counts(&self) -> SpillCounts {
        let state = self.lock();
        let of = |is: fn(&Entry) -> bool| state.entries.values().filter(|e| is(e)).count() as u64;
        SpillCounts {
            buffers: state.entries.len() as u64,
            leased: of(|entry| entry.pins > 0),
            captured: of(|entry| entry.is_stuck),
            host_bytes: state.host,
            ..state.counts
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        fork::locked(|| self.state.lock())
    }
}

/// The bytes of the host's memory that a block has.
pub(super) fn host_of(residence: &Residence) -> u64 {
    residence.host + residence.displaced
}

impl State {
    fn entry(&mut self, id: u64) -> &mut Entry {
        self.entries.get_mut(&id).expect("whoever names a buffer keeps it")
    }
}

impl Entry {
    /// Whether it may be moved, wherever it is.
    fn is_idle(&self) -> bool {
        self.place != Place::Moving && self.pins == 0 && !self.is_stuck
    }

    /// Takes down a use, and returns those that are over, to be dropped without the lock.
    fn note(&mut self, mark: Mark) -> Vec<Use> {
        let used = match mark {
            Mark::Pending(used) => used,
            Mark::Over => return Vec::new(),
            Mark::Unknown => {
                self.is_stuck = true;
                return Vec::new();
            }
        };
        let is_over = |used: &mut Use| matches!(used, Use::UpTo(_, event) if event.was_observed());
        let over = self.uses.extract_if(.., is_over).collect();
        self.uses.push(used);
        over
    }
}
