//! What a pool does for a request that no block at hand satisfies: rung after rung, from cheap to
//! dear, until one holds.

mod grow;
mod hand_over;
mod refuse;
mod rung;
mod steal;
#[cfg(test)]
mod tests;

pub(crate) use hand_over::HandOver;
pub(crate) use rung::Rung;
use vmem_core::author::StreamExt;
use vmem_core::{AllocError, AllocErrorKind, Attempt, Request};

use crate::engine::{Core, NO_ADDRESSES};
use crate::lanes::{Access, Lanes, Reuse};
use crate::space::{Need, Slot, Tag};
use crate::supply::{Backing, Miss};

/// How often a request that is about to be refused looks again because others made progress. What fits
/// at every moment is found at the first look.
const LOOKS_AGAIN: usize = 4;

/// One request on its way up.
#[derive(Debug)]
pub(crate) struct Climb<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(crate) lane: u32,
    pub(crate) need: Need,
    /// Lanes that turned out not to be closable now.
    avoid: Vec<u32>,
    /// Looks at all lanes, however many there are.
    everywhere: bool,
    /// There were more lanes than it looked at.
    more: bool,
    /// What was tried so far.
    attempts: Vec<Attempt>,
    /// Addresses were short that pending work keeps.
    short_of_addresses: bool,
    /// The pool's progress when the request last looked for memory, and its own since.
    seen: u64,
    /// How often more had been found complete, by anybody, when it last looked for that.
    completions: u64,
    /// Why the backing last had nothing for it.
    refused: Option<Miss>,
    /// Other lanes had nothing for it when it first looked, which it need not do again.
    looked: bool,
    /// No memory was mapped a second time when it first looked, so that there is nowhere to go back to.
    no_windows: bool,
}

impl<'a> Climb<'a> {
    pub(crate) fn new(request: &'a Request<'a>, lane: u32, need: Need) -> Self {
        Self {
            request,
            lane,
            need,
            avoid: Vec::new(),
            everywhere: false,
            more: false,
            attempts: Vec::new(),
            short_of_addresses: false,
            seen: 0,
            completions: 0,
            refused: None,
            looked: false,
            no_windows: false,
        }
    }

    /// Whether the stream may be made to wait for this lane.
    fn may_wait_for(&self, lane: u32) -> bool {
        !self.avoid.contains(&lane)
    }

    /// Whether the stream may have a free range with this tag, if need be behind a wait.
    pub(crate) fn may_use(&self, lanes: &Lanes, tag: Tag) -> bool {
        match lanes.access(tag, self.lane) {
            Access::Now => true,
            Access::After { .. } | Access::Close => {
                lanes.reuse() == Reuse::StreamOrdered && self.may_wait_for(tag.lane)
            }
            Access::Never => false,
        }
    }

    /// Sets a lane aside that turned out not to be closable now.
    pub(crate) fn avoid(&mut self, lane: u32) {
        self.avoid.push(lane);
    }

    /// Whether some lane could not be waited for.
    fn has_passed_by(&self) -> bool {
        !self.avoid.is_empty()
    }

    /// How many lanes could not be waited for.
    fn passed_by(&self) -> usize {
        self.avoid.len()
    }

    /// Notes that a look was not at all lanes that there are.
    fn note_partial_look(&mut self) {
        self.more = true;
    }

    fn looks_everywhere(&self) -> bool {
        self.everywhere
    }

    /// Looks at all lanes from now on. False if it has done so already.
    fn look_everywhere(&mut self) -> bool {
        self.everywhere |= self.more;
        std::mem::take(&mut self.more)
    }

    /// Gives lanes that were passed by another chance. False if there are none.
    fn reconsider(&mut self) -> bool {
        let any = self.has_passed_by();
        self.avoid.clear();
        any
    }

    /// Notes a refusal of the backing, after which other rungs may hold.
    ///
    /// # Errors
    /// What ends the climb.
    fn unless_refused(&mut self, found: Step) -> Step {
        match found {
            Err(refused @ (Miss::Ceiling | Miss::Addresses | Miss::Refused(_))) => {
                self.refused = Some(refused);
                Ok(None)
            }
            found => found,
        }
    }

    /// Notes a rung that did not hold, and the bytes it made available.
    pub(crate) fn tried(&mut self, rung: Rung, freed: u64) {
        self.attempts.push(Attempt::new(rung.text(), freed));
    }

