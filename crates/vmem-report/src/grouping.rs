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
        if !too_many(areas) {
            let (names, groups) = largest(areas, name, "other labels");
            return (Self::new("label", names, buckets), groups);
        }
        // Labels that begin alike belong together: `edges.x` and `edges.y`, functions of one file.
        let mut joined: HashMap<&str, u128> = HashMap::new();
        for (label, area) in areas {
            *joined.entry(beginning(label.as_str())).or_default() += area;
        }
        let name = |begin: &&str| match *begin {
            "" => UNLABELLED.to_owned(),
            begin => format!("{begin}*"),
        };
        let (names, of_beginnings) = largest(&joined, name, "other labels");
        let group = |label: &Label| of_beginnings[beginning(label.as_str())];
        let groups = areas.keys().map(|label| (*label, group(label))).collect();
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

/// Whether most of the picture would be without a colour of its own.
fn too_many(areas: &HashMap<Label, u128>) -> bool {
    let mut order: Vec<_> = areas.values().copied().collect();
    order.sort_unstable_by(|a, b| b.cmp(a));
    let rest: u128 = order.iter().skip(MOST - 1).sum();
    order.len() > MOST && rest > order.iter().sum::<u128>() / 3
}

/// A label up to the first sign that parts names.
fn beginning(label: &str) -> &str {
    label.split_inclusive(['.', '/', ':']).next().unwrap_or(label)
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
    fn labels_are_joined_by_how_they_begin_where_most_would_have_no_colour() {
        let many = |names: &dyn Fn(u32) -> String| -> HashMap<Label, u128> {
            (0..40).map(|n| (Label::intern(&names(n)), 1)).collect()
        };
        let apart = many(&|n| format!("{}.{}", ["a", "b"][n as usize % 2], n));
        let (grouping, groups) = Grouping::of_labels(&apart, Buckets::of(1));
        assert_eq!(grouping.names, ["a.*", "b.*"]);
        assert_eq!(groups[&Label::intern("b.7")], 1);
        // Where a few fill the picture they keep their names.
        let mut few = apart;
        few.insert(Label::intern("a.large"), 1000);
        let (grouping, _) = Grouping::of_labels(&few, Buckets::of(1));
        assert_eq!((grouping.names[0].as_str(), grouping.names.len()), ("a.large", MOST));
    }

    #[test]
    fn a_size_is_of_the_class_that_it_is_below() {
        assert_eq!(group_of_size(4095), 0);
        assert_eq!(group_of_size(4096), 1);
        assert_eq!(group_of_size(u64::MAX), 5);
    }
}
