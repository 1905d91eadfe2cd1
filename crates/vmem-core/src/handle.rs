//! What the handles of all resources answer with when they cannot do as asked.

use std::fmt;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DriverCode, chain};

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
