//! The program `vmem-lab`: everything that `vmem` does, and what only the makers of vmem need.
//!
//! * `matrix` runs every check on every stack, on a device that keeps bytes and checks accesses, and
//!   gives a [`MatrixReport`].
//! * `micro` measures what a device's calls cost, and gives a [`MicroReport`] with a table that the
//!   simulated device can be given ([`vmem_sim::MeasuredCosts`]).
//! * `soak` runs random programs on random stacks of a simulated device, with random faults, and
//!   shrinks what fails; [`soak_bytes`] is the same for fuzzers.
//! * `compact` writes traces as the logs that come with [`vmem_trace`].
//! * `bench`, `replay` and `report` know the models of other allocators besides, and `bench --compare` sets
//!   them beside ours.
//!
//! Devices, output and exit codes are those of [`vmem_cli`].

#![deny(unsafe_code)]

mod args;
mod compact;
mod compare;
mod matrix;
mod micro;
mod peers;
mod program;
mod soak;

pub use matrix::{CellResult, MATRIX_SCHEMA, MatrixCell, MatrixReport};
pub use micro::{Beside, MICRO_SCHEMA, MicroClock, MicroNote, MicroReport, MicroRow};
pub use program::{run, run_on};
pub use soak::soak_bytes;

/// The examples in the guide to composing stacks.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/stacks.md")]
struct Guides;

/// The example in the page about reports.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/report.md")]
struct Reports;
