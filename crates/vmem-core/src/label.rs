//! Names for memory: interned, scoped per thread, carried by every request and block.

use crate::author::fork;
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{OnceLock, RwLock};

thread_local! {
    static CURRENT: Cell<Label> = const { Cell::new(Label::NONE) };
}

/// An interned name for memory. Four bytes, `Copy`, the same for equal texts in one process.
///
/// A request carries its thread's current label, the block keeps it, and a free is booked on the
/// block's own label.
///
/// ```
/// use vmem_core::{Label, label};
///
/// assert_eq!(Label::current(), Label::NONE);
/// {
///     let _scope = label("overlay/face-walk");
///     assert_eq!(Label::current().as_str(), "overlay/face-walk");
/// }
/// assert_eq!(Label::current(), Label::NONE);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(u32);

impl Label {
    /// No name.
    pub const NONE: Self = Self(0);

    /// The label of `name`. Interned names are never given back, so they should come from a
    /// bounded set. Costs a hash look-up under a read lock; keep the result on hot paths.
    ///
    /// # Panics
    /// After 2³² distinct names.
    pub fn intern(name: &str) -> Self {
        if name.is_empty() {
            return Self::NONE;
        }
        let interner = interner();
        let names = fork::locked(|| interner.read());
        if let Some(&index) = names.index.get(name) {
            return Self(index);
        }
        drop(names);
        let mut names = fork::locked(|| interner.write());
        Self(names.insert(name))
    }

    /// The calling thread's current label.
    #[inline]
    pub fn current() -> Self {
        CURRENT.with(Cell::get)
    }

    /// The name; empty for [`NONE`](Self::NONE).
    pub fn as_str(self) -> &'static str {
        let names = fork::locked(|| interner().read());
        usize::try_from(self.0).ok().and_then(|i| names.texts.get(i).copied()).unwrap_or("")
    }

    /// The label's place in the order of interning, from 0 for [`NONE`](Self::NONE), without gaps:
    /// an index for tables. Means nothing in another process.
    pub const fn index(self) -> u32 {
        self.0
    }

    /// The label with that [`index`](Self::index), for tables that keep the index only; `None` if no
    /// name has it.
    pub fn from_index(index: u32) -> Option<Self> {
        let names = fork::locked(|| interner().read());
        let known = usize::try_from(index).is_ok_and(|index| index < names.texts.len());
        (index == 0 || known).then_some(Self(index))
    }

    /// Makes this the calling thread's current label until the scope is dropped.
    pub fn enter(self) -> LabelScope {
        LabelScope { previous: CURRENT.with(|c| c.replace(self)), _thread: PhantomData }
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Label {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Label {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name: std::borrow::Cow<'de, str> = serde::Deserialize::deserialize(deserializer)?;
        Ok(Self::intern(&name))
    }
}

/// Labels what the calling thread allocates until the returned scope is dropped.
pub fn label(name: &str) -> LabelScope {
    Label::intern(name).enter()
}

/// Restores the thread's previous label when dropped. Scopes nest; it cannot leave its thread.
#[must_use = "the label applies until the scope is dropped"]
#[derive(Debug)]
pub struct LabelScope {
    previous: Label,
    _thread: PhantomData<*const ()>,
}

impl Drop for LabelScope {
    fn drop(&mut self) {
        CURRENT.with(|c| c.set(self.previous));
    }
}

#[derive(Default)]
struct Names {
    index: HashMap<&'static str, u32>,
    texts: Vec<&'static str>,
}

impl Names {
    fn insert(&mut self, name: &str) -> u32 {
        if let Some(&index) = self.index.get(name) {
            return index;
        }
        if self.texts.is_empty() {
            self.texts.push("");
        }
        let index = u32::try_from(self.texts.len()).expect("fewer than 2^32 labels");
        let text: &'static str = Box::leak(name.into());
        self.texts.push(text);
        self.index.insert(text, index);
        index
    }
}

fn interner() -> &'static RwLock<Names> {
    static NAMES: OnceLock<RwLock<Names>> = OnceLock::new();
    NAMES.get_or_init(RwLock::default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_nest_and_restore() {
        let outer = label("outer");
        {
            let _inner = label("inner");
            assert_eq!(Label::current().as_str(), "inner");
        }
        assert_eq!(Label::current(), Label::intern("outer"));
        drop(outer);
        assert_eq!(Label::current(), Label::NONE);
    }

    #[test]
    fn labels_stay_on_their_thread() {
        let _scope = label("here");
        std::thread::spawn(|| assert_eq!(Label::current(), Label::NONE)).join().unwrap();
    }
}
