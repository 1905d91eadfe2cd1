//! Errors with what caused them, in one line.

use std::error::Error;
use std::fmt;

/// An error and what caused it, in one line: texts with `: ` between them, outermost first.
///
/// Some errors print with what caused them and return it as their source as well, an
/// [`AllocError`](crate::AllocError) with the refusal of its upstream, for example. A cause whose text
/// is in the line already is left out.
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl fmt::Display + 'a {
    Chain(error)
}

struct Chain<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.0.to_string();
        let mut next = self.0.source();
        while let Some(error) = next {
            let text = error.to_string();
            if !line.contains(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            next = error.source();
        }
        f.write_str(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AllocError, AllocErrorKind, BlockLayout, DriverCode, DriverError};

    #[test]
    fn every_cause_is_in_the_line_once() {
        let layout = BlockLayout::new(64).unwrap();
        let driver = DriverError::new("cuMemAlloc", DriverCode::OUT_OF_MEMORY);
        let below = AllocError::from_driver(driver.clone(), layout, "below");
        let printed = below.to_string();
        let above =
            AllocError::new(AllocErrorKind::OutOfMemory, layout, "above").with_source(below);
        let line = chain(&above).to_string();
        assert_eq!(line, format!("{above}: {driver}"));
        assert_eq!(line.matches(&printed).count(), 1);
        // One that prints its whole chain says no more than that.
        let outer =
            AllocError::new(AllocErrorKind::SetupFailed, layout, "outer").with_source(above);
        assert_eq!(chain(&outer).to_string(), format!("{outer}: {driver}"));
    }
}
