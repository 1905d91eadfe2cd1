//! The program `vmem`: what a stack of memory resources costs on workloads and traces.
//!
//! `vmem bench` generates workloads, `vmem replay` reads recorded traces; both run them through
//! stacks by name (`--tier`) on a simulated device and print one row for each trace on each stack:
//! memory held over memory live, driver calls, host time per pair of allocate and free. With
//! `--json` the same rows come as one document, a [`Report`].
//!
//! The device that is measured keeps no bytes and checks no accesses, so that neither is in the
//! times.
//!
//! ```
//! use vmem_cli::{Console, Progress, run};
//!
//! let (mut out, mut err) = (Vec::new(), Vec::new());
//! let console = Console { out: &mut out, err: &mut err, progress: Progress::Hidden };
//! let args = ["vmem", "bench", "--workload", "overlay-core", "--scale", "1k", "--tier", "plain"];
//! assert_eq!(run(args, console), 0);
//! assert!(String::from_utf8(out)?.contains("simulated device"));
//! # Ok::<(), std::string::FromUtf8Error>(())
//! ```

#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod args;
mod bench;
mod bytes;
mod compare;
mod console;
mod device;
mod error;
mod measure;
mod output;
mod replay;
mod row;
mod scenario;
mod table;
mod tier;

pub use console::{Console, Progress, run};
use error::Error;
pub use row::{Report, Row, SCHEMA};

/// The examples on the repository's front page.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct FrontPage;

/// The examples in the guide to composing stacks.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/stacks.md")]
struct Stacks;
