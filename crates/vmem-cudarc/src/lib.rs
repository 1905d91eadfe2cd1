#![doc = include_str!("guide.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod context;
mod convert;
mod error;
mod launch;
mod slice;
mod stream;
mod view;

pub use context::open;
pub use slice::VmemSlice;
pub use stream::SharedStream;

/// The program of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
