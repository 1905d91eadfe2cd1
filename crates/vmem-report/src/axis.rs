//! Addresses side by side: the gaps without memory left out.

use crate::space::Frame;

/// Gaps up to this many bytes stay, so that what belongs together does.
const SMALL_GAP: u64 = 2 << 20;

/// Places of addresses on an axis.
#[derive(Debug, Default)]
pub(crate) struct Axis {
    /// Start, end, and where the start is on the axis; by address.
    pieces: Vec<(u64, u64, u64)>,
    pub(crate) length: u64,
}

impl Axis {
    /// An axis with every address that has memory in any of the frames.
    pub(crate) fn of(frames: &[Frame]) -> Self {
        let mut spans: Vec<(u64, u64)> = Vec::new();
        for frame in frames {
            for range in &frame.ranges {
                match spans.last_mut() {
                    Some(last) if last.1 == range.start => last.1 = range.end(),
                    _ => spans.push((range.start, range.end())),
                }
            }
            if spans.len() > 1 << 20 {
                spans = joined(spans);
            }
        }
        let mut axis = Self::default();
        for (start, end) in joined(spans) {
            axis.pieces.push((start, end, axis.length));
            axis.length += end - start;
        }
        axis
    }

    /// Where an address is; `None` for one that never had memory.
    pub(crate) fn place(&self, address: u64) -> Option<u64> {
        let at = self.pieces.partition_point(|&(start, ..)| start <= address).checked_sub(1)?;
        let (start, end, place) = self.pieces[at];
        (address < end).then_some(place + (address - start))
    }

    /// The pieces, as place on the axis and address.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (u64, u64)> {
        self.pieces.iter().map(|&(start, _, place)| (place, start))
    }
}

fn joined(mut spans: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    spans.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (start, end) in spans {
        match joined.last_mut() {
            Some(last) if start <= last.1.saturating_add(SMALL_GAP) => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Range;

    #[test]
    fn gaps_without_memory_take_no_room() {
        let range = |start, size| Range { start, size, kind: 0 };
        let frame = |ranges| Frame { ranges, ..Frame::default() };
        let far = 1 << 40;
        let frames = [frame(vec![range(far, 10)]), frame(vec![range(1000, 100), range(2000, 100)])];
        let axis = Axis::of(&frames);
        assert_eq!(axis.length, 1100 + 10);
        assert_eq!(axis.place(1000), Some(0));
        assert_eq!(axis.place(2050), Some(1050));
        assert_eq!(axis.place(far + 9), Some(1109));
        assert_eq!(axis.place(far + 10), None);
        assert_eq!(axis.place(5), None);
    }
}
