//! Reports on GPU memory that people open.
//!
//! * A [`Report`] is a trace and what one stack or several made of it: live and reserved memory over
//!   time, the address space at any moment, what is live at the peak, driver calls and moves. It is
//!   written as one page of HTML that needs nothing else, or as a picture;
//! * a [`Refusal`] is a request that was refused, with what would have helped: of a trace
//!   ([`Report::explain`]), or of a program, by [one call](Refusal::write);
//! * [`Live`] writes pages and recordings of a program that runs, whenever it is asked to.
//!
//! Replays look into a stack through [`Observed`].
//!
//! The crate needs `std`. Its features are `signals`, by which signals ask for snapshots and recordings,
//! and `openmetrics`, which tells counters of pools as text.

#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod axis;
mod buckets;
mod bytes;
mod composition;
mod explain;
mod frames;
mod grouping;
mod live;
mod page;
mod picture;
mod refusal;
mod report;
mod space;
mod stack;
mod timeline;

pub use bytes::{ratio, show};
pub use live::Live;
#[cfg(all(unix, feature = "signals"))]
pub use live::{Listener, Signals};
pub use picture::Theme;
pub use refusal::{Need, Refusal};
pub use report::Report;
pub use stack::Observed;

/// The program of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared<T: Send + Sync>() {}

    #[test]
    fn every_public_handle_is_send_and_sync() {
        shared::<Live>();
        shared::<Refusal>();
        shared::<Report>();
    }
}
