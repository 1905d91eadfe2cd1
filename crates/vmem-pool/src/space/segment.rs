//! From an address to a range near it.

use super::{Slot, Span};

/// Segments are cut into pages of this many bytes.
const PAGE: u64 = 2 << 20;

/// Addresses that belong together, and for every page of them the slot of the range that was last made
/// in it.
///
/// These are hints: they are written when a range is made and not kept up when it moves or goes, so
/// that the hot paths pay for one store only. Whoever follows a hint looks at what the slot is now,
/// and walks from there. Four bytes a page, filled as far as ranges have ever reached.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) span: Span,
    pages: Vec<Option<Slot>>,
}

impl Segment {
    pub(super) const fn new(span: Span) -> Self {
        Self { span, pages: Vec::new() }
    }

    #[inline]
    pub(super) fn holds(&self, address: u64) -> bool {
        address.wrapping_sub(self.span.start) < self.span.size
    }

    /// A range was made at `start`.
    #[inline]
    pub(super) fn note(&mut self, slot: Slot, start: u64) {
        let page = self.page(start);
        match self.pages.get_mut(page) {
            Some(hint) => *hint = Some(slot),
            None => self.extend(page, slot),
        }
    }

    #[cold]
    fn extend(&mut self, page: usize, slot: Slot) {
        self.pages.resize(page + 1, None);
        self.pages[page] = Some(slot);
    }

    /// The hints for the page of an address of this segment and the pages below it, nearest first.
    pub(super) fn hints(&self, address: u64) -> impl Iterator<Item = Slot> {
        let upto = (self.page(address) + 1).min(self.pages.len());
        self.pages[..upto].iter().rev().copied().flatten()
    }

    #[inline]
    fn page(&self, address: u64) -> usize {
        usize::try_from((address - self.span.start) / PAGE).expect("a page number fits usize")
    }
}

/// The segment, of those sorted by start, that holds an address.
#[inline]
pub(super) fn of(segments: &mut [Segment], address: u64) -> Option<&mut Segment> {
    // The first one is where all free memory of an arena is.
    if segments.first().is_some_and(|first| first.holds(address)) {
        return segments.first_mut();
    }
    let at = segments.partition_point(|s| s.span.start <= address).checked_sub(1)?;
    segments.get_mut(at)
}
