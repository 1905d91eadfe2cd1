//! Which of many indexes have ranges of a size, so that nobody needs to look into all of them.

use super::class::Classes;
use super::{SizeIndex, Slot};
use crate::space::visits;

/// For every class the indexes that have ranges of it, by their numbers.
///
/// An index that has none any more stays in the list until somebody looks for one
/// ([`next_in`](Self::next_in)) or the list is about to grow, so that a range which goes and comes
/// costs its index a look at one bit.
#[derive(Debug, Default)]
pub(in super::super) struct Owners {
    /// Classes whose list is not empty.
    classes: Classes,
    lists: Vec<Vec<u32>>,
}

impl Owners {
    /// The index of this number is to be in the list of this class, if any.
    #[inline]
    pub(in super::super) fn note(
        &mut self,
        index: usize,
        class: Option<usize>,
        all: &mut [SizeIndex],
    ) {
        if let Some(class) = class {
            self.add(index, class, all);
        }
    }

    #[cold]
    fn add(&mut self, index: usize, class: usize, all: &mut [SizeIndex]) {
        if self.lists.len() <= class {
            self.lists.resize_with(class + 1, Vec::new);
        }
        let list = &mut self.lists[class];
        if list.len() == list.capacity() {
            list.retain(|&listed| all[listed as usize].stays_listed(class));
        }
        list.push(u32::try_from(index).expect("fewer than 2^31 streams"));
        self.classes.insert(class);
    }

    /// The first class from this one on of which there may be a range.
    pub(in super::super) fn next_class(&self, class: usize) -> Option<usize> {
        self.classes.next(class)
    }

    /// The next index of a class, from `at` on in its list. Takes those off the list that it passes
    /// over because they have none any more.
    pub(in super::super) fn next_in(
        &mut self,
        class: usize,
        at: usize,
        all: &mut [SizeIndex],
    ) -> Option<usize> {
        let list = self.lists.get_mut(class)?;
        while let Some(&listed) = list.get(at) {
            visits::note();
            if all[listed as usize].stays_listed(class) {
                return Some(listed as usize);
            }
            list.swap_remove(at);
        }
        if list.is_empty() {
            self.classes.remove(class);
        }
        None
    }

    /// How many indexes have ranges: none, one, or two for all above.
    pub(in super::super) fn count(&self, all: &[SizeIndex]) -> usize {
        let mut owners = self.classes.from(0).flat_map(|class| {
            let owns = move |&&index: &&u32| all[index as usize].occupied.has(class);
            self.lists[class].iter().filter(owns)
        });
        match owners.next() {
            Some(first) => 1 + usize::from(owners.any(|index| index != first)),
            None => 0,
        }
    }

    /// All ranges of all indexes, smallest class first.
    pub(in super::super) fn slots<'a>(
        &'a self,
        all: &'a [SizeIndex],
    ) -> impl Iterator<Item = Slot> + 'a {
        self.classes.from(0).flat_map(move |class| {
            let indexes = self.lists[class].iter().inspect(|_| visits::note());
            indexes.flat_map(move |&index| all[index as usize].in_class(class))
        })
    }
}

impl SizeIndex {
    /// Whether there is a range of a class in whose list this index is; if not, it is to be taken off.
    fn stays_listed(&mut self, class: usize) -> bool {
        let stays = self.occupied.has(class);
        if !stays {
            self.bins[class].listed = false;
        }
        stays
    }
}
