//! Where memory at home is cut into handles, each of which is mapped and returned whole. Bookkeeping
//! only: it makes no driver call.

use std::collections::BTreeMap;

use crate::space::Span;

/// The handles at home, by where they begin.
#[derive(Debug, Default)]
pub(crate) struct Cuts(BTreeMap<u64, u64>);

impl Cuts {
    /// These handles were mapped at home.
    pub(super) fn add(&mut self, handles: &[Span]) {
        self.0.extend(handles.iter().map(|handle| (handle.start, handle.size)));
    }

    /// The handles in a span were returned.
    pub(super) fn remove(&mut self, span: Span) {
        let gone: Vec<u64> = self.0.range(span.start..span.end()).map(|(&at, _)| at).collect();
        for at in gone {
            self.0.remove(&at);
        }
    }

    /// The handle that begins at an address.
    pub(super) fn at(&self, start: u64) -> Option<Span> {
        self.0.get(&start).map(|&size| Span::new(start, size))
    }

    /// The handles that lie in a span, lowest first. Takes as many steps as there are.
    pub(super) fn whole(&self, span: Span) -> impl DoubleEndedIterator<Item = Span> {
        let within = self.0.range(span.start..span.end());
        let within = within.map(|(&start, &size)| Span::new(start, size));
        within.filter(move |handle| handle.end() <= span.end())
    }

    /// The handles that share a byte with a span, lowest first.
    pub(super) fn touching(&self, span: Span) -> impl Iterator<Item = Span> {
        let handle = |(&start, &size): (&u64, &u64)| Span::new(start, size);
        let before = self.0.range(..span.start).next_back().map(handle);
        let before = before.filter(move |handle| handle.touches(span));
        before.into_iter().chain(self.0.range(span.start..span.end()).map(handle))
    }

    /// The part of a span that is the lower end of a handle which goes on behind it.
    pub(super) fn lower_end(&self, span: Span) -> Option<Span> {
        let (&start, &size) = self.0.range(span.start..span.end()).next_back()?;
        (start + size > span.end()).then(|| Span::between(start, span.end()))
    }

    /// The part of a span that is the upper end of a handle which begins before it.
    pub(super) fn upper_end(&self, span: Span) -> Option<Span> {
        let first = self.touching(span).next()?;
        let is_end = first.start < span.start && first.end() <= span.end();
        is_end.then(|| Span::between(span.start, first.end()))
    }

    /// The size of the largest handle.
    pub(super) fn largest(&self) -> u64 {
        self.0.values().copied().max().unwrap_or(0)
    }
}
