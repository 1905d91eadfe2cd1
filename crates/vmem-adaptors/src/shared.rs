//! State that an adaptor shares with its handles.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Weak};

/// The adaptor's end: the state exists as long as either end, the adaptor as long as this one.
pub(crate) struct Owned<T> {
    state: Arc<T>,
    alive: Arc<()>,
}

impl<T> Owned<T> {
    pub(crate) fn new(state: T) -> Self {
        Self { state: Arc::new(state), alive: Arc::new(()) }
    }

    /// The state as something to compare and to hold weakly.
    pub(crate) fn state(&self) -> &Arc<T> {
        &self.state
    }

    pub(crate) fn share(&self) -> Shared<T> {
        Shared { state: self.state.clone(), alive: Arc::downgrade(&self.alive) }
    }
}

impl<T> Deref for Owned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.state
    }
}

/// A handle's end.
pub(crate) struct Shared<T> {
    state: Arc<T>,
    alive: Weak<()>,
}

impl<T> Shared<T> {
    /// Whether the adaptor still exists.
    pub(crate) fn is_live(&self) -> bool {
        self.alive.strong_count() != 0
    }

    pub(crate) fn state(&self) -> &Arc<T> {
        &self.state
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), alive: self.alive.clone() }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.state
    }
}

impl<T: fmt::Debug> fmt::Debug for Owned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.fmt(f)
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.fmt(f)
    }
}