    /// Notes that the request could be placed if work through unused addresses were complete.
    pub(crate) fn lacks_addresses(&mut self) {
        self.short_of_addresses = true;
    }

    /// Notes progress of its own, in which it found nothing.
    pub(crate) fn made_progress(&mut self, by: u64) {
        self.seen += by;
    }

    /// Whether there may be windows to go back to.
    pub(crate) fn may_resume(&self) -> bool {
        !self.no_windows
    }
}

/// What trying a rung came to: a claimed range cut to the request, nothing, or what ends the climb.
type Step = Result<Option<Slot>, Miss>;

impl<B: Backing> Core<B> {
    /// Finds memory for a request that missed. The result is claimed.
    ///
    /// Nothing is remembered of a request that was refused: the next one asks again, because the
    /// device may have more by then for reasons that the pool does not see.
    pub(crate) fn climb(&self, mut climb: Climb<'_>) -> Result<Slot, AllocError> {
        let Climb { request, need, .. } = climb;
        if need.size > self.ceiling.min(self.supply.most()) {
            return Err(self.refuse(&climb, AllocErrorKind::NeverFits));
        }
        if let Some(slot) = self.resume(&climb) {
            return Ok(slot);
        }
        self.may_climb(request)?;
        self.try_rungs(&mut climb).map_err(|miss| match miss {
            Miss::Ceiling | Miss::Skip(_) => self.refuse(&climb, AllocErrorKind::Limit),
            Miss::Addresses => {
                self.refuse(&climb, AllocErrorKind::OutOfMemory).with_source(NO_ADDRESSES)
            }
            Miss::Refused(source) => {
                self.refuse(&climb, AllocErrorKind::OutOfMemory).with_source(source)
            }
            Miss::Fault(source) => {
                let error =
                    AllocError::new(AllocErrorKind::DeviceFault, request.layout, self.name());
                error.with_source(source)
            }
        })
    }

    /// A capturing stream gets only blocks at hand: every rung makes driver calls that a capture
    /// would record or break.
    fn may_climb(&self, request: &Request<'_>) -> Result<(), AllocError> {
        let fail = |kind| AllocError::new(kind, request.layout, self.name());
        let stream = request.stream;
        if stream.is_retired() {
            return Err(fail(AllocErrorKind::InvalidStream));
        }
        if !stream.is_callable_here() {
            // Only its own thread can make this stream wait.
            return Ok(());
        }
        match stream.is_capturing() {
            Ok(false) => Ok(()),
            Ok(true) => Err(fail(AllocErrorKind::Capturing)),
            Err(error) => Err(AllocError::from_driver(error, request.layout, self.name())),
        }
    }

    /// Looks for memory, then again after each thing that may make some usable, from cheap to dear.
    fn try_rungs(&self, climb: &mut Climb<'_>) -> Result<Slot, Miss> {
        let others = std::iter::repeat_n(Wait::ForOthers, LOOKS_AGAIN);
        let first = [Wait::No, Wait::ForMarkers, Wait::Again];
        for wait in first.into_iter().chain(others) {
            if !self.wait(climb, wait)? {
                continue;
            }
            for rung in [Self::share, Self::grow_for, Self::share_everywhere, Self::make_room] {
                if let Some(slot) = rung(self, climb)? {
                    return Ok(slot);
                }
            }
        }
        Err(climb.refused.take().unwrap_or(Miss::Ceiling))
    }

    /// The rungs that need no memory from the backing.
    fn share(&self, climb: &mut Climb<'_>) -> Step {
        if std::mem::take(&mut climb.looked) {
            return Ok(None);
        }
        self.close_bound_here(climb.lane)?;
        climb.seen = self.lock().progress();
        if let Some(slot) = self.steal_completed(climb)? {
            return Ok(Some(slot));
        }
        if let Some(slot) = self.steal_and_wait(climb)? {
            return Ok(Some(slot));
        }
        self.merge(climb)
    }
}

/// What may make memory usable that was not when the request last looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// Nothing: the first look.
    No,
    /// A wait on the host for the markers of pending frees.
    ForMarkers,
    /// A stream's own thread may have marked what this one could not.
    Again,
    /// What others freed, put back or marked. Not for ever: they may go on taking and freeing what
    /// this request cannot use.
    ForOthers,
}
