//! Windows: addresses at which memory from several places is mapped side by side. Bookkeeping only:
//! it makes no driver call.

use std::collections::BTreeMap;

use vmem_core::DevicePtr;

use crate::WindowInfo;

/// A window that is larger than a request by at most this part of it may serve it.
const SLACK: u64 = 16;

/// A stretch of addresses, and the home addresses of the memory that is mapped there as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: u64,
    pub(super) size: u64,
    /// Where the memory is at home, in the order of the window, as start and end.
    pub(super) homes: Vec<(u64, u64)>,
    /// When it was last given to a request or taken back.
    used: u64,
    /// What is left of a window that the driver would not unmap.
    broken: bool,
}

impl Window {
    fn info(&self) -> WindowInfo {
        let pointer = |address| DevicePtr::new(address).expect("a window does not start at zero");
        let home = |&(start, end): &(u64, u64)| (pointer(start), end - start);
        let homes = self.homes.iter().map(home).collect();
        WindowInfo { start: pointer(self.start), size: self.size, homes }
    }
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
    made: u64,
    now: u64,
    bytes: u64,
}

impl Windows {
    /// A window was mapped.
    pub(super) fn add(&mut self, start: u64, size: u64, homes: Vec<(u64, u64)>) {
        self.made += 1;
        self.now += 1;
        self.by_start.insert(start, self.made);
        let window = Window { start, size, homes, used: self.now, broken: false };
        self.by_age.insert(self.made, window);
        self.bytes += size;
    }

    /// Of a window that showed `homes`, the driver kept `size` bytes mapped, from `skipped` bytes
    /// on. Nothing is placed there any more; it can only be unmapped.
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
        if let Some(window) = self.by_age.get_mut(&self.made) {
            window.broken = true;
        }
    }

    /// The oldest window for `size` bytes whose memory is free by `is_free`, given the start and the
    /// end of a home.
    pub(super) fn oldest(
        &self,
        size: u64,
        alignment: u64,
        mut is_free: impl FnMut(u64, u64) -> bool,
    ) -> Option<&Window> {
        let sizes = size..=size + size / SLACK;
        self.by_age.values().find(|window| {
            !window.broken
                && sizes.contains(&window.size)
                && window.start.is_multiple_of(alignment)
                && window.homes.iter().all(|&(start, end)| is_free(start, end))
        })
    }

    /// The window that begins at `start`.
    pub(super) fn at(&self, start: u64) -> Option<&Window> {
        self.by_age.get(self.by_start.get(&start)?)
    }

    /// The window at `start` is given to a request or taken back.
    pub(super) fn touch(&mut self, start: u64) {
        self.now += 1;
        let window = self.by_start.get(&start).and_then(|age| self.by_age.get_mut(age));
        if let Some(window) = window {
            window.used = self.now;
        }
    }

    /// The window at `start` is no longer mapped.
    pub(super) fn remove(&mut self, start: u64) {
        let age = self.by_start.remove(&start);
        if let Some(window) = age.and_then(|age| self.by_age.remove(&age)) {
            self.bytes -= window.size;
        }
    }

    /// The starts of all windows, the longest unused first.
    pub(super) fn longest_unused(&self) -> Vec<u64> {
        let mut windows: Vec<&Window> = self.by_age.values().collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_window_whose_memory_is_free_serves() {
        let mut windows = Windows::default();
        windows.add(1000, 100, vec![(0, 60), (80, 120)]);
        windows.add(2000, 100, vec![(200, 300)]);
        windows.add(3000, 104, vec![(300, 404)]);
        let start = |size, busy: u64| {
            let is_free = |start, end| !(start..end).contains(&busy);
            windows.oldest(size, 1, is_free).map(|window| window.start)
        };
        assert_eq!(start(100, 999), Some(1000));
        assert_eq!(start(100, 90), Some(2000));
        assert_eq!(start(99, 999), Some(1000));
        assert_eq!(start(101, 999), Some(3000));
        assert_eq!(start(90, 999), None);
    }

    #[test]
    fn windows_are_found_by_the_memory_they_show_and_by_use() {
        let mut windows = Windows::default();
        windows.add(1000, 100, vec![(0, 60), (80, 120)]);
        windows.add(2000, 100, vec![(100, 200)]);
        assert_eq!(windows.showing(100, 110), [1000, 2000]);
        assert_eq!(windows.showing(60, 80), [0; 0]);
        windows.touch(1000);
        assert_eq!(windows.longest_unused(), [2000, 1000]);
        windows.remove(2000);
        assert_eq!((windows.bytes(), windows.at(2000)), (100, None));
    }

    #[test]
    fn what_is_left_of_a_window_shows_what_it_showed_and_serves_nobody() {
        let mut windows = Windows::default();
        windows.add_broken(1000, &[(0, 60), (80, 120)], 20, 50);
        let left = windows.at(1020).unwrap();
        assert_eq!((left.size, &*left.homes), (50, &[(20, 60), (80, 90)][..]));
        assert_eq!(windows.oldest(50, 1, |_, _| true), None);
    }
}
