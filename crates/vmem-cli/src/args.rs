//! What the program accepts.

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, value_parser};
use vmem_trace::Scale;

use crate::bytes;
use crate::scenario::Item;
use crate::tier::Tier;

/// What stacks of GPU memory resources cost, and what holds of them.
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
    Matrix(Matrix),
    Micro(Micro),
    Soak(Soak),
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
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) scale: Option<Scale>,
    /// How often the pattern is repeated; the steady state is from the second pass on.
    #[arg(long, value_name = "N", default_value_t = 3, allow_negative_numbers = true, value_parser = value_parser!(u32).range(1..))]
    pub(crate) passes: u32,
    /// Candidate pairs in a page of overlay-paged [default: 2000].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) page_pairs: Option<NonZeroU64>,
    /// Tier a beside every baseline: memory held, the smallest device and driver calls, for the
    /// workloads and for every trace in the folder of --traces, if one is given.
    #[arg(long, conflicts_with = "tier")]
    pub(crate) compare: bool,
    /// Recorded traces to compare as well: every .csv in this folder.
    #[arg(long, value_name = "DIR", requires = "compare")]
    pub(crate) traces: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Run recorded traces through stacks and print what they cost.
///
/// Reads RMM logs (Thread,Time,Action,Pointer,Size,Stream; or of its debug logger), lifetimes
/// (id,lower,upper,size), memory snapshots of PyTorch (as _dump_snapshot writes them, or as JSON),
/// and vmem's own recordings, all of them as they are or compressed with gzip or zstd. Files that
/// are cut off, begin late or have other lines in them are read as far as they go, with a note about
/// what was left out.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The trace files; `-` is standard input.
    #[arg(required = true, value_name = "TRACE")]
    pub(crate) traces: Vec<PathBuf>,
    /// Refuse a file at the first thing in it that is not as it should be.
    #[arg(long)]
    pub(crate) strict: bool,
    /// The device whose history is taken from a snapshot of several [default: the one with most
    /// entries].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) trace_device: Option<u32>,
    /// Look for the smallest device that each trace passes on.
    #[arg(long)]
    pub(crate) min_device: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Run every check on every stack: what holds on this device, and what does not.
///
/// A cell passes, fails or is skipped for a reason that is named. Checks are the conformance suite,
/// building as asked, generated workloads whose bytes are verified, copies, and memory reused across
/// streams. At most 512 MiB of the device and 256 MiB of managed memory are used, but by traces.
#[derive(Debug, Args)]
pub(crate) struct Matrix {
    /// The stacks, separated by commas.
    #[arg(long, value_name = "TIER", value_delimiter = ',', default_values_t = Tier::ours())]
    pub(crate) tier: Vec<Tier>,
    /// Only checks whose names begin so, separated by commas, as in `streams/` or
    /// `conformance/live_blocks_do_not_overlap`.
    #[arg(long, value_name = "PREFIX", value_delimiter = ',')]
    pub(crate) check: Vec<String>,
    /// Recorded traces to replay as well: every .csv in this folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) traces: Option<PathBuf>,
    /// Chooses among the random workloads and the schedules of the simulated device.
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) seed: u64,
    /// Name each cell on standard error before it runs, to see which one hangs.
    #[arg(long)]
    pub(crate) announce: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// Measure what the device's calls cost, and print it as a cost table of the simulated device.
///
/// At most 256 MiB of managed memory and 1 GiB of the device's are used at a time.
#[derive(Debug, Args)]
pub(crate) struct Micro {
    /// How often each call is measured at most.
    #[arg(long, value_name = "N", default_value_t = 50, allow_negative_numbers = true, value_parser = value_parser!(u32).range(5..=100_000))]
    pub(crate) samples: u32,
    /// What the table is called [default: the device's name].
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Write the cost table, for `--costs`, to this file.
    #[arg(long, value_name = "PATH")]
    pub(crate) table: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// Run random programs on random stacks of the simulated device, with random faults, until
/// something is wrong.
///
/// Every byte is verified, every figure compared with a model, and every access checked for races.
/// A failure is shrunk and printed with the seed that leads to it.
#[derive(Debug, Args)]
pub(crate) struct Soak {
    /// For how long.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "programs", allow_negative_numbers = true, value_parser = value_parser!(u64).range(1..=u64::MAX / 60))]
    pub(crate) minutes: u64,
    /// How many programs, rather than for how long.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = value_parser!(u64).range(1..))]
    pub(crate) programs: Option<u64>,
    /// The first program's seed; each further one's is the next.
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) seed: u64,
}

/// What every run accepts.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The stacks, separated by commas: a runtime's tiers a, b, c and fallback; a-bare, a-tight and
    /// a-chunks (the pool alone, over virtual memory with either footprint and over chunks), plain (a
    /// driver call a block), and the baselines that --compare runs.
    #[arg(long, value_name = "TIER", value_delimiter = ',', default_values_t = Tier::default_names())]
    pub(crate) tier: Vec<Tier>,
    /// The simulated device's memory; on hardware, the most that a stack may hold. Whole
    /// bytes, or with K, M, G, T (KiB, MiB, GiB, TiB) in powers of 1024 [default: 24GiB; on hardware
    /// what is free, less 1 GiB].
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, value_parser = bytes::parse)]
    pub(crate) capacity: Option<u64>,
    /// Chooses among the random workloads and the schedules of the simulated device.
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// Where to run, and where to write.
#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// The device: sim, the simulated one; cuda, the driver's first one; cuda:1, … [default: sim].
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<String>,
    /// Let the simulated device's calls cost what was measured: h100, or a table that `vmem micro
    /// --table` wrote.
    #[arg(long, value_name = "PATH")]
    pub(crate) costs: Option<PathBuf>,
    /// Write the rows as JSON to this file; with `-` to standard output, the table then goes to
    /// standard error.
    #[arg(long, value_name = "PATH")]
    pub(crate) json: Option<PathBuf>,
    /// Fail, rather than skip, if the device is not there.
    #[arg(long)]
    pub(crate) require_device: bool,
}
