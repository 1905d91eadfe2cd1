//! Which accesses are ordered, and which are not.

mod clock;
mod shadow;

pub(crate) use clock::{Clock, LaneId, Point, Seen};
pub(crate) use shadow::{Access, Conflict, Shadow, Stamp};
