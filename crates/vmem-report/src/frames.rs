//! The moments at which the address space is looked at: as many as a page can carry.

use std::collections::BTreeSet;

use crate::space::Frame;

/// The most moments.
const MOST: usize = 1024;

/// The most ranges in all of them: about five bytes each before they are compressed.
const MOST_RANGES: usize = 600_000;

/// The most ranges that are looked at before the moments become fewer: a pool's account takes time.
const MOST_WORK: u64 = 20_000_000;

/// Frames at a distance that grows as they become too many.
#[derive(Debug)]
pub(crate) struct Frames {
    pub(crate) frames: Vec<Frame>,
    stride: usize,
    /// Events whose frames stay.
    kept: BTreeSet<usize>,
    ranges: usize,
    work: u64,
}

impl Frames {
    /// For a trace of so many events, with frames of these among them.
    pub(crate) fn new(events: usize, kept: BTreeSet<usize>) -> Self {
        let stride = events.div_ceil(MOST).max(1);
        Self { frames: Vec::new(), stride, kept, ranges: 0, work: 0 }
    }

    /// Whether a frame of this event is wanted.
    pub(crate) fn wants(&self, index: usize) -> bool {
        index.is_multiple_of(self.stride) || self.kept.contains(&index)
    }

    /// Takes a frame that was made from so many ranges, and makes them fewer if they are too many.
    pub(crate) fn push(&mut self, frame: Frame, looked_at: usize) {
        self.ranges += frame.ranges.len();
        self.work += u64::try_from(looked_at).unwrap_or(u64::MAX);
        self.frames.push(frame);
        while self.ranges > MOST_RANGES && self.thin() {}
        if self.work > MOST_WORK {
            self.work = 0;
            self.thin();
        }
    }

    /// Drops every other frame. Returns false if none could be dropped.
    fn thin(&mut self) -> bool {
        self.stride = self.stride.saturating_mul(2);
        let before = self.frames.len();
        let (stride, kept) = (self.stride, &self.kept);
        self.frames
            .retain(|frame| frame.index.is_multiple_of(stride) || kept.contains(&frame.index));
        self.ranges = self.frames.iter().map(|frame| frame.ranges.len()).sum();
        self.frames.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Range;

    #[test]
    fn frames_become_fewer_as_they_become_large_and_what_is_kept_stays() {
        let mut frames = Frames::new(1 << 20, BTreeSet::from([1025]));
        for index in (0..1 << 20).filter(|index| *index == 1025 || index % 1024 == 0) {
            if frames.wants(index) {
                let ranges = vec![Range { start: 0, size: 1, kind: 0 }; 2000];
                frames.push(Frame { index, ranges, ..Frame::default() }, 2000);
            }
        }
        assert!(frames.ranges <= MOST_RANGES && frames.frames.len() > 200);
        assert!(frames.frames.iter().any(|frame| frame.index == 1025));
        assert!(frames.frames.is_sorted_by_key(|frame| frame.index));
    }
}
