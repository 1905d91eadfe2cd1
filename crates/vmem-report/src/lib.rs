//! Reports on GPU memory that people open.
//!
//! A [`Report`] is a trace and what one stack or several made of it: live and reserved memory over
//! time, the address space at any moment, what is live at the peak, driver calls and moves. It is
//! written as one page of HTML that needs nothing else, or as a picture.

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

pub use live::Live;
#[cfg(all(unix, feature = "signals"))]
pub use live::{Listener, Signals};
pub use picture::Theme;
pub use refusal::{Need, Refusal};
pub use report::Report;
pub use stack::Observed;
