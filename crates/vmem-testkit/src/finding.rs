//! What a test found wrong.

use std::error::Error;
use std::fmt;

use vmem_core::{AllocError, BoxedError, DriverError, FreeError, LayoutError};

use crate::FailedFree;

/// Something a resource or device did that it must not, in words.
#[derive(Debug)]
pub struct Finding {
    what: String,
    source: Option<BoxedError>,
}

impl Finding {
    /// A finding that has no error behind it.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }

    /// Whether it is that memory ran out.
    pub(crate) fn is_exhaustion(&self) -> bool {
        let source = self.source.as_ref().and_then(|source| source.downcast_ref::<AllocError>());
        source.is_some_and(|error| error.kind().is_exhaustion())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        let mut next = self.source.as_ref().and_then(|error| error.source());
        while let Some(error) = next {
            // An allocation's error prints with a refusal that it comes from.
            let text = error.to_string();
            if !self.what.contains(&text) {
                write!(f, ": {text}")?;
            }
            next = error.source();
        }
        Ok(())
    }
}

impl Error for Finding {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

macro_rules! unexpected {
    ($($error:ident)*) => {$(
        impl From<$error> for Finding {
            fn from(error: $error) -> Self {
                Self {
                    what: error.to_string(),
                    source: Some(Box::new(error)),
                }
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
