//! Dense numbers for whatever a format calls its streams and threads, and names by number.

use std::borrow::Borrow;
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
    pub(super) fn number<Q>(&mut self, key: &Q) -> u32
    where
        K: Borrow<Q>,
        Q: ToOwned<Owned = K> + Hash + Eq + ?Sized,
    {
        let number = self.number_to_be(key);
        if !self.0.contains_key(key) {
            self.0.insert(key.to_owned(), number);
        }
        number
    }

    /// The number that a thing has, or gets if it is the next to be numbered. Keeps nothing.
    pub(super) fn number_to_be<Q>(&self, key: &Q) -> u32
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        // The builder refuses traces long before there are 2³² of anything.
        let next = || u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0.get(key).copied().unwrap_or_else(next)
    }
}

impl<K: Copy + Default> Numbers<K> {
    /// What has each number.
    pub(super) fn things(&self) -> Vec<K> {
        let mut things = vec![K::default(); self.0.len()];
        for (&thing, &number) in &self.0 {
            things[crate::trace::index(number)] = thing;
        }
        things
    }
}

/// Names by their numbers, from 1, in the order in which they were added.
#[derive(Debug, Default)]
pub(super) struct Names {
    text: String,
    /// Where each name ends in the text.
    ends: Vec<usize>,
}

impl Names {
    /// Names with their numbers, which are from 1 without gaps.
    pub(super) fn of<'a>(named: impl IntoIterator<Item = (&'a str, u32)>) -> Self {
        let mut named: Vec<_> = named.into_iter().collect();
        named.sort_unstable_by_key(|&(_, number)| number);
        let mut names = Self::default();
        named.iter().for_each(|(name, _)| names.push(name));
        names
    }

    pub(super) fn push(&mut self, name: &str) {
        self.text.push_str(name);
        self.ends.push(self.text.len());
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, number: u32) -> Option<&str> {
        let index = crate::trace::index(number).checked_sub(1)?;
        let start =
            index.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.text.get(start..*self.ends.get(index)?)
    }
}
