//! What the program accepts.

use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use vmem_trace::{ReadOptions, Scale, Sites, Strictness};

use crate::Error;
use crate::bytes;
use crate::convert::{At, To};
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
    Convert(Convert),
    Inspect(Inspect),
    Report(Report),
    Completions(Completions),
}

/// Run workloads through stacks and print what they cost.
#[derive(Debug, Args)]
pub struct Bench {
    /// The workloads and scenarios, separated by commas. Generated: overlay, overlay-core, overlay-paged,
    /// overlay-2s, dissolve, spatial-join, random. What real programs asked for: overlay_1m, overlay_100k,
    /// limit_1gib, cupy_programs, torch_gpt, torch_resnet, torch_gnn. Those that show what a tier is for:
    /// reclaim, face-walk-local, face-walk-global, face-walk-dependent, set-up-failure, turns, spill-cache,
    /// and spill-1.2-streaming and so on, for 1.2, 1.5 and 2, streaming, random and chasing [default: all
    /// but those].
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_values_t = Item::workloads(), hide_default_value = true)]
    pub workload: Vec<Item>,
    /// How large a generated workload is, in its unit: 10k, 100k, 1m or any number (polygons a side, points,
    /// allocations) [default: 1m for dissolve and spatial-join, 100k for the others].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) scale: Option<Scale>,
    /// How often the pattern is repeated; the steady state is from the second pass on [default: 3 for
    /// what is generated, 1 for what real programs asked for].
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u32>(1..=u32::MAX.into()))]
    pub(crate) passes: Option<u32>,
    /// Candidate pairs in a page of overlay-paged [default: 2000].
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<NonZeroU64>(1..=u64::MAX))]
    pub(crate) page_pairs: Option<NonZeroU64>,
    /// What every run accepts.
    #[command(flatten)]
    pub common: Common,
}

/// Run recorded traces through stacks and print what they cost.
///
/// Reads RMM logs (Thread,Time,Action,Pointer,Size,Stream; or of its debug logger), lifetimes
/// (id,lower,upper,size), memory snapshots of PyTorch (as _dump_snapshot writes them, or as JSON),
/// and vmem's own recordings, all of them as they are or compressed with gzip or zstd. Files that
/// are cut off, begin late or have other lines in them are read as far as they go, with a note about
/// what was left out.
#[derive(Debug, Args)]
pub struct Replay {
    /// The trace files; `-` is standard input.
    #[arg(required = true, value_name = "TRACE")]
    pub(crate) traces: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    /// What every run accepts.
    #[command(flatten)]
    pub common: Common,
}

/// Write a recorded trace in another format.
///
/// Reads what `replay` reads. A snapshot of PyTorch (--to torch) shows what a stack makes of the trace: it is
/// taken during a replay on the simulated device, at the moment that --at names, and opens in PyTorch's
/// memory_viz. What a format has no place for is said on standard error.
#[derive(Debug, Args)]
pub(crate) struct Convert {
    /// The trace file; `-` is standard input.
    #[arg(value_name = "TRACE")]
    pub(crate) trace: PathBuf,
    /// Write to this file, which appears or is replaced as a whole; `-` is standard output.
    #[arg(long, short, value_name = "PATH")]
    pub(crate) output: PathBuf,
    /// The format: rmm, lifetimes, recording, torch (a pickle, as PyTorch's memory snapshots), chrome
    /// (trace events, for Perfetto) [default: by the output's ending: .csv is rmm, .vmem recording,
    /// .pickle torch, .json chrome].
    #[arg(long, value_name = "FORMAT")]
    pub(crate) to: Option<To>,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    #[command(flatten)]
    pub(crate) labelling: LabelArgs,
    /// When a snapshot is taken: at the peak of live memory, at the end, or after the event of this index.
    #[arg(long, value_name = "MOMENT", default_value_t = At::Peak)]
    pub(crate) at: At,
    /// The stack that a snapshot is of: one with a pool.
    #[arg(long, value_name = "TIER", default_value = "a")]
    pub(crate) tier: Tier,
    /// The memory of the simulated device that a snapshot is of [default: 80GiB].
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, value_parser = bytes::parse)]
    pub(crate) capacity: Option<u64>,
}

/// Say what trace files are, in ten lines each.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The trace files; `-` is standard input.
    #[arg(required = true, value_name = "TRACE")]
    pub(crate) traces: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
}

/// Labels from beside a log.
#[derive(Debug, Args)]
pub(crate) struct LabelArgs {
    /// Label the blocks of an RMM log from this file, which has the columns Pointer, Bytes and Site and a
    /// row for each allocation.
    #[arg(long, value_name = "PATH")]
    pub(crate) labels: Option<PathBuf>,
    /// The names of the sites in --labels: a file with the columns Site, Place and Function.
    #[arg(long, value_name = "PATH", requires = "labels")]
    pub(crate) label_names: Option<PathBuf>,
}

