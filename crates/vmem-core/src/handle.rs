//! Handles: a program's access to a resource whose type was erased.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Weak};

use crate::author::fork;
use crate::{BoxedError, DriverError};

/// A call of a handle that did not do what it was asked to. All handles of vmem return this error.
#[derive(Debug)]
#[non_exhaustive]
pub enum HandleError {
    /// The resource has been dropped.
    Gone,
    /// The driver or the resource below failed; what had been done by then holds.
    Failed(BoxedError),
}

impl HandleError {
    /// Returns true if the resource has been dropped.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone)
    }

    /// The driver's error, if that is what failed.
    pub fn driver(&self) -> Option<&DriverError> {
        match self {
            Self::Failed(error) => error.downcast_ref(),
            Self::Gone => None,
        }
    }
}

impl From<DriverError> for HandleError {
    fn from(error: DriverError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<BoxedError> for HandleError {
    fn from(error: BoxedError) -> Self {
        Self::Failed(error)
    }
}

impl fmt::Display for HandleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the resource has been dropped"),
            Self::Failed(_) => f.write_str("the resource could not do what was asked"),
        }
    }
}

impl std::error::Error for HandleError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Gone => None,
            Self::Failed(error) => Some(&**error),
        }
    }
}

/// The part of a resource that its handles reach; the resource owns it. For authors of resources.
///
/// The resource is gone for every [`Handle`] from the moment in which this is dropped, even while a
/// call through another handle is still in progress and keeps the part alive.
///
/// ```
/// use vmem_core::Handled;
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

/// Access to a part of a resource, as long as the resource exists. For authors of resources, who wrap
/// it in a handle of their own.
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

    /// The part, for an action.
    ///
    /// # Errors
    /// [`HandleError::Gone`] once the resource is; [`HandleError::Failed`] in a [forked](fork) child.
    pub fn require(&self) -> Result<Arc<T>, HandleError> {
        fork::refuse("a handle of a resource")?;
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
    use crate::{DriverCode, chain};

    #[test]
    fn a_resource_is_gone_for_every_handle_while_a_call_through_one_is_in_progress() {
        let part = Handled::new(1);
        let handle = part.handle().erased(|part| part as Weak<dyn fmt::Debug>);
        let in_progress = handle.get().unwrap();
        drop(part);
        assert!(handle.get().is_none());
        assert!(handle.clone().require().is_err_and(|error| error.is_gone()));
        assert_eq!(format!("{in_progress:?} {handle:?}"), "1 gone");
    }

    #[test]
    fn the_error_of_a_failed_call_has_its_cause_and_names_the_driver() {
        let driver = DriverError::new("cuMemFree", DriverCode::INVALID_VALUE);
        let error = HandleError::from(driver.clone());
        assert_eq!(error.driver(), Some(&driver));
        assert!(chain(&error).to_string().contains(&driver.to_string()));
        assert!(!error.is_gone() && HandleError::Gone.driver().is_none());
        let other = HandleError::from(BoxedError::from("not the driver"));
        assert!(chain(&other).to_string().contains("not the driver") && other.driver().is_none());
    }
}
