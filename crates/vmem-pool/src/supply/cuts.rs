//! Where memory is cut into handles, or chunks, each of which is mapped and returned whole. Bookkeeping
//! only: it makes no driver call.

use std::collections::BTreeMap;

use crate::space::{Need, Span};

/// Where the memory of an address is, or is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// In the device's memory.
    Device,
    /// In the host's memory, mapped there.
    Host,
    /// Nowhere: its contents were discarded.
    Nowhere,
    /// Held, but not mapped there, because two calls failed.
    Displaced,
}

/// Handles, by where they begin: their sizes, and where their memory is.
#[derive(Debug, Default)]
pub(crate) struct Cuts(BTreeMap<u64, (u64, Place)>);

impl Cuts {
    /// The memory of these handles is at this place from now on.
    pub(super) fn add(&mut self, handles: &[Span], place: Place) {
        self.0.extend(handles.iter().map(|handle| (handle.start, (handle.size, place))));
    }

    /// The handles in a span are gone.
    pub(super) fn remove(&mut self, span: Span) {
        let gone: Vec<u64> = self.0.range(span.start..span.end()).map(|(&at, _)| at).collect();
        for at in gone {
            self.0.remove(&at);
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = (Span, Place)> {
        self.0.iter().map(handle)
    }

    /// The handle that begins at an address.
    pub(super) fn at(&self, start: u64) -> Option<(Span, Place)> {
        self.0.get(&start).map(|of| handle((&start, of)))
    }

    /// The handles that lie in a span, lowest first. Takes as many steps as there are.
    pub(super) fn whole(&self, span: Span) -> impl DoubleEndedIterator<Item = Span> {
        let within = self.0.range(span.start..span.end()).map(handle);
        within.map(|(handle, _)| handle).filter(move |handle| handle.end() <= span.end())
    }

    /// How many bytes of these stretches are in whole handles.
    pub(super) fn in_whole(&self, stretches: &[Span]) -> u64 {
        let whole = stretches.iter().flat_map(|&stretch| self.whole(stretch));
        whole.map(|handle| handle.size).sum()
    }

    /// The handles that share a byte with a span, lowest first: they may begin before it and end behind.
    pub(super) fn touching(&self, span: Span) -> impl Iterator<Item = (Span, Place)> {
        let before = self.0.range(..span.start).next_back().map(handle);
        let before = before.filter(move |(handle, _)| handle.touches(span));
        before.into_iter().chain(self.0.range(span.start..span.end()).map(handle))
    }

    /// Where in free memory a request could begin so that no more than a granule at either end of it is in a
    /// handle that it does not have whole.
    pub(crate) fn place_apart(&self, free: Span, need: Need, granule: u64) -> Option<u64> {
        let first = need.start_in(free);
        let handles = self.whole(free).map(|handle| handle.start);
        let places = first.into_iter().chain(handles.filter(|at| at % need.alignment == 0));
        let is_apart = |&at: &u64| {
            let block = Span::new(at, need.size);
            let ends = |handle: &Span| handle.start < block.start || handle.end() > block.end();
            let mut shared = self.touching(block).map(|(handle, _)| handle).filter(ends);
            block.end() <= free.end() && shared.all(|handle| handle.size <= granule)
        };
        places.into_iter().find(is_apart)
    }

    /// The part of a span that is the lower end of a handle which goes on behind it.
    pub(super) fn lower_end(&self, span: Span) -> Option<Span> {
        let (last, _) = self.0.range(span.start..span.end()).next_back().map(handle)?;
        (last.end() > span.end()).then(|| Span::between(last.start, span.end()))
    }

    /// The part of a span that is the upper end of a handle which begins before it.
    pub(super) fn upper_end(&self, span: Span) -> Option<Span> {
        let (first, _) = self.touching(span).next()?;
        let is_end = first.start < span.start && first.end() <= span.end();
        is_end.then(|| Span::between(span.start, first.end()))
    }

    /// The size of the largest handle.
    pub(super) fn largest(&self) -> u64 {
        self.all().map(|(handle, _)| handle.size).max().unwrap_or(0)
    }
}

fn handle((&start, &(size, place)): (&u64, &(u64, Place))) -> (Span, Place) {
    (Span::new(start, size), place)
}
