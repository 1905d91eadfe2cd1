//! What can go wrong, one type per boundary.

mod alloc;
mod chain;
mod driver;
mod free;
mod layout;
mod report;

pub use alloc::{AllocError, AllocErrorKind};
pub use chain::chain;
pub use driver::{DriverCode, DriverError};
pub use free::{FreeError, FreeErrorKind};
pub use layout::LayoutError;
pub use report::{Attempt, ExhaustionReport};

/// The source of an error that can come from anywhere.
pub type BoxedError = Box<dyn std::error::Error + Send + Sync>;
