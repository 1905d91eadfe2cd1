//! What a request knows that no block at hand satisfies.

use vmem_core::{Attempt, Request};

use crate::Counters;
use crate::space::{Claim, Need, StreamIx, Tag};
use crate::streams::{Access, Lanes, Reuse, State};
use crate::supply::Miss;

/// One request on its slow way.
#[derive(Debug)]
pub(crate) struct Slow<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) lane: StreamIx,
    pub(super) need: Need,
    /// Its memory is to be in handles of its own, so that it can rest on the host.
    pub(super) own: bool,
    /// Lanes that turned out not to be closable now, which are done without.
    pub(super) skipped: Vec<StreamIx>,
    /// Looks at all lanes, however many there are.
    pub(super) everywhere: bool,
    /// There were more lanes than it looked at.
    pub(super) more: bool,
    /// What was tried so far.
    pub(super) attempts: Vec<Attempt>,
    /// It could be placed if work through unused addresses were complete.
    pub(super) short_of_addresses: bool,
    /// The pool's progress when the request last looked for memory, and its own since.
    pub(super) seen: u64,
    /// How often more had been found complete, by anybody, when it last looked for that.
    pub(super) completions: u64,
    /// Why the supply last had nothing for it.
    pub(super) refused: Option<Miss>,
    /// Other lanes had nothing for it when it first looked, which it need not do again.
    pub(super) looked: bool,
    /// Nothing was mapped a second time when it first looked, so that there is nowhere to go back to.
    pub(super) no_aliases: bool,
    /// Its stream captures, and can be made to wait for nothing.
    pub(super) captures: bool,
    /// Some of the memory that is at home on its lane may be away.
    pub(super) away: bool,
    /// The lane at which what it gets is at home.
    pub(super) home: StreamIx,
    /// It does without what other lanes are likely to need again.
    pub(super) spares: bool,
    /// What was taken, moved and returned for it, in bytes; all else is zero.
    pub(super) changes: Counters,
}

impl<'a> Slow<'a> {
    pub(super) fn new(request: &'a Request<'a>, lane: StreamIx, need: Need) -> Self {
        Self {
            request,
            lane,
            need,
            own: false,
            skipped: Vec::new(),
            everywhere: false,
            more: false,
            attempts: Vec::new(),
            short_of_addresses: false,
            seen: 0,
            completions: 0,
            refused: None,
            looked: false,
            no_aliases: false,
            captures: false,
            away: false,
            home: lane,
            spares: false,
            changes: Counters::default(),
        }
    }

    /// Whether the request leaves a free range with this tag to a lane that is likely to need it again.
    pub(super) fn leaves(&self, lanes: &Lanes, tag: Tag) -> bool {
        self.spares && lanes.lender(tag, self.lane).is_some()
    }

    /// Whether the stream may have a free range with this tag, if need be behind a wait.
    pub(super) fn may_use(&self, lanes: &Lanes, tag: Tag) -> bool {
        if self.leaves(lanes, tag) {
            return false;
        }
        match lanes.access(tag, self.lane) {
            Access::Now => true,
            Access::After { .. } | Access::Close => {
                lanes.reuse == Reuse::StreamOrdered
                    && !self.captures
                    && !self.skipped.contains(&lanes.away.freed_on(tag.lane))
            }
            Access::Never => false,
        }
    }

    /// How many bytes of its memory may be in a handle that others may use as well.
    pub(super) fn shared(&self, granule: u64) -> u64 {
        if self.own { granule } else { u64::MAX }
    }

    /// Gives a claim up that could not be kept, which others are not to take for progress.
    pub(super) fn put_back(&mut self, state: &mut State, claim: Claim) {
        state.space.end_claim(claim, |_, state| state);
        self.seen += 1;
    }

    /// Does without a lane that cannot be waited for now.
    ///
    /// # Errors
    /// What ends the way of the request.
    pub(super) fn skip(&mut self, miss: Miss) -> Result<(), Miss> {
        match miss {
            Miss::Skip(lane) => {
                self.skipped.push(lane);
                Ok(())
            }
            miss => Err(miss),
        }
    }

    /// Notes a refusal of the supply, after which other stages may find something.
    ///
    /// # Errors
    /// What ends the way of the request.
    pub(super) fn unless_refused<T>(&mut self, found: Result<T, Miss>) -> Result<Option<T>, Miss> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(refused @ (Miss::Ceiling | Miss::Addresses | Miss::Refused(_))) => {
                self.refused = Some(refused);
                Ok(None)
            }
            Err(miss) => Err(miss),
        }
    }

    /// Notes a stage that found nothing, by what a report calls it, and the bytes it made available.
    pub(super) fn tried(&mut self, stage: &'static str, freed: u64) {
        self.attempts.push(Attempt::new(stage, freed));
    }
}
