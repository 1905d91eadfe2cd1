//! Vector clocks over streams, and what the host has seen.
//!
//! Work on a lane (a stream, by identity) is numbered from one. A clock says of each lane up to
//! which number its work is ordered before the clock's owner. Work on one lane is ordered by its
//! numbers; a recorded event carries its lane's clock; a wait joins it ("Events" and
//! "Cross-Stream Dependencies", CUDA C++ Programming Guide, asynchronous execution).
//!
//! The host is one observer, not one per thread: threads tell each other what they have seen in
//! ways that no driver sees, and to demand more would report programs that are right. Whatever the
//! host has seen complete is ordered before whatever it queues afterwards, so the clocks of lanes
//! need not repeat it.

/// A stream by identity: never reused, unlike handles.
pub(crate) type LaneId = usize;

/// A point in a lane's work: after its first `time` pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) lane: LaneId,
    pub(crate) time: u64,
}

/// Points of other lanes that are ordered before; sorted by lane.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock(Vec<Point>);

impl Clock {
    pub(crate) fn covers(&self, point: Point) -> bool {
        match self.0.binary_search_by_key(&point.lane, |p| p.lane) {
            Ok(index) => self.0[index].time >= point.time,
            Err(_) => point.time == 0,
        }
    }

    pub(crate) fn raise(&mut self, point: Point) {
        match self.0.binary_search_by_key(&point.lane, |p| p.lane) {
            Ok(index) => self.0[index].time = self.0[index].time.max(point.time),
            Err(index) => self.0.insert(index, point),
        }
    }

    pub(crate) fn join(&mut self, other: &Self) {
        for &point in &other.0 {
            self.raise(point);
        }
    }

    /// Drops what the host has seen, which needs no repeating.
    pub(crate) fn prune(&mut self, seen: &Seen) {
        self.0.retain(|&point| !seen.covers(point));
    }

    fn points(&self) -> &[Point] {
        &self.0
    }
}

/// How much of each lane's work the host has seen complete.
#[derive(Debug, Default)]
pub(crate) struct Seen(Vec<u64>);

impl Seen {
    pub(crate) fn covers(&self, point: Point) -> bool {
        self.0.get(point.lane).copied().unwrap_or(0) >= point.time
    }

    /// The host has seen `point` complete, and so everything ordered before it.
    pub(crate) fn observe(&mut self, point: Point, before: &Clock) {
        self.raise(point);
        for &earlier in before.points() {
            self.raise(earlier);
        }
    }

    fn raise(&mut self, point: Point) {
        if self.0.len() <= point.lane {
            self.0.resize(point.lane + 1, 0);
        }
        self.0[point.lane] = self.0[point.lane].max(point.time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(lane: LaneId, time: u64) -> Point {
        Point { lane, time }
    }

    #[test]
    fn joining_takes_the_later_of_each_lane() {
        let (mut a, mut b) = (Clock::default(), Clock::default());
        a.raise(at(1, 5));
        b.raise(at(1, 3));
        b.raise(at(2, 7));
        a.join(&b);
        assert!(a.covers(at(1, 5)) && a.covers(at(2, 7)));
        assert!(!a.covers(at(1, 6)) && !a.covers(at(2, 8)) && !a.covers(at(0, 1)));
    }

    #[test]
    fn seeing_a_point_is_seeing_what_came_before_it() {
        let (mut seen, mut before) = (Seen::default(), Clock::default());
        before.raise(at(2, 7));
        seen.observe(at(1, 1), &before);
        assert!(seen.covers(at(2, 7)) && seen.covers(at(1, 1)) && !seen.covers(at(1, 2)));
        before.prune(&seen);
        assert!(before.points().is_empty());
    }
}
