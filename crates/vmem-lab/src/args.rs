//! What the program accepts besides what `vmem` does.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use vmem_cli::parts::{self, PlaceArgs, Replay, Tier, whole};

use crate::peers;

/// What stacks of GPU memory resources cost beside others, and what holds of them.
#[derive(Debug, Parser)]
#[command(name = "vmem-lab", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Bench(Comparing),
    Replay(Replay),
    Report(parts::report::Arguments),
    Matrix(Matrix),
    Micro(Micro),
    Soak(Soak),
    Compact(Compact),
}

/// Write traces as compressed recordings, as those of real programs that come with vmem-trace are.
#[derive(Debug, Args)]
pub(crate) struct Compact {
    /// The trace files, in any format that `replay` reads.
    #[arg(required = true, value_name = "TRACE")]
    pub(crate) traces: Vec<PathBuf>,
    /// The folder for them: the recording of `NAME.csv` is `NAME.trace.gz`.
    #[arg(long, value_name = "DIR")]
    pub(crate) into: PathBuf,
}

/// Run generated workloads through stacks and print what they cost.
#[derive(Debug, Args)]
pub(crate) struct Comparing {
    #[command(flatten)]
    pub(crate) bench: parts::Bench,
    /// Tier a beside the model of every other allocator: memory held, the smallest device and driver
    /// calls, for the workloads and for every trace in the folder of --traces, if one is given.
    #[arg(long, conflicts_with = "tier")]
    pub(crate) compare: bool,
    /// Recorded traces to compare as well: every .csv in this folder.
    #[arg(long, value_name = "DIR", requires = "compare")]
    pub(crate) traces: Option<PathBuf>,
}

/// Run every check on every stack: what holds on this device, and what does not.
///
/// A cell passes, fails or is skipped for a reason that is named. Checks are the conformance suite,
/// building as asked, generated workloads whose bytes are verified, copies, and memory reused across
/// streams. At most 512 MiB of the device and 256 MiB of managed memory are used, but by traces.
#[derive(Debug, Args)]
pub(crate) struct Matrix {
    /// The stacks, separated by commas.
    #[arg(long, value_name = "TIER", value_delimiter = ',', default_values_t = Tier::ours(), value_parser = peers::parse)]
    pub(crate) tier: Vec<Tier>,
    /// Only checks whose names begin so, separated by commas, as in `streams/` or
    /// `conformance/live_blocks_do_not_overlap`.
    #[arg(long, value_name = "PREFIX", value_delimiter = ',')]
    pub(crate) check: Vec<String>,
    /// Recorded traces to replay as well: every .csv in this folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) traces: Option<PathBuf>,
    /// Chooses among the random workloads and the schedules of the simulated device.
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true, value_parser = whole::<u64>(0..=u64::MAX))]
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
    #[arg(long, value_name = "N", default_value_t = 50, allow_negative_numbers = true, value_parser = whole::<u32>(5..=100_000))]
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
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "programs", allow_negative_numbers = true, value_parser = whole::<u64>(1..=u64::MAX / 60))]
    pub(crate) minutes: u64,
    /// How many programs, rather than for how long.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u64>(1..=u64::MAX))]
    pub(crate) programs: Option<u64>,
    /// The first program's seed; each further one's is the next.
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true, value_parser = whole::<u64>(0..=u64::MAX))]
    pub(crate) seed: u64,
}
