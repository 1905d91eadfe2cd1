//! From an address to a range near it.

use super::{Slot, Span};

/// Segments are cut into pages of this many bytes.
const PAGE: u64 = 2 << 20;

/// For every page of every segment, the slot of the range that was last made in it.
///
/// These are hints: they are written when a range is made and not kept up when it moves or goes, so
/// that the hot paths pay for one store only. Whoever follows a hint looks at what the slot is now,
/// and walks from there. Four bytes a page, filled as far as ranges have ever reached.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// Sorted by start.
    segments: Vec<Segment>,
}

#[derive(Debug)]
struct Segment {
    span: Span,
    pages: Vec<Option<Slot>>,
}

impl Directory {
    pub(super) fn add_segment(&mut self, span: Span) {
        let at = self.segments.partition_point(|s| s.span.start < span.start);
        let apart = self.segments.get(at).is_none_or(|next| !span.touches(next.span));
        debug_assert!(apart, "segments do not overlap");
        self.segments.insert(at, Segment { span, pages: Vec::new() });
    }

    pub(super) fn remove_segment(&mut self, start: u64) {
        if let Ok(at) = self.segments.binary_search_by_key(&start, |s| s.span.start) {
            self.segments.remove(at);
        }
    }

    /// A range was made at `start`.
    #[inline]
    pub(super) fn note(&mut self, slot: Slot, start: u64) {
        let Some(segment) = segment_of(&mut self.segments, start) else { return };
        let page = segment.page(start);
        match segment.pages.get_mut(page) {
            Some(hint) => *hint = Some(slot),
            None => segment.extend(page, slot),
        }
    }

    /// The hints for the page of `address` and the pages below it, nearest first, with the bounds
    /// of the segment, in which a slot that is still worth following lies.
    pub(super) fn hints(&self, address: u64) -> Option<(Span, impl Iterator<Item = Slot>)> {
        let at = self.segments.partition_point(|s| s.span.start <= address).checked_sub(1)?;
        let segment = self.segments.get(at).filter(|segment| address < segment.span.end())?;
        let upto = (segment.page(address) + 1).min(segment.pages.len());
        let hints = segment.pages[..upto].iter().rev().copied().flatten();
        Some((segment.span, hints))
    }
}

impl Segment {
    #[inline]
    fn holds(&self, address: u64) -> bool {
        self.span.start <= address && address < self.span.end()
    }

    #[inline]
    fn page(&self, address: u64) -> usize {
        usize::try_from((address - self.span.start) / PAGE).expect("a page number fits usize")
    }

    #[cold]
    fn extend(&mut self, page: usize, slot: Slot) {
        self.pages.resize(page + 1, None);
        self.pages[page] = Some(slot);
    }
}

#[inline]
fn segment_of(segments: &mut [Segment], address: u64) -> Option<&mut Segment> {
    // The first one is where all free memory of an arena is.
    if segments.first().is_some_and(|first| first.holds(address)) {
        return segments.first_mut();
    }
    let at = segments.partition_point(|s| s.span.start <= address).checked_sub(1)?;
    segments.get_mut(at)
}
