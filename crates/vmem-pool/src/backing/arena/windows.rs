//! Windows: addresses at which memory from several places is mapped side by side. Bookkeeping only:
//! it makes no driver call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::WindowInfo;
use crate::space::pointer;

/// A window that is larger than a request by at most this part of it may serve it.
const SLACK: u64 = 16;

/// How many idle windows of one size are looked at for a request, so that a search takes less than a
/// driver call for each granule of a new window would.
const LOOKS: usize = 4096;

/// A stretch of addresses, and the home addresses of the memory that is mapped there as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: u64,
    pub(super) size: u64,
    /// Where the memory is at home, in the order of the window, as start and end.
    pub(super) homes: Arc<[(u64, u64)]>,
    /// When it was last given to a request or taken back.
    used: u64,
}

/// All windows of an arena, in the order in which they were made.
///
/// A program that repeats itself meets the same free memory again. A request is given the oldest
/// window that can serve it: what could not serve it the last time cannot now, so it finds the
/// window that it was given or that was made for it then, and a repeated pattern settles.
#[derive(Debug, Default)]
pub(super) struct Windows {
    by_age: BTreeMap<u64, Window>,
    by_start: BTreeMap<u64, u64>,
    /// Size and age of those that nothing uses: only they are given to requests.
    idle: BTreeSet<(u64, u64)>,
    /// Ages of what is left of windows that the driver would not unmap. It can only be unmapped.
    broken: BTreeSet<u64>,
    made: u64,
    now: u64,
    bytes: u64,
}

impl Windows {
    /// A window was mapped, for a request that uses it.
    pub(super) fn add(&mut self, start: u64, size: u64, homes: Vec<(u64, u64)>) {
        self.made += 1;
        self.now += 1;
        self.by_start.insert(start, self.made);
        self.by_age.insert(self.made, Window { start, size, homes: homes.into(), used: self.now });
        self.bytes += size;
    }

    /// Of a window that showed `homes`, the driver kept `size` bytes mapped, from `skipped` bytes
    /// on.
    pub(super) fn add_broken(
        &mut self,
        window: u64,
        homes: &[(u64, u64)],
        skipped: u64,
        size: u64,
    ) {
        let mut at = 0;
        let mut kept = Vec::new();
        for &(start, end) in homes {
            let low = skipped.max(at);
            let high = (skipped + size).min(at + (end - start));
            if low < high {
                kept.push((start + (low - at), start + (high - at)));
            }
            at += end - start;
        }
        self.add(window + skipped, size, kept);
        self.broken.insert(self.made);
    }

    /// The oldest window for `size` bytes that nothing uses and whose memory is free by `is_free`,
    /// given the start and the end of a home.
    pub(super) fn oldest(
        &self,
        size: u64,
        alignment: u64,
        mut is_free: impl FnMut(u64, u64) -> bool,
    ) -> Option<&Window> {
        let mut oldest: Option<u64> = None;
        let mut from = size;
        let largest = size + size / SLACK;
        // Size by size, from the oldest on, as long as an older one could be found.
        while from <= largest
            && let Some(&(this, _)) = self.idle.range((from, 0)..=(largest, u64::MAX)).next()
        {
            let upto = oldest.unwrap_or(u64::MAX);
            let ages = self.idle.range((this, 0)..(this, upto)).map(|&(_, age)| age).take(LOOKS);
            let serves = |age: &u64| {
                self.by_age.get(age).is_some_and(|window| {
                    window.start.is_multiple_of(alignment)
                        && window.homes.iter().all(|&(start, end)| is_free(start, end))
                })
            };
            oldest = ages.into_iter().find(serves).or(oldest);
            from = this + 1;
        }
        self.by_age.get(&oldest?)
    }

    /// The window that begins at `start`.
    pub(super) fn at(&self, start: u64) -> Option<&Window> {
        self.by_age.get(self.by_start.get(&start)?)
    }

    /// From now on something uses the window at `start`: a block, or who is about to unmap it.
    pub(super) fn take(&mut self, start: u64) {
        if let Some((age, size)) = self.touch(start) {
            self.idle.remove(&(size, age));
        }
    }

    /// Nothing uses the window at `start` any more.
    pub(super) fn put(&mut self, start: u64) {
        if let Some((age, size)) = self.touch(start) {
            self.idle.insert((size, age));
        }
    }