impl LabelArgs {
    /// The labels, if a file is named.
    ///
    /// # Errors
    /// Usage, if a file cannot be read as such.
    pub(crate) fn sites(&self) -> Result<Option<Sites>, Error> {
        let sites = |rows: &PathBuf| Sites::read_paths(rows, self.label_names.as_deref());
        let sites = self.labels.as_ref().map(sites).transpose();
        sites.map_err(|error| Error::usage(error.to_string()))
    }
}

/// How files are read.
#[derive(Debug, Args)]
pub(crate) struct ReadingArgs {
    /// Refuse a file at the first thing in it that is not as it should be.
    #[arg(long)]
    strict: bool,
    /// The device whose history is taken from a snapshot of several [default: the one with most
    /// entries].
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u32>(0..=u32::MAX.into()))]
    trace_device: Option<u32>,
}

impl ReadingArgs {
    /// The same as options.
    pub(crate) fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.device = self.trace_device;
        if self.strict {
            options.strictness = Strictness::Strict;
        }
        options
    }
}

/// Write a page about a trace: what is live and reserved over time, where it lies, what is called.
///
/// The page is one file that needs no other and no network. Reads what `replay` reads, and generates
/// what `bench` does.
#[derive(Debug, Args)]
pub struct Report {
    /// The trace files; `-` is standard input.
    #[arg(value_name = "TRACE", required_unless_present = "workload")]
    pub(crate) traces: Vec<PathBuf>,
    /// Workloads as well as files, or without any, separated by commas, at their own scale.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) workload: Vec<Item>,
    /// The file to write: .html for the page, .svg for a picture of live and reserved memory; `-`
    /// writes the page to standard output.
    #[arg(long, short, value_name = "PATH", default_value = "report.html")]
    pub(crate) output: PathBuf,
    /// The stacks, separated by commas, side by side: those of `vmem replay`.
    #[arg(long, value_name = "TIER", value_delimiter = ',', default_value = "a")]
    pub(crate) tier: Vec<Tier>,
    /// The simulated device's memory, as with `vmem replay` [default: 80GiB].
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, value_parser = bytes::parse)]
    pub(crate) capacity: Option<u64>,
    /// Light on dark, for a picture; a page is as its reader likes it.
    #[arg(long)]
    pub(crate) dark: bool,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    #[command(flatten)]
    pub(crate) labelling: LabelArgs,
}

/// Print what completes this program's options in a shell.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell: its own documentation says where to put what is printed.
    pub(crate) shell: Shell,
}

/// What every run accepts.
#[derive(Debug, Args)]
pub struct Common {
    /// The stacks, separated by commas: a runtime's tiers a, b, c and fallback; a-bare, a-tight and
    /// a-chunks (the pool alone, over virtual memory with either footprint and over chunks), and plain
    /// (a driver call a block).
    #[arg(long, value_name = "TIER", value_delimiter = ',', default_values_t = Tier::default_names())]
    pub(crate) tier: Vec<Tier>,
    /// The simulated device's memory; on hardware, the most that a stack may hold. Whole
    /// bytes, or with K, M, G, T (KiB, MiB, GiB, TiB) in powers of 1024 [default: 80GiB; on hardware
    /// what is free, less 1 GiB].
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, value_parser = bytes::parse)]
    pub(crate) capacity: Option<u64>,
    /// Look for the smallest simulated device that each workload or trace passes on as well.
    #[arg(long)]
    pub(crate) min_device: bool,
    /// Also make the requests that failed where a trace was taken. They are freed at once and count as
    /// nothing that is live; which of them were served is said.
    #[arg(long)]
    pub(crate) with_failures: bool,
    /// Chooses among the random workloads and the schedules of the simulated device.
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true, value_parser = whole::<u64>(0..=u64::MAX))]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// Where to run, and where to write.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// The device: sim, the simulated one; cuda, the driver's first one; cuda:1, … [default: sim].
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<String>,
    /// What the simulated device's calls cost: a table that `vmem-lab micro --table` wrote [default: what
    /// they cost on an H100].
    #[arg(long, value_name = "PATH")]
    pub(crate) costs: Option<PathBuf>,
    /// Write the rows as JSON to this file; with `-` to standard output, the table then goes to
    /// standard error.
    #[arg(long, value_name = "PATH")]
    pub json: Option<PathBuf>,
    /// Fail, rather than skip, if the device is not there.
    #[arg(long)]
    pub require_device: bool,
}

/// Reads whole numbers in a range; what is refused is told what is accepted.
pub fn whole<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.trim().parse().ok().filter(|number| range.contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            format!("accepted: a whole number from {} to {}", range.start(), range.end())
        })
    }
}
