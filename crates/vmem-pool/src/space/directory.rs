//! From an address to the ranges near it.

use super::Slot;

/// Segments are cut into pages of this many bytes.
const PAGE: u64 = 2 << 20;

/// For every page of every segment, the lowest range that starts in it.
///
/// Four bytes a page, filled as far as ranges have ever reached. A look-up finds the segment in
/// `O(log segments)` steps and then walks the ranges that start in one page.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// Sorted by start.
    segments: Vec<Segment>,
}

#[derive(Debug)]
struct Segment {
    start: u64,
    end: u64,
    pages: Vec<Option<Slot>>,
}

impl Directory {
    pub(super) fn add_segment(&mut self, start: u64, size: u64) {
        let at = self.segments.partition_point(|s| s.start < start);
        let first = self.segments.get(at).is_none_or(|next| start + size <= next.start);
        debug_assert!(first, "segments do not overlap");
        self.segments.insert(at, Segment { start, end: start + size, pages: Vec::new() });
    }

    pub(super) fn remove_segment(&mut self, start: u64) {
        self.segments.retain(|s| s.start != start);
    }

    pub(super) fn first_in_page(&self, address: u64) -> Option<Slot> {
        let at = self.segments.partition_point(|s| s.start <= address).checked_sub(1)?;
        let segment = &self.segments[at];
        if address >= segment.end {
            return None;
        }
        segment.pages.get(segment.page(address)).copied().flatten()
    }

    /// A range appeared at `start`.
    pub(super) fn added(&mut self, slot: Slot, start: u64, start_of: impl Fn(Slot) -> u64) {
        let page = self.page(start);
        if page.is_none_or(|lowest| start_of(lowest) >= start) {
            *page = Some(slot);
        }
    }

    /// A range at `start` was merged away; `next` is the one that followed it.
    pub(super) fn removed(&mut self, slot: Slot, start: u64, next: Option<(Slot, u64)>) {
        let page = self.page(start);
        if *page == Some(slot) {
            *page = None;
            if let Some((next, next_start)) = next {
                self.lower(next, start, next_start);
            }
        }
    }

    /// A range's start went up from `from` to `to`; what is left below is a range of its own, and
    /// was added first.
    pub(super) fn moved(&mut self, slot: Slot, from: u64, to: u64) {
        let segment = self.segment(to);
        if segment.page(from) != segment.page(to) {
            // The range used to cover the start of this page, so nothing lower starts in it.
            *self.page(to) = Some(slot);
        }
    }

    /// Enters `slot`, at `start`, for its page if that is the page of `vacated`.
    fn lower(&mut self, slot: Slot, vacated: u64, start: u64) {
        let segment = self.segment(start);
        if segment.page(start) == segment.page(vacated) {
            *self.page(start) = Some(slot);
        }
    }

    fn segment(&mut self, address: u64) -> &mut Segment {
        let at = self.segments.partition_point(|s| s.start <= address) - 1;
        &mut self.segments[at]
    }

    fn page(&mut self, address: u64) -> &mut Option<Slot> {
        let segment = self.segment(address);
        let page = segment.page(address);
        if segment.pages.len() <= page {
            segment.pages.resize(page + 1, None);
        }
        &mut segment.pages[page]
    }
}

impl Segment {
    fn page(&self, address: u64) -> usize {
        usize::try_from((address - self.start) / PAGE).expect("a page number fits usize")
    }
}
