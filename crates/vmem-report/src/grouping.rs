//! Live bytes by group: the layers of the stacked picture.

use std::collections::HashMap;
use std::hash::Hash;

use vmem_core::Label;

use crate::buckets::Buckets;

/// The most groups of a kind, the last of them for all others: as many as there are colours that
/// can be told apart.
const MOST: usize = 12;

/// What memory without a label is called.
pub(crate) const UNLABELLED: &str = "unlabelled";

/// The classes of size, by what they are below.
const SIZES: [(u64, &str); 6] = [
    (4 << 10, "below 4 KiB"),
    (64 << 10, "4 KiB to 64 KiB"),
    (1 << 20, "64 KiB to 1 MiB"),
    (16 << 20, "1 MiB to 16 MiB"),
    (256 << 20, "16 MiB to 256 MiB"),
    (u64::MAX, "256 MiB and more"),
];

/// Live bytes by group, for each bucket when most is live.
#[derive(Debug)]
pub(crate) struct Grouping {
    /// What the groups are of: label, stream, size.
    pub(crate) title: &'static str,
    pub(crate) names: Vec<String>,
    /// Bucket by bucket, all groups of one side by side.
    pub(crate) bytes: Vec<u64>,
}

/// The class of a size.
pub(crate) fn group_of_size(size: u64) -> u8 {
    let class = SIZES.iter().position(|&(below, _)| size < below).unwrap_or(SIZES.len() - 1);
    u8::try_from(class).expect("there are fewer classes")
}

impl Grouping {
    fn new(title: &'static str, names: Vec<String>, buckets: Buckets) -> Self {
        let bytes = vec![0; names.len() * buckets.count()];
        Self { title, names, bytes }
    }

    pub(crate) fn of_labels(
        areas: &HashMap<Label, u128>,
        buckets: Buckets,
    ) -> (Self, HashMap<Label, u8>) {
        let name = |label: &Label| match label.as_str() {
            "" => UNLABELLED.to_owned(),
            name => name.to_owned(),
        };
        let (names, groups) = largest(areas, name, "other labels");
        (Self::new("label", names, buckets), groups)
    }

    pub(crate) fn of_streams(
        areas: &HashMap<u32, u128>,
        buckets: Buckets,
    ) -> (Self, HashMap<u32, u8>) {
        let (names, groups) = largest(areas, |stream| format!("stream {stream}"), "other streams");
        (Self::new("stream", names, buckets), groups)
    }

    pub(crate) fn of_sizes(buckets: Buckets) -> Self {
        Self::new("size", SIZES.iter().map(|(_, name)| (*name).to_owned()).collect(), buckets)
    }

    /// The bytes of each group in a bucket.
    pub(crate) fn put(&mut self, bucket: usize, sums: &[u64]) {
        let groups = self.names.len();
        self.bytes[bucket * groups..][..groups].copy_from_slice(sums);
    }
}

/// Groups of their own for what fills most of the picture, largest first, and one for the rest.
fn largest<K: Copy + Ord + Hash>(
    areas: &HashMap<K, u128>,
    name: impl Fn(&K) -> String,
    rest: &str,
) -> (Vec<String>, HashMap<K, u8>) {
    let mut order: Vec<_> = areas.iter().map(|(&key, &area)| (area, key)).collect();
    order.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let own = if order.len() <= MOST { order.len() } else { MOST - 1 };
    let mut names: Vec<_> = order.iter().take(own).map(|(_, key)| name(key)).collect();
    if own < order.len() || names.is_empty() {
        names.push(rest.to_owned());
    }
    let group = |place: usize| u8::try_from(place.min(own)).expect("there are fewer groups");
    let groups = order.iter().enumerate().map(|(at, &(_, key))| (key, group(at))).collect();
    (names, groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_groups_have_colours_of_their_own_and_the_rest_shares_one() {
        let areas: HashMap<u32, u128> = (0..20).map(|n| (n, u128::from(n))).collect();
        let (grouping, groups) = Grouping::of_streams(&areas, Buckets::of(1));
        assert_eq!(grouping.names.len(), MOST);
        assert_eq!((grouping.names[0].as_str(), groups[&19]), ("stream 19", 0));
        assert_eq!((grouping.names[MOST - 1].as_str(), groups[&0]), ("other streams", 11));
    }

    #[test]
    fn a_size_is_of_the_class_that_it_is_below() {
        assert_eq!(group_of_size(4095), 0);
        assert_eq!(group_of_size(4096), 1);
        assert_eq!(group_of_size(u64::MAX), 5);
    }
}
