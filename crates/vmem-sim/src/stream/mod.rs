//! Streams: queues of work, the order they promise, and when the work runs.

mod executor;
mod lane;
mod order;
mod submit;
mod timing;
mod work;

pub(crate) use lane::{Barrier, LEGACY, Lanes};
pub(crate) use order::EventState;
pub(crate) use work::{HostPtr, Submission, Work};
