//! A table that grows without moving what it holds.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::OnceLock;

/// Values by dense index, created by default. The first are in the table itself; the others in
/// blocks that double, made when first asked for: index `i` lies in block `log2(i / FIRST)`. A
/// look-up takes constant time and no lock; only making a block excludes others.
pub(crate) struct Table<T> {
    first: [T; FIRST],
    blocks: [OnceLock<Box<[T]>>; BLOCKS],
}

const FIRST: usize = 8;
/// Enough for 2³² values.
const BLOCKS: usize = 29;

impl<T: Default> Default for Table<T> {
    fn default() -> Self {
        Self {
            first: std::array::from_fn(|_| T::default()),
            blocks: [const { OnceLock::new() }; BLOCKS],
        }
    }
}

impl<T: Default> Table<T> {
    /// The value at `index`, created if it was never asked for.
    ///
    /// # Panics
    /// From index 2³² on.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> &T {
        if let Some(value) = self.first.get(index) {
            return value;
        }
        let (block, offset) = place(index);
        match self.blocks[block].get() {
            Some(values) => &values[offset],
            None => &self.make(block)[offset],
        }
    }

    #[cold]
    fn make(&self, block: usize) -> &[T] {
        self.blocks[block].get_or_init(|| fill(FIRST << block))
    }

    /// The value at `index` if it exists.
    pub(crate) fn peek(&self, index: usize) -> Option<&T> {
        self.first.get(index).or_else(|| {
            let (block, offset) = place(index);
            Some(&self.blocks.get(block)?.get()?[offset])
        })
    }

    /// All values that exist.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> + Clone {
        let blocks = self.blocks.iter().filter_map(OnceLock::get).flatten();
        self.first.iter().chain(blocks)
    }
}

impl<T> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}

/// Block and offset of an index of at least `FIRST`.
#[inline]
fn place(index: usize) -> (usize, usize) {
    let block = (index / FIRST).ilog2() as usize;
    (block, index - (FIRST << block))
}

fn fill<T: Default>(len: usize) -> Box<[T]> {
    std::iter::repeat_with(T::default).take(len).collect()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_index_has_a_place_of_its_own() {
        let places: std::collections::HashSet<_> = (FIRST..1000).map(place).collect();
        assert_eq!(places.len(), 1000 - FIRST);
        assert!(places.iter().all(|&(block, offset)| offset < FIRST << block));
        assert_eq!(place(u32::MAX as usize).0, BLOCKS - 1);
    }

    #[test]
    fn values_stay_where_they_are_while_the_table_grows() {
        let table: Table<std::cell::Cell<u32>> = Table::default();
        let first = table.get(0);
        first.set(7);
        assert!(table.peek(100).is_none());
        table.get(100).set(8);
        assert_eq!((first.get(), table.get(100).get()), (7, 8));
        assert_eq!(table.iter().map(|value| value.get()).sum::<u32>(), 15);
    }
}
