//! What is still out, and who asked for it.

use std::collections::BTreeMap;
use std::fmt;

use vmem_core::{BlockLayout, DevicePtr, Label, StreamId};

use crate::words;

/// One block that was not freed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct OutstandingBlock {
    /// Which allocation through the adaptor it was, from 1.
    pub sequence: u64,
    /// Its address.
    pub ptr: DevicePtr,
    /// The size and alignment asked for.
    pub layout: BlockLayout,
    /// Its label.
    pub label: Label,
    /// The stream it was allocated on.
    pub stream: StreamId,
    /// A backtrace of the request, if it was captured.
    pub backtrace: Option<String>,
}

/// The blocks that were allocated and not freed through a [`Track`](crate::Track) adaptor.
///
/// Its `Display` is a line in all, a line per label, and a line (with its backtrace) per block.
#[derive(Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LeakReport {
    /// The blocks, in the order of allocation.
    pub blocks: Vec<OutstandingBlock>,
}

impl LeakReport {
    /// Returns true if no block is live.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The sizes asked for, in bytes in all.
    pub fn bytes(&self) -> u64 {
        self.blocks.iter().map(|block| block.layout.size()).sum()
    }

    /// Number of blocks and bytes by label, in the order of the names.
    pub fn by_label(&self) -> BTreeMap<&'static str, (usize, u64)> {
        let mut labels = BTreeMap::new();
        for block in &self.blocks {
            let (blocks, bytes) = labels.entry(block.label.as_str()).or_insert((0, 0));
            *blocks += 1;
            *bytes += block.layout.size();
        }
        labels
    }

    pub(super) fn log(&self) {
        let (blocks, bytes) = (self.blocks.len(), self.bytes());
        tracing::warn!(blocks, bytes, "dropped with blocks outstanding");
        for block in &self.blocks {
            tracing::debug!(%block, "outstanding");
        }
    }
}

impl fmt::Display for LeakReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (blocks, bytes) = (self.blocks.len(), self.bytes());
        write!(f, "{} outstanding, {bytes} B", words::blocks(blocks as u64))?;
        for (label, (blocks, bytes)) in self.by_label() {
            write!(f, "\n  {}: {}, {bytes} B", name(label), words::blocks(blocks as u64))?;
        }
        for block in &self.blocks {
            write!(f, "\n  {block}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for LeakReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeakReport")
            .field("blocks", &self.blocks.len())
            .field("bytes", &self.bytes())
            .finish()
    }
}

impl fmt::Display for OutstandingBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = name(self.label.as_str());
        write!(f, "#{} at {}: {}, {label}, {}", self.sequence, self.ptr, self.layout, self.stream)?;
        match &self.backtrace {
            Some(backtrace) => write!(f, "\n{backtrace}"),
            None => Ok(()),
        }
    }
}

fn name(label: &str) -> &str {
    if label.is_empty() { "unlabelled" } else { label }
}
