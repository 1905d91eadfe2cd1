//! Dense numbers for whatever a format calls its streams and threads.

use std::collections::HashMap;
use std::hash::Hash;

/// Numbers for things, counted from zero in order of first appearance.
pub(super) struct Numbers<K>(HashMap<K, u32>);

impl<K> Default for Numbers<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq> Numbers<K> {
    pub(super) fn number(&mut self, key: K) -> u32 {
        // The builder refuses traces long before there are 2³² of anything.
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry(key).or_insert(next)
    }
}
