//! The program `vmem`: what a stack of memory resources costs on workloads and traces.
//!
//! `vmem bench` generates workloads, `vmem replay` reads recorded traces; both run them through
//! stacks by name (`--tier`) on a simulated device, or with `--device cuda` on the machine's, and
//! print one row for each trace on each stack: memory held over memory live, driver calls, host time
//! per pair of allocate and free. With `--json` the same rows come as one document, a [`Report`].
//!
//! A simulated device that is measured keeps no bytes and checks no accesses, so that neither is in
//! the times. CUDA's driver is loaded when one of its devices is asked for, and not before: the
//! program starts everywhere.
//!
//! `vmem matrix` runs every check on every stack, on a device that does both, and gives a
//! [`MatrixReport`]; `vmem micro` measures what a device's calls cost, and gives a [`MicroReport`]
//! with a table that the simulated device can be given ([`vmem_sim::MeasuredCosts`]).
//!
//! `vmem soak` runs random programs on random stacks of a simulated device, with random faults, and
//! shrinks what fails; [`soak_bytes`] is the same for fuzzers.
//!
//! A program with a driver of its own hands it in as a [`Backend`], by [`run_on`]: every subcommand
//! then takes its devices instead of CUDA's.
//!
//! ```
//! use vmem_cli::{Console, Progress, Stop, run};
//!
//! let (mut out, mut err) = (Vec::new(), Vec::new());
//! let (progress, stop) = (Progress::Hidden, Stop::default());
//! let console = Console { out: &mut out, err: &mut err, progress, stop };
//! let args = ["vmem", "bench", "--workload", "overlay-core", "--scale", "1k", "--tier", "plain"];
//! assert_eq!(run(args, console), 0);
//! assert!(String::from_utf8(out)?.contains("simulated device"));
//! # Ok::<(), std::string::FromUtf8Error>(())
//! ```

#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod args;
mod backend;
mod bench;
mod bytes;
#[path = "../../vmem-lab/src/compare.rs"]
mod compare;
mod console;
mod cuda;
mod error;
mod gauge;
#[path = "../../vmem-lab/src/matrix/mod.rs"]
mod matrix;
mod measure;
#[path = "../../vmem-lab/src/micro/mod.rs"]
mod micro;
mod output;
mod place;
mod replay;
mod row;
mod scenario;
#[path = "../../vmem-lab/src/soak/mod.rs"]
mod soak;
mod stop;
mod table;
mod target;
mod tier;
mod traces;

pub use backend::{Backend, OpenError};
pub use console::{Console, Progress, run, run_on};
use error::Error;
pub use matrix::{Cell, CellResult, MATRIX_SCHEMA, MatrixReport};
pub use micro::{Beside, MICRO_SCHEMA, MicroClock, MicroNote, MicroReport, MicroRow};
pub use row::{Report, Row, SCHEMA};
pub use soak::soak_bytes;
pub use stop::Stop;

/// The examples in the guide to composing stacks.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/stacks.md")]
struct Stacks;
