//! The program `vmem`: what a stack of memory resources costs on workloads and traces.
//!
//! `vmem bench` generates workloads, `vmem replay` reads recorded traces; both run them through
//! stacks by name (`--tier`) on a simulated device, or with `--device cuda` on the machine's, and
//! print one row for each trace on each stack: memory held over memory live, driver calls, host time
//! per pair of allocate and free. With `--json` the same rows come as one document, a [`Report`].
//! `vmem convert` writes a recorded trace in another format, `vmem inspect` says what a file is.
//!
//! A simulated device that is measured keeps no bytes and checks no accesses, so that neither is in
//! the times. CUDA's driver is loaded when one of its devices is asked for, and not before: the
//! program starts everywhere.
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
mod console;
mod convert;
mod cuda;
mod error;
mod gauge;
mod inspect;
mod measure;
mod output;
mod place;
mod replay;
mod report;
mod row;
mod scenario;
mod stack;
mod stop;
mod table;
mod target;
mod tier;
mod traces;

pub use backend::{Backend, OpenError};
pub use console::{Console, Progress, run, run_on};
use error::Error;
pub use row::{AskedAgain, Report, Row, SCHEMA};
pub use stop::Stop;

/// What `vmem-lab`, the laboratory of vmem's repository, is built of besides. It changes without notice.
#[doc(hidden)]
pub mod parts {
    pub use crate::args::{Bench, Common, PlaceArgs, Replay, whole};
    pub use crate::console::{Verdict, WriteRows, bar, program, rows};
    pub use crate::cuda::Cuda;
    pub use crate::error::Error;
    pub use crate::gauge::Gauge;
    pub use crate::measure::{Job, Place, on_each_tier};
    pub use crate::output::Json;
    pub use crate::scenario::Item;
    pub use crate::stack::{BuiltStack, config};
    pub use crate::target::{Bounds, DeviceRequest, KEPT_FREE, Opened, Purpose, Target};
    pub use crate::tier::Tier;

    /// Amounts of memory for people.
    pub mod bytes {
        pub use crate::bytes::{ratio, show};
    }

    /// Workloads.
    pub mod bench {
        pub use crate::bench::{jobs, trace};
    }

    /// The device that was asked for.
    pub mod place {
        pub use crate::place::{describe, target};
    }

    /// Recorded traces.
    pub mod replay {
        pub use crate::replay::jobs;
    }

    /// Pages about traces.
    pub mod report {
        pub use crate::args::Report as Arguments;
        pub use crate::report::run;
    }

    /// Rows for people.
    pub mod table {
        pub use crate::table::write;
    }

    /// Reading recorded traces.
    pub mod traces {
        pub use crate::traces::{read, tables_in};
    }
}