    fn touch(&mut self, start: u64) -> Option<(u64, u64)> {
        self.now += 1;
        let age = *self.by_start.get(&start)?;
        let window = self.by_age.get_mut(&age)?;
        window.used = self.now;
        Some((age, window.size))
    }

    /// The window at `start` is no longer mapped.
    pub(super) fn remove(&mut self, start: u64) {
        let age = self.by_start.remove(&start);
        if let Some((age, window)) = age.and_then(|age| self.by_age.remove_entry(&age)) {
            self.idle.remove(&(window.size, age));
            self.broken.remove(&age);
            self.bytes -= window.size;
        }
    }

    /// The starts of the windows that nothing uses, the longest unused first.
    pub(super) fn longest_unused(&self) -> Vec<u64> {
        let ages = self.idle.iter().map(|(_, age)| age).chain(&self.broken);
        let mut windows: Vec<&Window> = ages.filter_map(|age| self.by_age.get(age)).collect();
        windows.sort_unstable_by_key(|window| window.used);
        windows.into_iter().map(|window| window.start).collect()
    }

    /// The starts of the windows that show memory which is at home in `start..end`.
    pub(super) fn showing(&self, start: u64, end: u64) -> Vec<u64> {
        let touches = |&(low, high): &(u64, u64)| low < end && start < high;
        let shows = |window: &&Window| window.homes.iter().any(touches);
        self.by_age.values().filter(shows).map(|window| window.start).collect()
    }

    /// All windows, by address.
    pub(super) fn info(&self) -> Vec<WindowInfo> {
        let windows = self.by_start.values().filter_map(|age| self.by_age.get(age));
        windows.map(Window::info).collect()
    }

    /// How many bytes of addresses all windows take.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Window {
    fn info(&self) -> WindowInfo {
        let home = |&(start, end): &(u64, u64)| (pointer(start), end - start);
        let homes = self.homes.iter().map(home).collect();
        WindowInfo { start: pointer(self.start), size: self.size, homes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Windows {
        let mut windows = Windows::default();
        windows.add(3000, 104, vec![(300, 404)]);
        windows.add(1000, 100, vec![(0, 60), (80, 120)]);
        windows.add(2000, 100, vec![(200, 300)]);
        [1000, 2000, 3000].into_iter().for_each(|start| windows.put(start));
        windows
    }

    #[test]
    fn the_oldest_idle_window_whose_memory_is_free_serves() {
        let mut windows = three();
        let start = |windows: &Windows, size, busy: u64| {
            let is_free = |start, end| !(start..end).contains(&busy);
            windows.oldest(size, 1, is_free).map(|window| window.start)
        };
        assert_eq!(start(&windows, 100, 999), Some(3000), "the oldest, although it is larger");
        assert_eq!(start(&windows, 100, 350), Some(1000));
        assert_eq!(start(&windows, 97, 350), Some(1000));
        assert_eq!(start(&windows, 101, 999), Some(3000));
        assert_eq!(start(&windows, 90, 999), None, "none is near enough in size");
        assert_eq!(start(&windows, 98, 350), Some(1000), "104 is the largest that may serve it");
        windows.take(3000);
        assert_eq!(start(&windows, 100, 90), Some(2000), "1000 shows what is busy, 3000 is used");
        windows.take(2000);
        assert_eq!(start(&windows, 100, 90), None);
    }

    #[test]
    fn windows_are_found_by_the_memory_they_show_and_by_use() {
        let mut windows = three();
        assert_eq!(windows.showing(100, 250), [1000, 2000]);
        assert_eq!(windows.showing(60, 80), [0; 0]);
        windows.take(2000);
        assert_eq!(windows.longest_unused(), [1000, 3000]);
        windows.put(2000);
        assert_eq!(windows.longest_unused(), [1000, 3000, 2000]);
        windows.remove(2000);
        assert_eq!((windows.bytes(), windows.at(2000)), (204, None));
    }

    #[test]
    fn what_is_left_of_a_window_shows_what_it_showed_and_serves_nobody() {
        let mut windows = Windows::default();
        windows.add_broken(1000, &[(0, 60), (80, 120)], 20, 50);
        let left = windows.at(1020).unwrap();
        assert_eq!((left.size, &*left.homes), (50, &[(20, 60), (80, 90)][..]));
        assert_eq!(windows.oldest(50, 1, |_, _| true), None);
        assert_eq!(windows.longest_unused(), [1020]);
    }
}
