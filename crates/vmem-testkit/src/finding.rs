//! What a test found wrong.

use std::any::Any;
use std::error::Error;
use std::fmt;

use vmem_core::{AllocError, BoxedError, DriverError, FreeError, LayoutError, chain};

use crate::FailedFree;

/// Something a resource or device did that it must not, in words.
#[derive(Debug)]
pub struct Finding(What);

#[derive(Debug)]
enum What {
    Words(String),
    Error(BoxedError),
}

impl Finding {
    /// A finding that has no error behind it.
    pub fn new(what: impl Into<String>) -> Self {
        Self(What::Words(what.into()))
    }

    /// Whether it is that memory ran out.
    pub(crate) fn is_exhaustion(&self) -> bool {
        let What::Error(error) = &self.0 else { return false };
        error.downcast_ref::<AllocError>().is_some_and(|error| error.kind().is_exhaustion())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            What::Words(words) => f.write_str(words),
            What::Error(error) => write!(f, "{}", chain(&**error)),
        }
    }
}

impl Error for Finding {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            What::Words(_) => None,
            What::Error(error) => Some(&**error),
        }
    }
}

/// The message of a panic that was caught.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

macro_rules! unexpected {
    ($($error:ident)*) => {$(
        impl From<$error> for Finding {
            fn from(error: $error) -> Self {
                Self(What::Error(Box::new(error)))
            }
        }
    )*};
}

unexpected! { AllocError DriverError FreeError LayoutError FailedFree }

/// Returns a finding from the enclosing function unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err($crate::Finding::new(format!($($what)+)).into());
        }
    };
}
pub(crate) use ensure;
