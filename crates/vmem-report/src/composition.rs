//! What is live at one moment, by label, stream and size.

use std::collections::HashMap;
use std::hash::Hash;

use serde::Serialize;
use vmem_core::Label;
use vmem_trace::{Event, Trace};

use crate::grouping::UNLABELLED;

/// The most rows of each table.
const MOST: usize = 40;

/// A live block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) size: u64,
    pub(crate) label: Label,
    pub(crate) stream: u32,
    /// The event that allocated it.
    pub(crate) since: usize,
}

/// What is live at one moment.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Composition {
    /// The event after which it is.
    pub(crate) index: usize,
    pub(crate) live: u64,
    pub(crate) blocks: u64,
    /// Most bytes first, as are the others; the last may stand for all that have no row.
    pub(crate) labels: Vec<Share>,
    pub(crate) streams: Vec<Share>,
    /// By the exact size asked for.
    pub(crate) sizes: Vec<Share>,
}

/// A part of what is live.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Share {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) blocks: u64,
}

impl Composition {
    pub(crate) fn of<'a>(index: usize, held: impl Iterator<Item = &'a Held>) -> Self {
        let (mut labels, mut streams, mut sizes) = (Sums::new(), Sums::new(), Sums::new());
        let (mut live, mut blocks) = (0, 0);
        for block in held {
            live += block.size;
            blocks += 1;
            add(&mut labels, block.label, block.size);
            add(&mut streams, block.stream, block.size);
            add(&mut sizes, block.size, block.size);
        }
        let label = |label: &Label| match label.as_str() {
            "" => UNLABELLED.to_owned(),
            name => name.to_owned(),
        };
        Self {
            index,
            live,
            blocks,
            labels: shares(&labels, label),
            streams: shares(&streams, |stream| format!("stream {stream}")),
            sizes: shares(&sizes, |size| crate::bytes::show(*size)),
        }
    }
}

/// The blocks that are live before the event at `index`, oldest first. O(index).
pub(crate) fn held_before(trace: &Trace, index: usize) -> Vec<Held> {
    let mut table: HashMap<u32, Held> = HashMap::new();
    for (at, event) in trace.events().iter().enumerate().take(index) {
        match *event {
            Event::Allocate { slot, size, origin, label } => {
                table.insert(slot, Held { size, label, stream: origin.stream, since: at });
            }
            Event::Free { slot, .. } => {
                table.remove(&slot);
            }
            _ => {}
        }
    }
    let mut held: Vec<_> = table.into_values().collect();
    held.sort_unstable_by_key(|held| held.since);
    held
}

type Sums<K> = HashMap<K, (u64, u64)>;

fn add<K: Eq + Hash>(sums: &mut Sums<K>, key: K, size: u64) {
    let (bytes, blocks) = sums.entry(key).or_default();
    *bytes += size;
    *blocks += 1;
}

fn shares<K: Copy + Ord>(sums: &Sums<K>, name: impl Fn(&K) -> String) -> Vec<Share> {
    let mut order: Vec<_> =
        sums.iter().map(|(&key, &(bytes, blocks))| (bytes, key, blocks)).collect();
    order.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let own = if order.len() <= MOST { order.len() } else { MOST - 1 };
    let mut shares: Vec<_> = order[..own]
        .iter()
        .map(|(bytes, key, blocks)| Share { name: name(key), bytes: *bytes, blocks: *blocks })
        .collect();
    let rest = &order[own..];
    if !rest.is_empty() {
        shares.push(Share {
            name: format!("{} others", rest.len()),
            bytes: rest.iter().map(|(bytes, ..)| bytes).sum(),
            blocks: rest.iter().map(|(.., blocks)| blocks).sum(),
        });
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_adds_up_to_what_is_live() {
        let held: Vec<_> = (0..500)
            .map(|n| Held { size: 100 + n, label: Label::NONE, stream: 0, since: 0 })
            .collect();
        let all = Composition::of(7, held.iter());
        for table in [&all.labels, &all.streams, &all.sizes] {
            assert_eq!(table.iter().map(|share| share.bytes).sum::<u64>(), all.live);
            assert_eq!(table.iter().map(|share| share.blocks).sum::<u64>(), 500);
        }
        assert_eq!((all.sizes.len(), all.sizes[MOST - 1].name.as_str()), (MOST, "461 others"));
        assert_eq!(all.labels[0].name, UNLABELLED);
    }
}
