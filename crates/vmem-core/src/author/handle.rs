//! Handles: a program's access to a resource whose type was erased.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Weak};

use super::fork;
use crate::HandleError;

/// The part of a resource that its handles reach; the resource owns it.
///
/// The resource is gone for every [`Handle`] from the moment in which this is dropped, even while a
/// call through another handle is still in progress and keeps the part alive.
///
/// ```
/// use vmem_core::author::Handled;
///
/// let counter = Handled::new(7);
/// let handle = counter.handle();
/// let in_progress = handle.get().expect("it exists");
/// drop(counter);
/// assert!(handle.get().is_none());
/// assert_eq!(*in_progress, 7);
/// ```
pub struct Handled<T: ?Sized> {
    part: Arc<T>,
    alive: Arc<()>,
}

impl<T> Handled<T> {
    /// Owns `part`.
    pub fn new(part: T) -> Self {
        Self::from(Arc::new(part))
    }
}

impl<T: ?Sized> Handled<T> {
    /// A handle that does not keep the part alive.
    pub fn handle(&self) -> Handle<T> {
        Handle { part: Arc::downgrade(&self.part), alive: Arc::downgrade(&self.alive) }
    }

    /// The part itself, to compare it or to hold it weakly.
    pub fn part(&self) -> &Arc<T> {
        &self.part
    }
}

impl<T: ?Sized> From<Arc<T>> for Handled<T> {
    fn from(part: Arc<T>) -> Self {
        Self { part, alive: Arc::default() }
    }
}

impl<T: ?Sized> Deref for Handled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.part
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Handled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.part.fmt(f)
    }
}

/// Access to a part of a resource, as long as the resource exists. Resources wrap it in a handle of
/// their own.
pub struct Handle<T: ?Sized> {
    part: Weak<T>,
    alive: Weak<()>,
}

impl<T: ?Sized> Handle<T> {
    /// The part, for a figure; `None` once the resource is gone, and in a [forked](fork) child.
    pub fn get(&self) -> Option<Arc<T>> {
        if fork::is_child() || self.alive.strong_count() == 0 {
            return None;
        }
        self.part.upgrade()
    }

    /// The part, for an action that errors call `call`, as in `"PoolHandle::trim_to"`.
    ///
    /// # Errors
    /// [`HandleError::Gone`] once the resource is; [`HandleError::Failed`] in a [forked](fork) child.
    pub fn require(&self, call: &'static str) -> Result<Arc<T>, HandleError> {
        fork::refuse(call)?;
        self.get().ok_or(HandleError::Gone)
    }

    /// The handle of a part without its type: `erase` is `|part| part as Weak<dyn Trait>`.
    pub fn erased<D: ?Sized>(self, erase: impl FnOnce(Weak<T>) -> Weak<D>) -> Handle<D> {
        Handle { part: erase(self.part), alive: self.alive }
    }
}

impl<T: ?Sized> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self { part: self.part.clone(), alive: self.alive.clone() }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            Some(part) => part.fmt(f),
            None => f.write_str("gone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_gone_for_every_handle_while_a_call_through_one_is_in_progress() {
        let part = Handled::new(1);
        let handle = part.handle().erased(|part| part as Weak<dyn fmt::Debug>);
        let in_progress = handle.get().unwrap();
        drop(part);
        assert!(handle.get().is_none());
        assert!(handle.clone().require("a test").is_err_and(|error| error.is_gone()));
        assert_eq!(format!("{in_progress:?} {handle:?}"), "1 gone");
    }
}
