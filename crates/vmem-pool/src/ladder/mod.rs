//! What a pool does for a request that no block at hand satisfies: rung after rung, from cheap to
//! dear, until one holds.

mod grow;
mod refuse;
mod steal;

use vmem_core::{AllocError, AllocErrorKind, DriverError, Request, Rung, RungReport};

use crate::backing::{Backing, GrowthFailure};
use crate::core::{Core, Obstacle};
use crate::lanes::{Access, Lanes, Reuse};
use crate::space::{Need, Slot, Tag};

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
    /// There was such a lane: what was not found may be there, and be usable a moment later.
    hindered: bool,
    /// What was tried so far.
    rungs: Vec<RungReport>,
    /// Bytes moved for it.
    moved: u64,
    /// Addresses were short that pending work keeps.
    short_of_addresses: bool,
    /// Nothing else is left to try.
    last_resort: bool,
    /// The pool's progress when the request last looked for memory, and its own since.
    seen: u64,
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
            hindered: false,
            rungs: Vec::new(),
            moved: 0,
            short_of_addresses: false,
            last_resort: false,
            seen: 0,
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
        self.hindered = true;
    }

    /// Whether some lane could not be waited for.
    fn has_passed_by(&self) -> bool {
        !self.avoid.is_empty()
    }

    /// How many lanes could not be waited for.
    fn passed_by(&self) -> usize {
        self.avoid.len()
    }

    /// Notes whether a look was at all lanes that there are.
    fn note_look(&mut self, complete: bool) {
        self.more |= !complete;
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

    /// What to do about an obstacle: a lane that cannot be waited for now is avoided from now on.
    ///
    /// # Errors
    /// What no other choice of memory gets round.
    pub(crate) fn pass_by(&mut self, obstacle: Obstacle) -> Result<(), GrowthFailure> {
        match obstacle {
            Obstacle::Unavailable(lane) => {
                self.avoid(lane);
                Ok(())
            }
            Obstacle::Fault(error) if error.is_out_of_memory() => {
                Err(GrowthFailure::Refused(error.into()))
            }
            Obstacle::Fault(error) => Err(GrowthFailure::Fault(error.into())),
        }
    }

    /// Notes a rung that did not hold, and the bytes it made available.
    pub(crate) fn tried(&mut self, rung: Rung, freed: u64) {
        self.rungs.push(RungReport::new(rung, freed));
    }

    /// Notes that the request could be placed if work through unused addresses were complete.
    pub(crate) fn lacks_addresses(&mut self) {
        self.short_of_addresses = true;
    }

    /// Whether to wait rather than fail for want of addresses.
    pub(crate) fn is_last_resort(&self) -> bool {
        self.last_resort
    }

    /// Notes progress of its own, in which it found nothing.
    pub(crate) fn made_progress(&mut self, by: u64) {
        self.seen += by;
    }

    /// Notes that memory was moved for the request.
    pub(crate) fn moved(&mut self, bytes: u64) {
        self.moved += bytes;
    }
}

/// What trying a rung came to: a claimed range cut to the request, nothing, or a failing driver.
type Step = Result<Option<Slot>, DriverError>;

impl<B: Backing> Core<B> {
    /// Finds memory for a request that missed. The result is claimed.
    pub(crate) fn climb(
        &self,
        request: &Request<'_>,
        lane: u32,
        need: Need,
    ) -> Result<Slot, AllocError> {
        let mut climb = Climb::new(request, lane, need);
        if let Some(error) = self.hopeless(&climb) {
            return Err(error);
        }
        if let Some(slot) = B::resume(self, &climb) {
            return Ok(slot);
        }
        self.may_climb(request)?;
        match self.try_rungs(&mut climb) {
            Ok(slot) => Ok(slot),
            Err(Stop::Driver(error)) => {
                Err(AllocError::from_driver(error, request.layout, self.name()))
            }
            Err(Stop::Growth(failure)) => {
                let kind = kind_of(&failure);
                let error = match kind {
                    AllocErrorKind::DeviceFault => {
                        AllocError::new(kind, request.layout, self.name())
                    }
                    _ => self.refuse(&climb, kind),
                };
                Err(match failure {
                    GrowthFailure::Ceiling => error,
                    GrowthFailure::Refused(source) | GrowthFailure::Fault(source) => {
                        error.with_source(source)
                    }
                })
            }
        }
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

    fn try_rungs(&self, climb: &mut Climb<'_>) -> Result<Slot, Stop> {
        if let Some(slot) = self.share(climb)? {
            return Ok(slot);
        }
        let mut failure = match self.grow(climb) {
            Ok(slot) => return Ok(slot),
            Err(failure) => failure,
        };
        if let GrowthFailure::Fault(_) = failure {
            return Err(Stop::Growth(failure));
        }
        if let Some(slot) = self.share_everywhere(climb)? {
            return Ok(slot);
        }
        for wait in [Wait::No, Wait::ForMarkers, Wait::Again, Wait::ForPassedBy] {
            if !self.wait_before_trim(climb, wait)? {
                continue;
            }
            if wait != Wait::No
                && let Some(slot) = self.share(climb)?
            {
                return Ok(slot);
            }
            match self.make_room(climb) {
                Some(Ok(slot)) => return Ok(slot),
                Some(Err(GrowthFailure::Fault(error))) => {
                    return Err(Stop::Growth(GrowthFailure::Fault(error)));
                }
                Some(Err(again)) => failure = again,
                None => {}
            }
        }
        if climb.short_of_addresses {
            // Memory there is: better a wait than a refusal.
            climb.last_resort = true;
            match self.make_room(climb) {
                Some(Ok(slot)) => return Ok(slot),
                Some(Err(again)) => failure = again,
                None => {}
            }
        }
        // Whatever others freed, put back or marked since this request looked may be what it needs. Not
        // for ever: others may go on taking and freeing what this one cannot use.
        for _ in 0..LOOKS_AGAIN {
            if self.lock().progress() == climb.seen {
                break;
            }
            if let Some(slot) = self.share(climb)? {
                return Ok(slot);
            }
            match self.grow(climb) {
                Ok(slot) => return Ok(slot),
                Err(again) => failure = again,
            }
        }
        if !climb.hindered {
            self.remember_refusal(climb, kind_of(&failure));
        }
        Err(Stop::Growth(failure))
    }

    /// The rungs that need no memory from the backing.
    fn share(&self, climb: &mut Climb<'_>) -> Step {
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

/// What to wait for on the host before returning memory to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    No,
    ForMarkers,
    Again,
    ForPassedBy,
}

/// Why the ladder ended early, or at its top.
#[derive(Debug)]
enum Stop {
    Driver(DriverError),
    Growth(GrowthFailure),
}

impl From<DriverError> for Stop {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

fn kind_of(failure: &GrowthFailure) -> AllocErrorKind {
    match failure {
        GrowthFailure::Ceiling => AllocErrorKind::Limit,
        GrowthFailure::Refused(_) => AllocErrorKind::OutOfMemory,
        GrowthFailure::Fault(_) => AllocErrorKind::DeviceFault,
    }
}
