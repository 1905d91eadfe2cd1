//! What the program accepts.

use std::fmt;
use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, value_parser};
use vmem_trace::Scale;

use crate::bytes;
use crate::scenario::Item;
use crate::tier::Tier;

/// What stacks of GPU memory resources cost, on a simulated device.
#[derive(Debug, Parser)]
#[command(name = "vmem", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Bench(Bench),
    Replay(Replay),
}

/// Run generated workloads through stacks and print what they cost.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// The workloads and scenarios, separated by commas: overlay, overlay-core, overlay-paged,
    /// overlay-2s, dissolve, spatial-join, random, and those that show what a tier is for: reclaim,
    /// face-walk-local, face-walk-global, face-walk-dependent, set-up-failure [default: the
    /// workloads].
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_values_t = Item::workloads(), hide_default_value = true)]
    pub(crate) workload: Vec<Item>,
    /// How large, in the workload's unit: 10k, 100k, 1m or any number (polygons a side, points,
    /// allocations) [default: 1m for dissolve and spatial-join, 100k for the others].
    #[arg(long, value_name = "N")]
    pub(crate) scale: Option<Scale>,
    /// How often the pattern is repeated; the steady state is from the second pass on.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(1..))]
    pub(crate) passes: u32,
    /// Candidate pairs in a page of overlay-paged [default: 2000].
    #[arg(long, value_name = "N")]
    pub(crate) page_pairs: Option<NonZeroU64>,
    /// Tier a beside every baseline: memory held, the smallest device and driver calls, for the
    /// workloads and for every trace in the folder of --traces.
    #[arg(long, conflicts_with = "tier")]
    pub(crate) compare: bool,
    /// Where --compare looks for recorded traces (files ending in .csv); it need not exist.
    #[arg(long, value_name = "DIR", default_value = "../shared/traces", requires = "compare")]
    pub(crate) traces: PathBuf,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Run recorded traces through stacks and print what they cost.
///
/// Reads RMM logs (Thread,Time,Action,Pointer,Size,Stream), lifetimes (id,lower,upper,size), memory
/// snapshots of PyTorch as JSON, and vmem's own recordings.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The trace files.
    #[arg(required = true, value_name = "TRACE")]
    pub(crate) traces: Vec<PathBuf>,
    /// Look for the smallest device that each trace passes on.
    #[arg(long)]
    pub(crate) min_device: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// What every run accepts.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The stacks, separated by commas: a runtime's tiers a, b, c and fallback; a-bare and a-chunks
    /// (the pool alone, over virtual memory and over chunks), plain (a driver call a block), and the
    /// baselines that --compare runs.
    #[arg(long, value_name = "TIER", value_delimiter = ',', default_values_t = Tier::default_names())]
    pub(crate) tier: Vec<Tier>,
    /// The device's memory: bytes, or KiB, MiB, GiB, TiB in powers of 1024.
    #[arg(long, value_name = "SIZE", default_value = "24GiB", value_parser = bytes::parse)]
    pub(crate) capacity: u64,
    /// Chooses among the random workloads and the schedules of the simulated device.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Write the rows as JSON to this file; with `-` to standard output, the table then goes to
    /// standard error.
    #[arg(long, value_name = "PATH")]
    pub(crate) json: Option<PathBuf>,
}

impl fmt::Display for Common {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, seed {}", bytes::show(self.capacity), self.seed)
    }
}
